"""Canaries: what Consul must say of their tasks, and what is joined with them."""

from __future__ import annotations

from ecsconsul.config.lab import Lab, ServiceSpec
from ecsconsul.consul.catalog import CheckState, Instance
from ecsconsul.deploy.canary import canary_endpoints, problems_of, with_canaries
from ecsconsul.deploy.endpoints import Endpoint

LAB = Lab(name="blue", services=(ServiceSpec(name="weather", path=""),))


def endpoint(task: str, service: str = "weather-canary", port: int = 32768) -> Endpoint:
    return Endpoint(task, service, "i-1", frozenset({port}))


def instance(status: str = "passing", port: int = 32768, node: str = "i-1") -> Instance:
    return Instance("id", node, "127.0.9.2", port, status, (), (CheckState("HTTP", status, "output\n"),))


def test_passing_canary_has_no_problems() -> None:
    assert problems_of([endpoint("aaaaaaaabb")], [instance(), instance("critical", port=1)]) == []


def test_canary_without_tasks_is_a_problem() -> None:
    assert problems_of([], [instance()]) == ["its task isn't in Consul"]


def test_canary_that_consul_does_not_list() -> None:
    for other in ([], [instance(port=1)], [instance(node="i-2")]):
        assert problems_of([endpoint("aaaaaaaabb")], other) == ["task aaaaaaaa isn't in Consul"]


def test_canary_that_fails_its_check() -> None:
    found = problems_of([endpoint("aaaaaaaabb"), endpoint("c", port=2)], [instance("warning"), instance(port=2)])
    assert found == ["task aaaaaaaa: HTTP: warning: output"]


def test_canary_counts_among_its_services_endpoints() -> None:
    old, new = endpoint("a", "weather"), endpoint("b")
    found = {"weather": [old], "weather-canary": [new]}
    assert with_canaries(found, LAB) == {"weather": [old, new]}


def test_service_with_the_name_of_a_canary_is_none() -> None:
    both = Lab(name="blue", services=(*LAB.services, ServiceSpec(name="weather-canary", path="")))
    assert canary_endpoints({"weather-canary": [endpoint("b")]}, both, "weather") == ()
