"""Containers as real processes: their environment, command line, ports and exit codes."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ecsconsul.config.lab import Check, ServiceSpec
from ecsconsul.deploy.container_check import check_of_ports
from ecsconsul.region.ecs.model import Task
from ecsconsul.region.runtimes import lab_processes
from ecsconsul.region.runtimes.addresses import FIRST_DYNAMIC_PORT
from ecsconsul.region.runtimes.interface import CannotStart, Ec2Instance
from ecsconsul.region.runtimes.lab_dir import LabDir
from ecsconsul.region.runtimes.processes.containers import ProcessContainer, ProcessContainers
from ecsconsul.region.runtimes.processes.images import ImageStore
from ecsconsul.region.runtimes.processes.task_files import can_have_own_root
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


# whole task definitions


WRITER = "import sys; open(sys.argv[1], 'w').write('written')"


@pytest.fixture(params=[True, False], ids=["own root", "mapped paths"])
def rooted(request: pytest.FixtureRequest, lab: Lab) -> Lab:
    """A lab whose tasks have a root of their own, where this kernel permits it, and one whose tasks have none."""
    if request.param and not can_have_own_root(lab.lab_dir.root):
        pytest.skip("this kernel lets this user make no mounts")
    lab.runtime.own_roots = request.param
    return lab


def with_volumes(one: Task, *volumes: dict[str, Any]) -> Task:
    one.task_definition = {**one.task_definition, "volumes": list(volumes)}
    return one


def mounted(*words: str, path: str = "/data", **more: Any) -> dict[str, Any]:
    return {"entryPoint": list(words), "mountPoints": [{"sourceVolume": "data", "containerPath": path, **more}]}


def test_volume_is_shared_by_containers_and_goes_with_the_task(rooted: Lab) -> None:
    one = with_volumes(task(), {"name": "data"})
    writing = rooted.start(one, name="writer", **mounted("python", "-c", WRITER, "/data/file"))
    assert writing.wait() == 0, rooted.log.read_text()
    reading = rooted.start(one, name="reader", **mounted("cat", "/other/file", path="/other"))
    assert reading.wait() == 0, rooted.log.read_text()
    assert rooted.log.read_text().endswith("written")
    rooted.runtime.clean_up(one.id, rooted.instance, [writing, reading])
    assert not [path for path in rooted.lab_dir.root.rglob("file") if "source" not in path.parts]


def test_folder_of_an_instance_is_one_of_the_lab(rooted: Lab) -> None:
    source = f"/ecsconsul-{rooted.lab_dir.lab}"
    one = with_volumes(task(), {"name": "data", "host": {"sourcePath": source}})
    assert rooted.start(one, **mounted("python", "-c", WRITER, "/data/file")).wait() == 0
    assert not Path(source).exists()
    (found,) = rooted.lab_dir.volumes.rglob("file")
    assert found.read_text() == "written"
    again = with_volumes(task(), {"name": "data", "host": {"sourcePath": source}})
    assert rooted.start(again, **mounted("cat", "/data/file")).wait() == 0


def test_read_only_volume_can_not_be_written(rooted: Lab) -> None:
    if not rooted.runtime.own_roots:
        assert "readOnly has no effect" in rooted.runtime.not_played(mounted("x", readOnly=True))[0]
        return
    one = with_volumes(task(), {"name": "data"})
    assert rooted.start(one, **mounted("python", "-c", WRITER, "/data/file", readOnly=True)).wait() == 1
    assert "Read-only file system" in rooted.log.read_text()


def test_new_volume_starts_with_what_the_image_has_there(rooted: Lab) -> None:
    one = with_volumes(task(), {"name": "data"})
    assert rooted.start(one, **mounted("cat", "/app/report.py", path="/app")).wait() == 0
    assert "json.dumps" in rooted.log.read_text()


def test_working_directory_is_made(rooted: Lab) -> None:
    assert rooted.start(workingDirectory="/some/where", entryPoint=["pwd"]).wait() == 0
    assert rooted.log.read_text().strip().endswith("/some/where")


def test_ulimits_are_set(rooted: Lab) -> None:
    limits = [{"name": "nofile", "softLimit": 100, "hardLimit": 200}]
    assert rooted.start(ulimits=limits, entryPoint=["sh", "-c", "ulimit -Sn; ulimit -Hn"]).wait() == 0
    assert rooted.log.read_text().split() == ["100", "200"]


def test_check_runs_with_the_files_and_variables_of_the_task(rooted: Lab, until: Until) -> None:
    running = rooted.start(entryPoint=["python", "-u", "/app/stubborn.py"], environment=variables(B="task"))
    until(lambda: rooted.log.exists() and "up" in rooted.log.read_text())
    assert running.probe(["/bin/sh", "-c", "test -f /app/report.py && test $B = task"], 30) == ""
    assert running.probe(["/bin/sh", "-c", "echo no database; exit 3"], 30) == "exit code 3: no database"
    assert running.probe(["sleep", "60"], 0.2) == "it took longer than 0.2 s"
    running.kill()
    running.wait()


def test_check_finds_the_port_of_a_process(lab: Lab, until: Until) -> None:
    server = "import http.server as h, os; h.test(h.SimpleHTTPRequestHandler, port=int(os.environ['PORT']), bind=HOST)"
    server = server.replace("HOST", "'127.0.0.1'")
    running = lab.start(entryPoint=["python", "-u", "-c", server], portMappings=[{"containerPort": 4567}])
    connect = "import socket,sys; socket.create_connection((sys.argv[1].split(':')[0], int(sys.argv[1].split(':')[1])))"
    until(lambda: running.probe(["python", "-c", connect, "localhost:4567"], 30) == "")
    check = check_of_ports(ServiceSpec(name="weather", path="", port=4567, check=Check(http="/")).bindings)
    assert check
    assert running.probe(["/bin/sh", "-c", check["command"][1]], 30) == ""
    other = check_of_ports(ServiceSpec(name="weather", path="", port=4567, check=Check(http="/none")).bindings)
    assert other
    assert running.probe(["/bin/sh", "-c", other["command"][1]], 30) == "exit code 1"
    running.kill()
    running.wait()


def test_one_port_for_tcp_and_udp_is_one_port_of_the_machine(lab: Lab) -> None:
    ports = [{"containerPort": 53}, {"containerPort": 53, "protocol": "udp"}]
    running = lab.start(portMappings=ports)
    tcp, udp = running.bindings
    assert tcp.host_port == udp.host_port
    running.wait()


def test_image_that_exists_needs_docker(lab: Lab) -> None:
    with pytest.raises(CannotStart, match="processes can only run images built from a folder"):
        lab.runtime.start(task(), container(image="nginx:1.25"), lab.instance, lab.log, {})


def test_image_whose_links_lead_in_a_circle_cannot_start(lab: Lab) -> None:
    (lab.folder / "source").mkdir(exist_ok=True)
    (lab.folder / "source" / "loop").symlink_to("loop")
    lab.publish("FROM x\nWORKDIR /app\nCOPY . .\nCMD python report.py\n")
    with pytest.raises(CannotStart, match="circle"):
        lab.start(workingDirectory="/app/loop")
