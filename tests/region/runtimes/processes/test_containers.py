"""Containers as real processes: how they are told where to listen, what they may see, and how they end."""

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
from tests.region.ecs.making import container, task
from tests.region.fakes import ec2_instance

Until = Callable[..., None]
TELL = """
import json, os, sys
print(json.dumps({"argv": sys.argv, "cwd": os.getcwd(), "env": dict(os.environ)}), flush=True)
"""
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
DOCKERFILE = 'FROM x\nENV A=image B=image\nWORKDIR /app\nCOPY . .\nENTRYPOINT ["python", "-u"]\nCMD ["/app/tell.py"]\n'


class Bench:
    """Starts containers of one image, and ends them."""

    def __init__(self, home: LabDir, folder: Path) -> None:
        self.home, self.folder = home, folder
        self.machine: Ec2Instance = ec2_instance(folder)
        self.store = ImageStore(home)
        self.runtime = ProcessContainers(home, self.store)
        self.log = home.logs / "task.log"
        self.publish(DOCKERFILE)

    def publish(self, dockerfile: str) -> None:
        source = self.folder / "source"
        source.mkdir(exist_ok=True)
        for name, content in {"Dockerfile": dockerfile, "tell.py": TELL, "stubborn.py": STUBBORN}.items():
            (source / name).write_text(content)
        self.store.publish("image", "1", source)

    def start(self, one: Task | None = None, overrides: dict[str, Any] | None = None, **what: Any) -> ProcessContainer:
        definition = container(image="lab/image:1", **what)
        return self.runtime.start(one or task(), definition, self.machine, self.log, overrides or {})

    def told(self, overrides: dict[str, Any] | None = None, **what: Any) -> dict[str, Any]:
        """What a container that tells of itself was given."""
        assert self.start(None, overrides, **what).wait() == 0
        return dict(json.loads(self.log.read_text().splitlines()[-1]))


@pytest.fixture
def bench(home: LabDir, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(home, tmp_path)
    yield made
    lab_processes.kill_leftovers(home.root)


def variable(container: ProcessContainer, name: str) -> str:
    """A variable of a container, as the Registrator sees it."""
    (found,) = [one for one in container.snapshot.environment if one.startswith(f"{name}=")]
    return found.partition("=")[2]


def variables(**values: str) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def test_variables_of_the_image_the_definition_and_the_overrides_in_this_order(bench: Bench) -> None:
    found = bench.told({"environment": variables(C="override")}, environment=variables(B="task", C="task"))["env"]
    assert (found["A"], found["B"], found["C"]) == ("image", "task", "override")
    assert found["CONSUL_DNS"] == bench.machine.dns
    assert found["HOST"] == "127.0.0.1"
    assert found[lab_processes.OWNER_VARIABLE] == str(bench.home.root)
    assert "PORT" not in found, "it publishes none"


def test_a_variable_without_a_value_is_empty(bench: Bench) -> None:
    assert bench.told(environment=[{"name": "B"}])["env"]["B"] == ""


def test_ports_are_dynamic_where_the_definition_leaves_them_open(bench: Bench) -> None:
    ports = [{"containerPort": 4567}, {"containerPort": 9000, "hostPort": 0, "protocol": "udp"}]
    first, second = bench.start(portMappings=ports), bench.start(portMappings=ports)
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


def test_a_fixed_port_is_that_port_unless_the_address_is_shared(bench: Bench) -> None:
    fixed = [{"containerPort": 4567, "hostPort": 8080}]
    assert bench.told(portMappings=fixed)["env"]["PORT"] == "8080"
    bench.machine.own_address = False
    shared = bench.start(portMappings=fixed)
    shared.wait()
    (binding,) = shared.bindings
    assert binding.requested_port == 8080
    assert binding.host_port >= FIRST_DYNAMIC_PORT


@pytest.mark.parametrize(
    ("what", "overrides", "argv"),
    [
        ({}, {}, ["TASK/tell.py"]),
        ({"command": ["tell.py", "x"]}, {}, ["tell.py", "x"]),
        ({"command": ["tell.py", "x"]}, {"command": ["tell.py", "y"]}, ["tell.py", "y"]),
        ({"entryPoint": ["python", "tell.py"]}, {}, ["tell.py"]),
        ({"entryPoint": ["python"], "command": ["/app/tell.py", "/etc/x"]}, {}, ["TASK/tell.py", "/etc/x"]),
    ],
)
def test_the_command_line_follows_dockers_rule(
    bench: Bench, what: dict[str, Any], overrides: dict[str, Any], argv: list[str]
) -> None:
    found = bench.told(overrides, **what)
    assert [word.replace(found["cwd"], "TASK") for word in found["argv"]] == argv


def test_it_runs_in_its_own_copy_at_the_workdir(bench: Bench) -> None:
    bench.publish(
        DOCKERFILE.replace("WORKDIR /app\nCOPY . .", "COPY . /app\nWORKDIR /app/data").replace("FROM x", "FROM x")
    )
    (bench.folder / "source" / "data").mkdir()
    (bench.folder / "source" / "data" / "keep").write_text("")
    bench.store.publish("image", "1", bench.folder / "source")
    one = task()
    assert bench.start(one).wait() == 0
    found = json.loads(bench.log.read_text().splitlines()[-1])
    assert found["cwd"] == str(bench.home.tasks / one.id / "app" / "data")


def test_exit_codes_are_dockers(bench: Bench, until: Until) -> None:
    assert bench.start(command=["-c", "raise SystemExit(3)"]).wait() == 3
    sleeping = bench.start(command=["-c", "import time; time.sleep(60)"])
    sleeping.terminate()
    assert sleeping.wait() == 143
    sleeping.terminate()
    stubborn = bench.start(command=["stubborn.py"])
    until(lambda: "up" in bench.log.read_text())
    stubborn.terminate()
    stubborn.kill()
    assert stubborn.wait() == 137
    stubborn.kill()


def test_what_a_container_left_running_ends_with_it(bench: Bench, until: Until) -> None:
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {STUBBORN!r}], stdout=sys.stdout)"
    assert bench.start(command=["-c", code]).wait() == 0
    until(lambda: lab_processes.find_leftovers(bench.home.root) == [])


def test_clean_up_takes_the_copy_and_gives_the_ports_back(bench: Bench) -> None:
    one = task()
    running = bench.start(one, portMappings=[{"containerPort": 4567}])
    running.wait()
    bench.runtime.clean_up(one.id, bench.machine, [running])
    bench.runtime.clean_up(one.id, bench.machine, [running])
    assert list(bench.home.tasks.iterdir()) == []
    assert bench.machine.ports._taken == set()


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ({"entryPoint": ["/nowhere/program"]}, "/nowhere/program"),
        ({"environment": [{"name": "A=B", "value": "x"}]}, "environment variable"),
        ({"command": ["nul\0"]}, "null"),
        ({"name": "x" * 300}, "name too long"),
    ],
)
def test_what_no_process_can_be_given_cannot_start_and_keeps_no_port(
    bench: Bench, what: dict[str, Any], words: str
) -> None:
    with pytest.raises(CannotStart, match=rf"(?i)^CannotStartContainerError: .*{words}"):
        bench.start(portMappings=[{"containerPort": 1}], **what)
    assert bench.machine.ports._taken == set()


def test_an_image_that_was_not_published_cannot_be_pulled(bench: Bench) -> None:
    with pytest.raises(CannotStart, match=r"^CannotPullContainerError: no image other:1 was published"):
        bench.runtime.start(task(), container(image="other:1"), bench.machine, bench.log, {})


def test_ports_that_have_run_out_cannot_start(bench: Bench) -> None:
    class NoPorts:
        def take(self) -> int:
            raise OSError("no free port left on 127.0.0.1")

    bench.machine.ports = NoPorts()  # type: ignore[assignment]
    with pytest.raises(CannotStart, match="no free port left"):
        bench.start(portMappings=[{"containerPort": 1}])


def test_the_process_holds_nothing_of_ours_open(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as ours:
        os.set_inheritable(ours.fileno(), True)
        code = "import os; print(sorted(int(n) for n in os.listdir('/dev/fd'))[:4])"
        assert bench.start(command=["-c", code]).wait() == 0
    assert bench.log.read_text().splitlines()[-1] == "[0, 1, 2, 3]", "and 3 is the listing's own"
