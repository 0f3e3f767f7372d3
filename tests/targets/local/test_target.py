"""The local target with a fake region: when it is usable, and what commands learn of it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ecsconsul import __version__
from ecsconsul.config.lab import Lab, ServiceSpec
from ecsconsul.config.scalars import CONSUL_VERSION
from ecsconsul.consul.install import BINARY_VARIABLE, CACHE_VARIABLE, at_hand
from ecsconsul.consul.lab_secrets import MANAGEMENT, MONITORING
from ecsconsul.errors import LabError, TargetAbsent
from ecsconsul.paths import HOME_VARIABLE
from ecsconsul.region.runtimes.lab_dir import LabDir, RegionInfo
from ecsconsul.targets.local.target import NO_AMI, LocalTarget

Tell = Callable[..., RegionInfo]


class Answers(BaseHTTPRequestHandler):
    """A region that answers pings."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabDir:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    return LabDir("blue")


@pytest.fixture
def tell(home: LabDir, endpoint: str) -> Iterator[Tell]:
    """Describe a region in the lab's directory; it holds the lab's lock for the test."""
    with ExitStack() as stack:

        def tell(**more: object) -> RegionInfo:
            known = {
                "pid": 1, "version": __version__, "lab": "blue", "region": "eu-west-1", "endpoint": endpoint,
                "consul_http": "127.0.9.1:8500", "consul_dns": "127.0.9.1:8600", "vpc_id": "vpc-1",
                "subnet_ids": ("subnet-1", "subnet-2"), "forwarded_ports": (8123,),
            }  # fmt: skip
            facts = RegionInfo(**{**known, **more})  # type: ignore[arg-type]
            stack.enter_context(home.lock_region())
            home.ensure_access_key()
            home.make_consul_secrets()
            home.write_info(facts)
            return facts

        yield tell


# --- which region it works with


def test_running_region_is_used(tell: Tell, endpoint: str) -> None:
    tell()
    target = LocalTarget(Lab(name="blue"), region="us-west-2")
    assert target.prerequisites() == f"region eu-west-1 at {endpoint}"
    assert (target.region, target.endpoint) == ("eu-west-1", endpoint)
    network = {"VpcId": "vpc-1", "SubnetIds": "subnet-1,subnet-2"}
    # no instance boots here, so any AMI will do, and no update replaces one
    assert target.stack_parameters() == {**network, **dict.fromkeys(("InstanceAmi", "ServerAmi"), NO_AMI)}
    assert (target.renewed_parameters(), target.instances_of(["group"]), target.amis()) == ({}, {}, [])
    assert target.client("ecs").meta.endpoint_url == endpoint
    assert target.client("ecs") is target.client("ecs")


def test_dead_region_counts_as_absent(home: LabDir, tell: Tell) -> None:
    facts = tell()
    dead = LabDir("green")
    dead.write_info(facts)
    dead.lock_region().close()
    assert LocalTarget(Lab(name="green")).prerequisites() is None


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"version": "0.0.1"}, f"its region was started by version 0.0.1; this is {__version__}"),
        ({"endpoint": "http://127.0.0.1:9"}, "Connection refused"),
        ({"runtime": "docker"}, "its tasks run with the runtime docker, and processes is requested"),
    ],
)
def test_unusable_region_counts_as_absent(tell: Tell, told: dict[str, str], why: str) -> None:
    tell(**told)
    target = LocalTarget(Lab(name="blue"), runtime="processes")
    assert target.prerequisites() is None
    with pytest.raises(TargetAbsent) as raised:
        target.client("ecs")
    assert why in raised.value.why
    assert "ecsconsul up" in raised.value.hint


def test_region_without_an_access_key_counts_as_absent(tell: Tell, home: LabDir) -> None:
    tell()
    (home.root / "access-key.json").unlink()
    target = LocalTarget(Lab(name="blue"))
    assert target.prerequisites() is None
    with pytest.raises(TargetAbsent) as raised:
        target.environment()
    assert raised.value.why == "it has no access key"


# --- Consul


def test_consul_address_comes_from_the_region(tell: Tell) -> None:
    tell()
    with LocalTarget(Lab(name="blue")).consul() as address:
        assert (address.http, address.dns) == ("http://127.0.9.1:8500", "127.0.9.1:8600")


def test_region_without_a_stack_has_no_consul(tell: Tell) -> None:
    """Left by an `up` that was killed."""
    tell(consul_http="", consul_dns="")
    with pytest.raises(TargetAbsent, match="Consul"), LocalTarget(Lab(name="blue")).consul():
        pass


def test_region_with_another_runtime_has_no_consul(tell: Tell) -> None:
    tell(runtime="docker")
    with pytest.raises(TargetAbsent, match="not running"), LocalTarget(Lab(name="blue"), runtime="processes").consul():
        pass


def test_consul_is_usable_while_the_region_hangs(tell: Tell) -> None:
    tell(endpoint="http://127.0.0.1:9")
    with LocalTarget(Lab(name="blue")).consul() as address:
        assert address.http == "http://127.0.9.1:8500"


def test_no_region_has_no_consul(home: LabDir) -> None:
    with pytest.raises(TargetAbsent), LocalTarget(Lab(name="blue")).consul():
        pass


# --- one at a time


def test_lock_excludes_other_commands(home: LabDir) -> None:
    with LocalTarget(Lab(name="blue")).lock():
        with (
            pytest.raises(LabError, match="Another command is changing this lab"),
            LocalTarget(Lab(name="blue")).lock(),
        ):
            pass
        with LocalTarget(Lab(name="green")).lock():
            pass
    with LocalTarget(Lab(name="blue")).lock():
        pass


# --- objections


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").write_text('FROM python:3.12-slim\nCMD ["python"]\n')
    return tmp_path


def lab_of(source: Path, **more: int) -> Lab:
    return Lab(name="blue", runtime="processes", services=(ServiceSpec(name="portal", path=str(source), **more),))


def test_runnable_lab_has_no_blockers(home: LabDir, source: Path) -> None:
    assert LocalTarget(lab_of(source)).blockers() == []


def test_taken_port_is_a_blocker_that_names_its_holder(home: LabDir, source: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        (objection,) = LocalTarget(lab_of(source, host_port=port)).blockers()
    assert objection.what == f"Port {port} is taken"
    assert objection.where == f"service portal, host_port {port}"
    assert "listens there" in objection.why


def test_port_of_the_labs_own_region_is_not_taken(tell: Tell, source: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        tell(forwarded_ports=(port,))
        assert LocalTarget(lab_of(source, host_port=port)).blockers() == []


def test_missing_dockerfile_is_a_blocker(home: LabDir, tmp_path: Path) -> None:
    (objection,) = LocalTarget(lab_of(tmp_path / "nowhere")).blockers()
    assert "nowhere/Dockerfile" in objection.where


def test_diagnostics_include_what_is_ok(home: LabDir, source: Path) -> None:
    found = LocalTarget(lab_of(source)).diagnostics()
    assert [(one.name, one.state, one.detail) for one in found] == [
        ("runtime", "ok", "processes: as requested"),
        ("consul", "ok", at_hand(CONSUL_VERSION)),
        ("host ports", "ok", "no service has a fixed host port"),
    ]


def test_failed_diagnostic_has_a_hint(home: LabDir, source: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        found = LocalTarget(lab_of(source, host_port=held.getsockname()[1])).diagnostics()
    assert [(one.name, one.state, bool(one.hint)) for one in found] == [
        ("runtime", "ok", False),
        ("consul", "ok", False),
        ("host ports", "failed", True),
    ]


def test_broken_consul_binary_is_a_blocker(home: LabDir, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BINARY_VARIABLE, "/nope")
    found = {one.name: one for one in LocalTarget(lab_of(source)).diagnostics()}["consul"]
    assert (found.state, found.detail) == (
        "failed",
        f"/nope does not run ({BINARY_VARIABLE}): No such file or directory",
    )
    assert [str(one) for one in LocalTarget(lab_of(source)).blockers()] == [found.detail]


def test_missing_consul_binary_is_not_a_failure(home: LabDir, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(BINARY_VARIABLE)
    monkeypatch.setenv(CACHE_VARIABLE, str(source))
    monkeypatch.setenv("PATH", str(source))
    found = {one.name: one for one in LocalTarget(lab_of(source)).diagnostics()}["consul"]
    assert found.state == "ok"
    assert found.detail.startswith(f"not installed; `up` downloads Consul {CONSUL_VERSION} (BUSL-1.1: https://")


def test_local_target_needs_no_confirmation_or_system_services(home: LabDir, source: Path) -> None:
    target = LocalTarget(Lab(name="blue"))
    assert target.system_services == ()
    assert target.confirmation() is None
    assert target.log_configuration("portal") is None
    assert target.boot_log("i-1", 10) == []


# --- what it tells others


def test_environment_of_other_clients(tell: Tell, home: LabDir, endpoint: str) -> None:
    tell()
    key = home.access_key()
    assert key is not None
    assert LocalTarget(Lab(name="blue")).environment().items() >= {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": key.id,
        "AWS_SECRET_ACCESS_KEY": key.secret,
        "CONSUL_HTTP_ADDR": "http://127.0.9.1:8500",
        "CONSUL_HTTP_TOKEN": home.consul_secrets().token(MANAGEMENT),
        "CONSUL_MONITORING_TOKEN": home.consul_secrets().token(MONITORING),
    }.items()  # fmt: skip


def test_region_with_another_key_is_absent(tell: Tell, home: LabDir) -> None:
    tell(key_id="AKIAANOTHER")
    with pytest.raises(TargetAbsent) as raised:
        LocalTarget(Lab(name="blue")).environment()
    assert "access key is not the one" in raised.value.why


def test_region_whose_secrets_are_damaged_is_absent(tell: Tell, home: LabDir) -> None:
    """`up` starts it anew; otherwise nobody could administer its Consul, and nothing would say so."""
    tell()
    (home.root / "consul-secrets.json").write_text("{")
    with pytest.raises(TargetAbsent) as raised:
        LocalTarget(Lab(name="blue")).environment()
    assert "missing or damaged" in raised.value.why


def test_environment_has_no_consul_before_it_exists(tell: Tell) -> None:
    tell(consul_http="", consul_dns="")
    assert "CONSUL_HTTP_ADDR" not in LocalTarget(Lab(name="blue")).environment()


@pytest.mark.parametrize(
    ("services", "url"),
    [
        ((("weather", None),), None),
        ((("weather", 8001), ("portal", 8002)), "http://127.0.0.1:8002/"),
        ((("weather", 8001), ("other", 8002)), "http://127.0.0.1:8001/"),
    ],
)
def test_portal_url(home: LabDir, services: tuple[tuple[str, int | None], ...], url: str | None) -> None:
    specs = tuple(ServiceSpec(name=name, path="/x", host_port=port) for name, port in services)
    assert LocalTarget(Lab(services=specs)).portal_url() == url
