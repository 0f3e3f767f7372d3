"""The ACLs of a real Consul server of the lab: who may do what."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from ecsconsul.consul.lab_secrets import AGENT, MANAGEMENT, MONITORING, REGISTRATOR, new_secrets, service_holder
from ecsconsul.region.consul_acl import ConsulAcl
from ecsconsul.region.runtimes.interface import CannotStart
from tests.region.fakes import ec2_instance
from tests.secure_consul import SecureConsul, is_refused, secure_consul

TIMEOUT = 60.0
Until = Callable[..., None]
SERVICE = {"Name": "weather", "ID": "one", "Port": 1}
CHECK = {"Name": "stolen", "Interval": "1s", "Method": "PUT", "HTTP": "http://169.254.169.254/latest/api/token"}


@pytest.fixture(scope="module")
def consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureConsul]:
    with secure_consul(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture(autouse=True)
def joined(consul: SecureConsul, until: Until) -> None:
    def is_member() -> bool:
        try:
            return consul.client.instance_id in consul.ask("GET", "catalog/nodes").text
        except requests.ConnectionError:
            return False

    until(is_member)
    assert consul.ask("PUT", "agent/service/register", REGISTRATOR, {"Name": "held"}).ok


@pytest.mark.parametrize(
    "path", ["catalog/services", "catalog/service/weather", "health/service/consul", "agent/members", "status/leader"]
)
def test_the_catalog_is_read_without_a_token(consul: SecureConsul, path: str) -> None:
    answer = consul.ask("GET", path)
    assert answer.ok, answer.text


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "agent/service/register", SERVICE),
        ("PUT", "agent/service/register", {**SERVICE, "Check": CHECK}),
        ("PUT", "agent/check/register", CHECK),
        ("PUT", "agent/service/deregister/held", None),
        ("PUT", "agent/leave", None),
        ("PUT", "agent/force-leave/i-1", None),
        ("PUT", "agent/maintenance?enable=true", None),
        ("PUT", "agent/token/agent", {"Token": ""}),
        ("PUT", "agent/reload", None),
        ("GET", "agent/self", None),
        ("GET", "agent/metrics", None),
        ("PUT", "catalog/register", {"Node": "x", "Address": "127.0.0.1", "Service": {"Service": "weather"}}),
        ("PUT", "kv/one", {"value": 1}),
        ("PUT", "event/fire/one", None),
        ("PUT", "session/create", {}),
        ("PUT", "txn", [{"KV": {"Verb": "set", "Key": "one", "Value": "MQ=="}}]),
        ("GET", "acl/tokens", None),
        ("PUT", "acl/bootstrap", None),
        ("GET", "operator/raft/configuration", None),
    ],
)
@pytest.mark.parametrize("token", ["", "guessed"])
def test_nothing_is_written_without_a_token(
    consul: SecureConsul, method: str, path: str, body: object, token: str
) -> None:
    answer = consul.ask(method, path, token, body)
    assert is_refused(answer), f"{answer.status_code} {answer.text}"


def test_a_snapshot_is_refused(consul: SecureConsul) -> None:
    """Asked of the server: an agent may see the server close the connection before it reads why."""
    assert is_refused(consul.ask_server("snapshot"))
    assert not consul.ask("GET", "snapshot").ok


def test_the_registrators_token_registers_services_and_nothing_else(consul: SecureConsul) -> None:
    assert consul.ask("PUT", "agent/service/register", REGISTRATOR, SERVICE).ok
    assert consul.ask("PUT", "agent/service/deregister/one", REGISTRATOR).ok
    assert consul.ask("GET", "agent/self", REGISTRATOR).ok
    for path in ("kv/one", "agent/leave", "agent/token/agent"):
        assert is_refused(consul.ask("PUT", path, REGISTRATOR, {"Token": ""})), path


def test_the_monitoring_token_reads_metrics_and_the_catalog_and_nothing_else(consul: SecureConsul) -> None:
    for path in ("agent/metrics?format=prometheus", "agent/self", "catalog/services", "health/service/consul"):
        assert consul.ask("GET", path, MONITORING).ok, path
    for path in ("acl/tokens", "operator/raft/configuration", "kv/one"):
        assert is_refused(consul.ask("GET", path, MONITORING)), path
    for path in ("agent/leave", "agent/service/register", "agent/reload"):
        assert is_refused(consul.ask("PUT", path, MONITORING, SERVICE)), path


def test_an_agents_token_registers_no_service(consul: SecureConsul) -> None:
    for method, path in (("PUT", "agent/service/register"), ("PUT", "kv/one"), ("GET", "acl/tokens")):
        assert is_refused(consul.ask(method, path, AGENT, SERVICE)), path


def test_a_task_reports_to_the_ttl_check_of_its_own_service_only(consul: SecureConsul) -> None:
    for name in ("weather", "stock-price"):
        service = {"Name": name, "ID": name, "Port": 1, "Check": {"TTL": "30s"}}
        assert consul.ask("PUT", "agent/service/register", REGISTRATOR, service).ok
    environment = {"SERVICE_80_NAME": "weather", "SERVICE_80_CHECK_TTL": "30s", "OTHER": "x"}
    variables = consul.acl.task_environment(environment, consul.client)
    assert variables == {
        "CONSUL_HTTP_ADDR": f"http://{consul.client.http}",
        "CONSUL_HTTP_TOKEN": consul.secrets.token(service_holder("weather")),
    }
    holder = service_holder("weather")
    assert consul.ask("PUT", "agent/check/pass/service:weather", holder).ok
    assert is_refused(consul.ask("PUT", "agent/check/pass/service:stock-price", holder))
    assert is_refused(consul.ask("PUT", "kv/one", holder, SERVICE))


def test_a_service_name_cannot_widen_its_token(consul: SecureConsul) -> None:
    name = 'x" { policy = "write" } service_prefix "'
    consul.acl.task_environment({"SERVICE_NAME": name, "SERVICE_CHECK_TTL": "30s"}, consul.client)
    other = consul.ask("PUT", "agent/service/register", service_holder(name), SERVICE)
    assert is_refused(other), other.text


@pytest.mark.parametrize("environment", [{}, {"SERVICE_NAME": "x", "SERVICE_CHECK_HTTP": "/"}, {"A_CHECK_TTL": "1s"}])
def test_tasks_without_a_ttl_check_get_no_token(consul: SecureConsul, environment: dict[str, str]) -> None:
    assert consul.acl.task_environment(environment, consul.client) == {}


def test_a_task_does_not_start_without_its_token(tmp_path: Path) -> None:
    acl = ConsulAcl(new_secrets("lab"))
    with pytest.raises(CannotStart, match="ResourceInitializationError: no Consul token for x"):
        acl.task_environment({"SERVICE_NAME": "x", "SERVICE_CHECK_TTL": "1s"}, ec2_instance(tmp_path))


def test_creating_the_acls_again_changes_nothing(consul: SecureConsul) -> None:
    def policies() -> set[str]:
        return {one["Name"] for one in consul.ask("GET", "acl/policies", MANAGEMENT).json()}

    before = policies()
    consul.acl.ready.clear()
    consul.acl.create(consul.server)
    assert consul.acl.ready.is_set()
    assert policies() == before


def test_what_is_on_disk_is_readable_by_its_user_only(consul: SecureConsul) -> None:
    for instance in (consul.server, consul.client):
        assert instance.folder.stat().st_mode & 0o077 == 0
        assert all(path.stat().st_mode & 0o077 == 0 for path in instance.folder.iterdir() if path.is_file())
