"""docs/monitoring: Prometheus scrapes a real Consul with the shipped files, and all their expressions are evaluated."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from ecsconsul.consul.catalog import Consul
from ecsconsul.consul.dns import lookup
from ecsconsul.consul.lab_secrets import MONITORING, REGISTRATOR
from tests.prometheus import Discovery, Prometheus, discovery, prometheus, promtool, require_prometheus
from tests.secure_consul import HTTPS_PORT, AgentsWithHttps, SecureConsul, secure_consul

Until = Callable[..., None]
FOLDER = Path(__file__).parents[1] / "docs" / "monitoring"
CONFIGS = ("prometheus.yml", "prometheus-vpc.yml")
# what the configurations name, and what stands there in the tests
SERVER = {"prometheus.yml": "127.0.0.1:8500", "prometheus-vpc.yml": "consul.service.consul:8501"}
JOBS = ("consul", "consul-services")
# https://prometheus.io/docs/prometheus/latest/configuration/configuration/#consul_sd_config
DISCOVERY_KEYS = {"server", "scheme", "authorization", "tls_config", "services"}
# https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
GRID = 24
SERIES = re.compile(r"\bconsul_\w+")
# Series that Consul 1.8 doesn't have, or not yet: those of later versions, of several servers, and of failures.
NOT_HERE = {
    "consul_server_isLeader", "consul_raft_leader_lastContact",
    "consul_rpc_request_error", "consul_client_rpc_failed", "consul_client_rpc_exceeded",
}  # fmt: skip

DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
RULES = [rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"] for rule in group["rules"]]


@dataclass(frozen=True)
class Monitored:
    """A lab's Consul, and a Prometheus for each configuration."""

    consul: SecureConsul
    by_config: dict[str, Prometheus]

    @property
    def prometheus(self) -> Prometheus:
        return self.by_config["prometheus.yml"]


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory, until: Until) -> Iterator[Monitored]:
    require_prometheus()
    folder = tmp_path_factory.mktemp("monitoring")
    with ExitStack() as stack:
        consul = stack.enter_context(secure_consul(folder / "home", AgentsWithHttps))
        until(lambda: registered(consul))
        token = consul.secrets.token(MONITORING)
        client = Consul(consul.server.address, consul.server.consul.http)
        found = stack.enter_context(discovery(client, token))
        running = {}
        for name in CONFIGS:
            config = written(folder / name.partition(".")[0], name, consul, found)
            running[name] = stack.enter_context(prometheus(config, folder / f"data-{name}", until))
        for one in (consul.server, consul.client):
            lookup("weather.service.consul.", "SRV", one.address, one.consul.dns)
        for one_of in running.values():
            until(lambda each=one_of: has_scraped_twice(each))
        yield Monitored(consul, running)


def registered(consul: SecureConsul) -> bool:
    """Whether the agent has a service that passes and one that doesn't."""
    services = [{"Name": "weather", "ID": "w1"}, {"Name": "portal", "ID": "p1", "Check": {"TTL": "1h"}}]
    try:
        return all(consul.ask("PUT", "agent/service/register", REGISTRATOR, one).ok for one in services)
    except requests.RequestException:
        return False


def written(folder: Path, name: str, consul: SecureConsul, discovery: Discovery) -> Path:
    """The shipped configuration with this Consul's addresses, and faster, so that the tests needn't wait."""
    folder.mkdir()
    (folder / "alerts.yml").write_text((FOLDER / "alerts.yml").read_text())
    (folder / "consul-token").write_text(consul.secrets.token(MONITORING) + "\n")
    (folder / "consul-ca.pem").write_text(consul.secrets.ca_certificate)
    port = consul.server.consul.http if name == "prometheus.yml" else HTTPS_PORT
    text = (FOLDER / name).read_text().replace(SERVER[name], f"{consul.server.address}:{port}")
    config = yaml.safe_load(re.sub(r"_interval: \d+s", "_interval: 1s", text))
    for job in config["scrape_configs"]:
        job["http_sd_configs"] = [discovery.instead_of(one) for one in job.pop("consul_sd_configs")]
    path = folder / name
    path.write_text(yaml.safe_dump(config))
    checked = promtool("check", "config", name, folder=folder)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    return path


def has_scraped_twice(one: Prometheus) -> bool:
    counts = {
        found["metric"]["job"]: float(found["value"][1])
        for found in one.query("min by (job) (count_over_time(up[1h]))")
    }
    return set(counts) == set(JOBS) and min(counts.values()) >= 3


def jobs(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load((FOLDER / name).read_text())["scrape_configs"])


def expressions() -> list[str]:
    """Those of the dashboard, as Grafana sends them, and of the rules."""
    shown = [target["expr"].replace("$__rate_interval", "10s") for panel in PANELS for target in panel["targets"]]
    return [*shown, *(rule["expr"] for rule in RULES)]


# --- the files


@pytest.mark.parametrize("name", CONFIGS)
def test_discovery_has_documented_keys_and_the_jobs_own_credentials(name: str) -> None:
    for job in jobs(name):
        (found,) = job["consul_sd_configs"]
        assert found.keys() <= DISCOVERY_KEYS
        assert found["server"] == SERVER[name]
        for key in ("scheme", "authorization", "tls_config"):
            assert found.get(key) == job.get(key)


def test_token_is_only_in_a_file() -> None:
    assert all("token:" not in (FOLDER / name).read_text() for name in CONFIGS)


def test_dashboard_has_the_structure_that_grafana_imports() -> None:
    assert DASHBOARD["schemaVersion"] >= 36
    assert DASHBOARD["uid"] and DASHBOARD["title"]
    (variable,) = DASHBOARD["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == ("datasource", "datasource", "prometheus")
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in PANELS:
        source = {"type": "prometheus", "uid": "${datasource}"}
        assert panel["type"] in ("stat", "timeseries"), panel["title"]
        assert [panel["datasource"], *(target["datasource"] for target in panel["targets"])] == [source] * (
            len(panel["targets"]) + 1
        )
        references = [target["refId"] for target in panel["targets"]]
        assert references and len(set(references)) == len(references)
        assert panel["description"] and panel["fieldConfig"]["defaults"]["unit"]


def test_panels_of_the_dashboard_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= GRID
        assert not cells & taken, panel["title"]
        taken |= cells


def test_promtool_accepts_the_rules() -> None:
    require_prometheus()
    done = promtool("check", "rules", "alerts.yml", folder=FOLDER)
    assert done.returncode == 0 and f"{len(RULES)} rules found" in done.stdout, done.stdout + done.stderr


# --- scraped


@pytest.mark.parametrize("name", CONFIGS)
def test_every_target_is_scraped(monitored: Monitored, until: Callable[..., None], name: str) -> None:
    consul, one_of = monitored.consul, monitored.by_config[name]
    # with a scrape each second, whoever pauses for one is away until the next
    until(lambda: {one["health"] for one in one_of.targets()} == {"up"})
    found = one_of.targets()
    scheme, port = ("http", consul.server.consul.http) if name == "prometheus.yml" else ("https", HTTPS_PORT)
    agents = {one["labels"]["node"]: one["scrapeUrl"] for one in found if one["labels"]["job"] == "consul"}
    scraped = [consul.server, consul.client] if scheme == "http" else [consul.server]
    path = "/v1/agent/metrics?format=prometheus"
    assert agents == {one.instance_id: f"{scheme}://{one.address}:{port}{path}" for one in scraped}


@pytest.mark.parametrize("name", CONFIGS)
def test_health_of_each_service_is_a_label(monitored: Monitored, name: str) -> None:
    found = monitored.by_config[name].query('up{job="consul-services"}')
    services = {(one["metric"]["service"], one["metric"]["instance"], one["metric"]["health"]) for one in found}
    assert {("weather", "w1", "passing"), ("portal", "p1", "critical")} <= services
    assert monitored.by_config[name].query('{job="consul-services", __name__=~"consul_.*"}') == []


@pytest.mark.parametrize("expression", expressions())
def test_expression_returns_data(monitored: Monitored, until: Callable[..., None], expression: str) -> None:
    known = set(monitored.prometheus.get("label/__name__/values"))
    named = set(SERIES.findall(expression))
    missing = named - known
    assert missing <= NOT_HERE
    # an alert that nothing raises is no data, so what it compares is looked at
    compared = re.sub(r" [<>]=? [\d.]+$", "", expression)
    if not named or named - missing:
        until(lambda: monitored.prometheus.query(expression) or monitored.prometheus.query(compared))


def test_rules_are_evaluated_without_errors(monitored: Monitored, until: Callable[..., None]) -> None:
    (group,) = monitored.prometheus.get("rules")["groups"]
    assert {rule["name"]: rule["health"] for rule in group["rules"]} == {rule["alert"]: "ok" for rule in RULES}
    expected = {
        "ConsulNoLeader": "inactive",
        "ConsulAutopilotUnhealthy": "inactive",
        "ConsulAgentDown": "inactive",
        "ConsulServiceNotPassing": "pending",
    }
    until(lambda: states(monitored.prometheus) == expected)


def states(one: Prometheus) -> dict[str, str]:
    """The state of each rule."""
    return {rule["name"]: rule["state"] for group in one.get("rules")["groups"] for rule in group["rules"]}


# --- the alerts

HEALTHY = {'consul_autopilot_healthy{node="a"}': "1", 'consul_autopilot_healthy{node="b"}': "NaN"}
SITUATIONS = {
    "healthy": (HEALTHY, set()),
    "healthy, and the version says who leads": (
        {**HEALTHY, 'consul_server_isLeader{node="a"}': "1", 'consul_server_isLeader{node="b"}': "0"},
        set(),
    ),
    "nobody leads": ({'consul_autopilot_healthy{node="b"}': "NaN"}, {"ConsulNoLeader"}),
    "nobody leads any more, though autopilot's last word is still there": (
        {**HEALTHY, 'consul_server_isLeader{node="a"}': "0", 'consul_server_isLeader{node="b"}': "0"},
        {"ConsulNoLeader"},
    ),
    "no server answers": ({'up{job="consul", node="a"}': "0"}, {"ConsulNoLeader", "ConsulAgentDown"}),
    "a server is lost": ({**HEALTHY, 'consul_autopilot_healthy{node="a"}': "0"}, {"ConsulAutopilotUnhealthy"}),
    "a service fails": (
        {**HEALTHY, 'up{job="consul-services", service="weather", health="critical"}': "1"},
        {"ConsulServiceNotPassing"},
    ),
    "a service can't be scraped": (
        {**HEALTHY, 'up{job="consul-services", service="weather", health="passing"}': "0"},
        set(),
    ),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_alerts_fire_when_they_should(tmp_path: Path, situation: str) -> None:
    require_prometheus()
    series, expected = SITUATIONS[situation]
    text = (FOLDER / "alerts.yml").read_text()
    # what a rule says of its labels is not what is tested
    rules = [{**rule, "labels": {}, "annotations": {}} for rule in RULES]
    assert text.count("alert:") == len(rules)
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump({"groups": [{"name": "consul", "rules": rules}]}))
    test = {
        "interval": "15s",
        "input_series": [{"series": name, "values": " ".join([value] * 61)} for name, value in series.items()],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": "10m",
                "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(expected)],
            }
        ],
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump({"rule_files": ["alerts.yml"], "tests": [test]}))
    done = promtool("test", "rules", "test.yml", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
