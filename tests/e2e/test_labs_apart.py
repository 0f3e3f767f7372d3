"""Labs of other kinds: a folder of the user's own, three servers, one address; beside another, killed in the act."""

from __future__ import annotations

import random
import socket
import subprocess
import time
import zipfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.consul_server import consul_binary
from tests.e2e.lab_at import (
    OWN_SERVICE,
    Json,
    LabAt,
    becomes,
    dig,
    eventually,
    free_port,
    get,
    interrupted,
    words_of,
    write,
)

# what is counted here are processes
RUNTIMES = ("processes",)
CONFIG = """\
lab: {name}
instances: 2
consul:
  servers: {servers}
services:
  greeter:
    path: greeter
    port: 8000
    count: 2
    environment: {{GREETING: good day}}
    check: /
  front:
    path: greeter
    port: 8000
    host_port: {port}
    check: {{tcp: true, interval: 1s}}
"""


@pytest.fixture
def own(fresh: LabAt) -> LabAt:
    """A folder of the user's own, as two services."""
    consul_binary()
    configure(fresh)
    return fresh


def configure(lab: LabAt, servers: int = 1, **files: str) -> None:
    write(lab.folder / "greeter", {**OWN_SERVICE, **files})
    lab.config.write_text(CONFIG.format(name=lab.name, servers=servers, port=free_port()))


def is_whole(lab: LabAt, servers: int = 1) -> None:
    status = lab.ok("status", "--output", "json").document
    assert [(s["name"], s["passing"]) for s in status["services"]] == [("greeter", 2), ("front", 1)]
    members = [member for member in status["consul"]["members"] if member["status"] != "left"]
    assert sorted(m["role"] for m in members) == ["client"] * 2 + ["server"] * servers
    assert len(lab.consuls()) == len(members)
    mains = [process for process in lab.processes() if words_of(process)[-1:] == ["main.py"]]
    assert len(mains) == 3
    assert len(lab.tasks("greeter")) == 2
    assert len(lab.tasks("front")) == 1


def instances(lab: LabAt) -> dict[str, list[Json]]:
    """What is found of each service, but for what its checks wrote: a young one's has not said anything yet."""
    services = lab.status()["services"]
    for check in (check for service in services for one in service["instances"] for check in one["checks"]):
        check.pop("output")
    return {service["name"]: service["instances"] for service in services}


def test_a_folder_of_ones_own_beside_a_running_lab(own: LabAt, running: LabAt) -> None:
    # the tests before this one may have taken it down
    running.up()
    before = instances(running)
    own.up()
    is_whole(own)
    assert get(own.portal)[1].startswith("hello from /"), "front has the Dockerfile's variable"
    bodies = [get(f"http://{endpoint}/")[1] for endpoint in own.endpoints("greeter")]
    assert [body.partition(" from ")[0] for body in bodies] == ["good day", "good day"]
    assert "listening on" in own.ok("logs", "greeter").out
    assert dig(own.dns, "weather.service.consul") == [], "two labs know nothing of each other"
    assert sorted(own.ok("dig", "greeter", "--short").out.splitlines()) == dig(own.dns, "greeter.service.consul")
    own.down()
    assert own.processes() == []
    assert own.left() == []
    assert running.ok("status")
    assert instances(running) == before


def test_up_killed_at_random_moments(own: LabAt) -> None:
    # the moments differ from run to run; each lies in another part of an `up`
    for earliest, latest in ((0.3, 1.0), (1.0, 2.5), (2.5, 4.0), (0.3, 4.0)):
        with own.started("up") as process, suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=random.uniform(earliest, latest))
    own.up()
    is_whole(own)
    assert own.ok("plan", "--exit-code")
    own.down()
    assert own.processes() == []
    assert own.left() == []


def test_up_interrupted_and_resumed(own: LabAt) -> None:
    with own.started("up") as process:
        eventually(own.processes, lambda found: len(found) > 2)
        ran = interrupted(process)
    assert ran.code == 130
    assert ran.seconds < 10
    assert "Traceback" not in ran.err
    assert "ecsconsul up" in ran.err
    own.up()
    is_whole(own)


def test_down_right_after_up_was_killed(own: LabAt) -> None:
    with own.started("up"):
        eventually(own.processes, lambda found: len(found) > 1)
    assert own.down()["left"] == []
    # a region that was still starting must not come up behind the back of `down`
    time.sleep(3)
    assert own.processes() == []
    assert own.left() == []


def test_three_servers_survive_the_loss_of_their_leader(own: LabAt) -> None:
    configure(own, servers=3)
    own.up()
    is_whole(own, servers=3)
    leader = own.status()["consul"]["leader"].split(":")[0]
    name = next(m["name"] for m in own.status()["consul"]["members"] if m["address"] == leader)
    [killed] = own.agents_of(name)
    killed.kill()
    eventually(lambda: own.agents_of(name), lambda found: [p.pid for p in found] not in ([], [killed.pid]))
    becomes(lambda: is_whole(own, servers=3))
    own.edit("servers: 3", "servers: 1")
    own.up()
    becomes(lambda: is_whole(own, servers=1))
    own.edit("servers: 1", "servers: 3")
    own.up()
    becomes(lambda: is_whole(own, servers=3))


def test_instances_come_and_go(own: LabAt) -> None:
    own.up()
    own.edit("instances: 2", "instances: 3")
    own.up()
    eventually(lambda: own.status()["consul"]["members"], lambda found: len(found) == 4)
    own.edit("instances: 3", "instances: 1")
    own.up()
    members = eventually(
        lambda: [m for m in own.status()["consul"]["members"] if m["status"] == "alive"], lambda found: len(found) == 2
    )
    assert sorted(m["role"] for m in members) == ["client", "server"]
    assert len(own.endpoints("greeter")) == 2
    assert own.ok("status")


def test_a_fixed_port_on_the_only_instance_is_handed_over(own: LabAt) -> None:
    """The old task must go before the new one can have its port."""
    own.edit("instances: 2", "instances: 1")
    own.up()
    own.edit("    host_port:", "    environment: {GREETING: good evening}\n    host_port:")
    own.up()
    assert "good evening" in get(own.portal)[1]


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[LabAt]:
    """A lab where there is only 127.0.0.1, as on macOS."""
    consul_binary()
    lab = LabAt(tmp_path, "e2e-shared", {"ECSCONSUL_SHARED_ADDRESS": "1"})
    configure(lab)
    yield lab
    lab.clear()


def test_all_on_one_address(shared: LabAt) -> None:
    shared.up()
    is_whole(shared)
    assert {address for address, _ in shared.addresses()} == {"127.0.0.1"}
    assert {endpoint.split(":")[0] for endpoint in shared.endpoints("greeter")} == {"127.0.0.1"}
    assert sorted(shared.ok("dig", "greeter", "--short").out.splitlines()) == dig(shared.dns, "greeter.service.consul")
    assert get(shared.portal)[0] == 200
    before = get(shared.portal)[1]
    write(shared.folder / "greeter", {"main.py": OWN_SERVICE["main.py"].replace(" from ", " out of ")})
    shared.up()
    assert " out of " in get(shared.portal)[1] != before
    is_whole(shared)
    addresses = shared.addresses()
    shared.down()
    assert shared.still_taken(addresses) == []


def test_a_requirement_that_the_tool_does_not_satisfy(own: LabAt) -> None:
    """It gets an environment of its own; here from a folder, so that no index is needed."""
    wheels = own.folder / "wheels"
    wheels.mkdir()
    wheel(wheels, "greetings", "1.0", "WORDS = 'salve'\n")
    main = OWN_SERVICE["main.py"].replace("import http.server", "import greetings, http.server")
    main = main.replace("{os.environ['GREETING']}", "{greetings.WORDS}")
    configure(own, **{"main.py": main, "requirements.txt": f"--no-index\n--find-links {wheels}\ngreetings==1.0\n"})
    own.up()
    assert get(own.portal)[1].startswith("salve")
    is_whole(own)
    assert own.up()["changes"]["updated"] == 0


def test_a_requirement_that_nobody_has(own: LabAt) -> None:
    configure(own, **{"requirements.txt": f"--no-index\n--find-links {own.folder}\nno-such-greetings==1.0\n"})
    ran = own.ran("up")
    assert ran.code == 1
    assert "no-such-greetings" in ran.err
    assert "requirements.txt" in ran.err
    assert "Traceback" not in ran.err


def wheel(folder: Path, name: str, version: str, code: str) -> None:
    """A pure Python wheel of one module."""
    about = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}.py", code)
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", f"{name}.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")


def test_the_region_tells_when_its_door_is_taken_meanwhile(own: LabAt) -> None:
    """A port that somebody takes between two `up`s of a lab that was down."""
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", int(own.config.read_text().split("host_port: ")[1].split()[0])))
        other.listen()
        ran = own.ran("up")
        assert ran.code == 1
        assert "taken" in ran.err
    own.up()
    is_whole(own)
