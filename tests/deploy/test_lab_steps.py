"""THE list of steps: their order, their needs, and the prerequisites."""

from __future__ import annotations

from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from msgspec.structs import replace

from ecsconsul.config.container_spec import PortSpec
from ecsconsul.config.lab import InstanceRange, Lab, ServiceSpec
from ecsconsul.deploy import executor
from ecsconsul.deploy.lab_steps import discovery_step, scaling_steps, steps_for
from ecsconsul.deploy.prerequisites import PrerequisitesStep
from ecsconsul.deploy.step import decide
from ecsconsul.errors import LabError
from tests.deploy.world import FakeTarget, RecordingReport


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    services = tuple(ServiceSpec(name=name, path=str(tmp_path)) for name in ("weather", "portal"))
    return Lab(name="blue", services=services)


def test_steps_follow_the_order_of_the_labs_text(lab: Lab) -> None:
    assert [step.name for step in steps_for(lab, FakeTarget(None))] == [
        "prerequisites",
        "cluster",
        "stack",
        "images/weather",
        "images/portal",
        "tasks/weather",
        "tasks/portal",
        "services/weather",
        "services/portal",
        "discovery",
    ]


def test_needs_come_first(lab: Lab) -> None:
    steps = steps_for(lab, FakeTarget(None))
    names = [step.name for step in steps]
    for number, step in enumerate(steps):
        assert set(step.needs) & {*names} <= {*names[:number]}, step.name
    TopologicalSorter({step.name: step.needs for step in steps}).prepare()


def needed_by(lab: Lab, name: str) -> set[str]:
    """Everything a step needs, directly or indirectly."""
    by_name = {step.name: step for step in steps_for(lab, FakeTarget(None))}
    direct = set(by_name[name].needs) & by_name.keys()
    return direct.union(*(needed_by(lab, need) for need in direct))


def test_all_steps_need_the_prerequisites_and_discovery_needs_all(lab: Lab) -> None:
    names = {step.name for step in steps_for(lab, FakeTarget(None))}
    assert needed_by(lab, "discovery") == names - {"discovery"}
    assert all("prerequisites" in needed_by(lab, name) for name in names - {"prerequisites"})


def test_images_are_built_while_the_stack_is_created(lab: Lab) -> None:
    assert "images/weather" not in needed_by(lab, "stack")
    assert needed_by(lab, "images/weather").isdisjoint({"stack", "cluster"})


def test_desired_state_needs_no_request(lab: Lab) -> None:
    target = FakeTarget("http://127.0.0.1:9")
    for step in steps_for(lab, target):
        step.desired()
    assert target.requests == []


def test_everything_is_created_in_an_absent_target(lab: Lab) -> None:
    assert {change.op for change in executor.plan(steps_for(lab, FakeTarget(None)))} == {"create"}


def test_growing_lab_has_its_provider_between_the_stack_and_the_services(lab: Lab) -> None:
    growing = replace(lab, instances=InstanceRange(min=1, max=3))
    names = [step.name for step in steps_for(growing, FakeTarget(None))]
    assert names[2:4] == ["stack", "capacity-provider"]
    assert needed_by(growing, "capacity-provider") == {"prerequisites", "cluster", "stack"}
    assert "capacity-provider" in needed_by(growing, "services/weather")


def test_scaling_steps_cover_the_scaled_services(lab: Lab) -> None:
    steps = scaling_steps(lab, {"portal": 3}, FakeTarget(None))
    assert [step.name for step in steps] == ["services/portal", "discovery"]
    assert steps[-1].desired() == {"passing": {"portal": 3}}


def test_without_waiting_nobody_asks_consul(lab: Lab) -> None:
    steps = steps_for(lab, FakeTarget(None), wait=False)
    assert [step.name for step in steps] == [step.name for step in steps_for(lab, FakeTarget(None))][:-1]
    scaled = scaling_steps(lab, {"portal": 3}, FakeTarget(None), wait=False)
    assert [step.name for step in scaled] == ["services/portal"]


# --- prerequisites


def test_prerequisites_are_the_targets(lab: Lab, report: RecordingReport) -> None:
    target = FakeTarget("http://127.0.0.1:9")
    step = PrerequisitesStep(target)
    assert decide(step.desired(), step.inspect()) == "keep"
    step.destroy(report)
    assert step.inspect() is None


def test_blockers_of_the_target_are_collected(lab: Lab) -> None:
    taken = LabError("port taken")
    assert executor.blockers(steps_for(lab, FakeTarget(None, blocking=[taken]))) == [taken]


def test_discovery_waits_for_every_name() -> None:
    ports = (PortSpec(port=53, protocol="udp"), PortSpec(port=80), PortSpec(port=81, register=False))
    dns = ServiceSpec(name="dns", path="/d", count=3, ports=ports)
    lab = Lab(services=(dns, ServiceSpec(name="silent", path="/s", ports=())))
    assert discovery_step(lab, FakeTarget(None)).desired() == {"passing": {"dns": 3, "dns-80": 3}}
