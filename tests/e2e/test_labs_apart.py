"""Labs with other configs: the user's own services, three servers, one address; two labs at once; killed commands."""

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
from tests.e2e.lab import (
    OWN_SERVICE,
    Json,
    Lab,
    becomes,
    dig,
    eventually,
    free_port,
    get,
    interrupted,
    words_of,
    write,
)

# These tests count processes.
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
def own(fresh: Lab) -> Lab:
    """A lab with the user's own folder as two services."""
    consul_binary()
    configure(fresh)
    return fresh


def configure(lab: Lab, servers: int = 1, **files: str) -> None:
    write(lab.folder / "greeter", {**OWN_SERVICE, **files})
    lab.config.write_text(CONFIG.format(name=lab.name, servers=servers, port=free_port()))


def assert_complete(lab: Lab, servers: int = 1) -> None:
    status = lab.ok("status", "--output", "json").document
    assert [(s["name"], s["passing"]) for s in status["services"]] == [("greeter", 2), ("front", 1)]
    members = [member for member in status["consul"]["members"] if member["status"] != "left"]
    assert sorted(m["role"] for m in members) == ["client"] * 2 + ["server"] * servers
    assert len(lab.consuls()) == len(members)
    mains = [process for process in lab.processes() if words_of(process)[-1:] == ["main.py"]]
    assert len(mains) == 3
    assert len(lab.tasks("greeter")) == 2
    assert len(lab.tasks("front")) == 1


def instances(lab: Lab) -> dict[str, list[Json]]:
    """The instances of each service in `status`, without the checks' output, which a new check doesn't have yet."""
    services = lab.status()["services"]
    for check in (check for service in services for one in service["instances"] for check in one["checks"]):
        check.pop("output")
    return {service["name"]: service["instances"] for service in services}


def test_second_lab_beside_a_running_one(own: Lab, running: Lab) -> None:
    # An earlier test may have removed it.
    running.up()
    before = instances(running)
    own.up()
    assert_complete(own)
    assert get(own.portal)[1].startswith("hello from /"), "front has the Dockerfile's variable"
    bodies = [get(f"http://{endpoint}/")[1] for endpoint in own.endpoints("greeter")]
    assert [body.partition(" from ")[0] for body in bodies] == ["good day", "good day"]
    assert "listening on" in own.ok("logs", "greeter").out
    assert dig(own.dns, "weather.service.consul") == [], "labs are isolated"
    assert sorted(own.ok("dig", "greeter", "--short").out.splitlines()) == dig(own.dns, "greeter.service.consul")
    own.down()
    assert own.processes() == []
    assert own.left() == []
    assert running.ok("status")
    assert instances(running) == before


def test_up_killed_at_random_moments(own: Lab) -> None:
    # Random moments, each in another part of an `up`.
    for earliest, latest in ((0.3, 1.0), (1.0, 2.5), (2.5, 4.0), (0.3, 4.0)):
        with own.started("up") as process, suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=random.uniform(earliest, latest))
    own.up()
    assert_complete(own)
    assert own.ok("plan", "--exit-code")
    own.down()
    assert own.processes() == []
    assert own.left() == []


def test_up_interrupted_and_resumed(own: Lab) -> None:
    # nothing ever listens, so `up` can't end by itself before the interrupt
    write(own.folder / "greeter", {"main.py": "import time\n\ntime.sleep(3600)\n"})
    with own.started("up") as process:
        eventually(own.processes, lambda found: len(found) > 2)
        result = interrupted(process)
    assert result.code == 130
    assert "timed out" not in result.err
    assert "Traceback" not in result.err
    assert "ecsconsul up" in result.err
    write(own.folder / "greeter", OWN_SERVICE)
    own.up()
    assert_complete(own)


def test_down_after_a_killed_up(own: Lab) -> None:
    with own.started("up"):
        eventually(own.processes, lambda found: len(found) > 1)
    assert own.down()["left"] == []
    # A region that was still starting must not come up after `down`.
    time.sleep(3)
    assert own.processes() == []
    assert own.left() == []


def test_three_servers_survive_the_loss_of_their_leader(own: Lab) -> None:
    configure(own, servers=3)
    own.up()
    becomes(lambda: assert_complete(own, servers=3))
    leader = eventually(lambda: own.status()["consul"]["leader"], bool).split(":")[0]
    name = next(m["name"] for m in own.status()["consul"]["members"] if m["address"] == leader)
    [killed] = own.agents_of(name)
    killed.kill()
    eventually(lambda: own.agents_of(name), lambda found: [p.pid for p in found] not in ([], [killed.pid]))
    becomes(lambda: assert_complete(own, servers=3))
    own.edit("servers: 3", "servers: 1")
    own.up()
    becomes(lambda: assert_complete(own, servers=1))
    own.edit("servers: 1", "servers: 3")
    own.up()
    becomes(lambda: assert_complete(own, servers=3))


def test_instances_are_added_and_removed(own: Lab) -> None:
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


def test_fixed_port_on_the_only_instance_moves_to_the_new_task(own: Lab) -> None:
    """The old task must stop before the new one can use its port."""
    own.edit("instances: 2", "instances: 1")
    own.up()
    own.edit("    host_port:", "    environment: {GREETING: good evening}\n    host_port:")
    own.up()
    assert "good evening" in get(own.portal)[1]


def test_program_that_listens_everywhere_has_its_fixed_port_itself(own: Lab) -> None:
    """Nothing is forwarded then. On two instances too, the old task stops first, and a second one finds no place."""
    main = OWN_SERVICE["main.py"].replace('Server((os.environ["HOST"],', 'Server(("0.0.0.0",')
    assert main != OWN_SERVICE["main.py"]
    configure(own, **{"main.py": main})
    own.up()
    assert "hello" in get(own.portal)[1]
    own.edit("    host_port:", "    environment: {GREETING: good evening}\n    host_port:")
    own.up()
    assert "good evening" in get(own.portal)[1]
    result = own.run("scale", "front=2")
    assert result.code == 1
    assert "every address" in result.err
    assert "let it listen at $HOST" in result.err


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Lab]:
    """A lab with 127.0.0.1 as its only address, as on macOS."""
    consul_binary()
    lab = Lab(tmp_path, "e2e-shared", {"ECSCONSUL_SHARED_ADDRESS": "1"})
    configure(lab)
    yield lab
    lab.clear()


def test_lab_on_one_address(shared: Lab) -> None:
    shared.up()
    assert_complete(shared)
    assert {address for address, _ in shared.addresses()} == {"127.0.0.1"}
    assert {endpoint.split(":")[0] for endpoint in shared.endpoints("greeter")} == {"127.0.0.1"}
    assert sorted(shared.ok("dig", "greeter", "--short").out.splitlines()) == dig(shared.dns, "greeter.service.consul")
    assert get(shared.portal)[0] == 200
    before = get(shared.portal)[1]
    write(shared.folder / "greeter", {"main.py": OWN_SERVICE["main.py"].replace(" from ", " out of ")})
    shared.up()
    assert " out of " in get(shared.portal)[1] != before
    assert_complete(shared)
    addresses = shared.addresses()
    shared.down()
    assert shared.still_taken(addresses) == []


def test_missing_requirement_is_installed(own: Lab) -> None:
    """Into an environment of its own; here from a folder, so that no index is needed."""
    wheels = own.folder / "wheels"
    wheels.mkdir()
    wheel(wheels, "greetings", "1.0", "WORDS = 'salve'\n")
    main = OWN_SERVICE["main.py"].replace("import http.server", "import greetings, http.server")
    main = main.replace("{os.environ['GREETING']}", "{greetings.WORDS}")
    configure(own, **{"main.py": main, "requirements.txt": f"--no-index\n--find-links {wheels}\ngreetings==1.0\n"})
    own.up()
    assert get(own.portal)[1].startswith("salve")
    assert_complete(own)
    assert own.up()["changes"]["updated"] == 0


def test_unknown_requirement_is_an_error(own: Lab) -> None:
    configure(own, **{"requirements.txt": f"--no-index\n--find-links {own.folder}\nno-such-greetings==1.0\n"})
    result = own.run("up")
    assert result.code == 1
    assert "no-such-greetings" in result.err
    assert "requirements.txt" in result.err
    assert "Traceback" not in result.err


def wheel(folder: Path, name: str, version: str, code: str) -> None:
    """Write a pure Python wheel with one module."""
    about = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}.py", code)
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", f"{name}.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")


def test_port_taken_before_up_is_an_error(own: Lab) -> None:
    """`up` works once the port is free again."""
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", int(own.config.read_text().split("host_port: ")[1].split()[0])))
        other.listen()
        result = own.run("up")
        assert result.code == 1
        assert "taken" in result.err
    own.up()
    assert_complete(own)
