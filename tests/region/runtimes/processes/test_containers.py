"""Containers as real processes: their environment, command line, ports and exit codes."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ecsconsul.region.ecs.model import Task
from ecsconsul.region.runtimes import lab_processes
from ecsconsul.region.runtimes.addresses import FIRST_DYNAMIC_PORT
from ecsconsul.region.runtimes.interface import CannotStart, Ec2Instance
from ecsconsul.region.runtimes.lab_dir import LabDir
from ecsconsul.region.runtimes.processes.containers import ProcessContainer, ProcessContainers
from ecsconsul.region.runtimes.processes.images import ImageStore
from tests.region.ecs.factories import container, task
from tests.region.fakes import ec2_instance

Until = Callable[..., None]
REPORT = """
import json, os, sys
print(json.dumps({"argv": sys.argv, "cwd": os.getcwd(), "env": dict(os.environ)}), flush=True)
"""
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
DOCKERFILE = (
    'FROM x\nENV A=image B=image\nWORKDIR /app\nCOPY . .\nENTRYPOINT ["python", "-u"]\nCMD ["/app/report.py"]\n'
)


class Lab:
    """Starts containers from one image."""

    def __init__(self, lab_dir: LabDir, folder: Path) -> None:
        self.lab_dir, self.folder = lab_dir, folder
        self.instance: Ec2Instance = ec2_instance(folder)
        self.store = ImageStore(lab_dir)
        # test_task_files.py covers tasks with a root of their own
        self.runtime = ProcessContainers(lab_dir, self.store, own_roots=False)
        self.log = lab_dir.logs / "task.log"
        self.publish(DOCKERFILE)

    def publish(self, dockerfile: str) -> None:
        source = self.folder / "source"
        source.mkdir(exist_ok=True)
        for name, content in {"Dockerfile": dockerfile, "report.py": REPORT, "stubborn.py": STUBBORN}.items():
            (source / name).write_text(content)
        self.store.publish("image", "1", source, print)

    def start(self, one: Task | None = None, overrides: dict[str, Any] | None = None, **keys: Any) -> ProcessContainer:
        definition = container(image="lab/image:1", **keys)
        return self.runtime.start(one or task(), definition, self.instance, self.log, overrides or {})

    def report(self, overrides: dict[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
        """A container's own command line, folder and environment."""
        assert self.start(None, overrides, **keys).wait() == 0
        return dict(json.loads(self.log.read_text().splitlines()[-1]))


@pytest.fixture
def lab(lab_dir: LabDir, tmp_path: Path) -> Iterator[Lab]:
    yield Lab(lab_dir, tmp_path)
    lab_processes.kill_leftovers(lab_dir.root)


def variable(container: ProcessContainer, name: str) -> str:
    """A variable of a container, as the Registrator sees it."""
    (found,) = [one for one in container.snapshot.environment if one.startswith(f"{name}=")]
    return found.partition("=")[2]


def variables(**values: str) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def test_overrides_take_precedence_over_the_definition_and_the_image(lab: Lab) -> None:
    found = lab.report({"environment": variables(C="override")}, environment=variables(B="task", C="task"))["env"]
    assert (found["A"], found["B"], found["C"]) == ("image", "task", "override")
    assert found["CONSUL_DNS"] == lab.instance.dns
    assert found["HOST"] == "127.0.0.1"
    assert found[lab_processes.OWNER_VARIABLE] == str(lab.lab_dir.root)
    assert "PORT" not in found, "it publishes no port"


def test_variable_without_a_value_is_empty(lab: Lab) -> None:
    assert lab.report(environment=[{"name": "B"}])["env"]["B"] == ""


def test_ports_are_dynamic_unless_fixed(lab: Lab) -> None:
    ports = [{"containerPort": 4567}, {"containerPort": 9000, "hostPort": 0, "protocol": "udp"}]
    first, second = lab.start(portMappings=ports), lab.start(portMappings=ports)
    bindings = [*first.bindings, *second.bindings]
    assert [(b.container_port, b.protocol, b.requested_port) for b in bindings[:2]] == [
        (4567, "tcp", None),
        (9000, "udp", None),
    ]
    numbers = {b.host_port for b in bindings}
    assert len(numbers) == 4
    assert min(numbers) >= FIRST_DYNAMIC_PORT
    assert [first.wait(), second.wait()] == [0, 0]
    assert {variable(first, "PORT"), variable(second, "PORT")} == {
        str(bindings[0].host_port),
        str(bindings[2].host_port),
    }
    assert variable(first, "PORT_9000") == str(bindings[1].host_port)


def test_fixed_port_is_used_unless_the_address_is_shared(lab: Lab) -> None:
    fixed = [{"containerPort": 4567, "hostPort": 8080}]
    assert lab.report(portMappings=fixed)["env"]["PORT"] == "8080"
    lab.instance.own_address = False
    shared = lab.start(portMappings=fixed)
    shared.wait()
    (binding,) = shared.bindings
    assert binding.requested_port == 8080
    assert binding.host_port >= FIRST_DYNAMIC_PORT


@pytest.mark.parametrize(
    ("keys", "overrides", "argv"),
    [
        ({}, {}, ["TASK/report.py"]),
        ({"command": ["report.py", "x"]}, {}, ["report.py", "x"]),
        ({"command": ["report.py", "x"]}, {"command": ["report.py", "y"]}, ["report.py", "y"]),
        ({"entryPoint": ["python", "report.py"]}, {}, ["report.py"]),
        ({"entryPoint": ["python"], "command": ["/app/report.py", "/etc/x"]}, {}, ["TASK/report.py", "/etc/x"]),
    ],
)
def test_command_line_follows_dockers_rules(
    lab: Lab, keys: dict[str, Any], overrides: dict[str, Any], argv: list[str]
) -> None:
    found = lab.report(overrides, **keys)
    assert [word.replace(found["cwd"], "TASK") for word in found["argv"]] == argv


def test_task_runs_in_its_own_copy_in_the_workdir(lab: Lab) -> None:
    lab.publish(DOCKERFILE.replace("WORKDIR /app\nCOPY . .", "COPY . /app\nWORKDIR /app/data"))
    (lab.folder / "source" / "data").mkdir()
    (lab.folder / "source" / "data" / "keep").write_text("")
    lab.store.publish("image", "1", lab.folder / "source", print)
    one = task()
    assert lab.start(one).wait() == 0
    found = json.loads(lab.log.read_text().splitlines()[-1])
    assert found["cwd"] == str(lab.lab_dir.tasks / one.id / "app" / "app" / "data")


def test_exit_codes_are_those_of_docker(lab: Lab, until: Until) -> None:
    assert lab.start(command=["-c", "raise SystemExit(3)"]).wait() == 3
    sleeping = lab.start(command=["-c", "import time; time.sleep(60)"])
    sleeping.terminate()
    assert sleeping.wait() == 143
    sleeping.terminate()
    stubborn = lab.start(command=["stubborn.py"])
    until(lambda: "up" in lab.log.read_text())
    stubborn.terminate()
    stubborn.kill()
    assert stubborn.wait() == 137
    stubborn.kill()


def test_child_processes_are_killed_with_their_container(lab: Lab, until: Until) -> None:
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {STUBBORN!r}], stdout=sys.stdout)"
    assert lab.start(command=["-c", code]).wait() == 0
    until(lambda: lab_processes.find_leftovers(lab.lab_dir.root) == [])


def test_clean_up_removes_the_copy_and_releases_the_ports(lab: Lab) -> None:
    one = task()
    running = lab.start(one, portMappings=[{"containerPort": 4567}])
    running.wait()
    lab.runtime.clean_up(one.id, lab.instance, [running])
    lab.runtime.clean_up(one.id, lab.instance, [running])
    assert list(lab.lab_dir.tasks.iterdir()) == []
    assert lab.instance.ports._taken == set()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"entryPoint": ["/nowhere/program"]}, "/nowhere/program"),
        ({"environment": [{"name": "A=B", "value": "x"}]}, "environment variable"),
        ({"command": ["nul\0"]}, "null"),
        ({"name": "x" * 300}, "name too long"),
    ],
)
def test_failed_start_releases_its_ports(lab: Lab, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(CannotStart, match=rf"(?i)^CannotStartContainerError: .*{message}"):
        lab.start(portMappings=[{"containerPort": 1}], **keys)
    assert lab.instance.ports._taken == set()


def test_unpublished_image_cannot_be_pulled(lab: Lab) -> None:
    with pytest.raises(CannotStart, match=r"^CannotPullContainerError: no image other:1 was published"):
        lab.runtime.start(task(), container(image="other:1"), lab.instance, lab.log, {})


def test_start_fails_without_a_free_port(lab: Lab) -> None:
    class NoPorts:
        def take(self) -> int:
            raise OSError("no free port left on 127.0.0.1")

    lab.instance.ports = NoPorts()  # type: ignore[assignment]
    with pytest.raises(CannotStart, match="no free port left"):
        lab.start(portMappings=[{"containerPort": 1}])


def test_process_inherits_no_open_files(lab: Lab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        os.set_inheritable(listener.fileno(), True)
        code = "import os; print(sorted(int(n) for n in os.listdir('/dev/fd'))[:4])"
        assert lab.start(command=["-c", code]).wait() == 0
    assert lab.log.read_text().splitlines()[-1] == "[0, 1, 2, 3]", "3 is open for the listing itself"
