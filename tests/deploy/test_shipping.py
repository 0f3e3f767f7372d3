"""`deploy` and `rollback` on the local region: one service alone, and what fails is taken back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from ecsconsul.aws_tags import LAB_TAG, as_items
from ecsconsul.config.lab import Lab, ServiceSpec
from ecsconsul.deploy import executor
from ecsconsul.deploy.canary import CANARY_TAG
from ecsconsul.deploy.lab_steps import steps_for
from ecsconsul.deploy.orphans import orphaned_services
from ecsconsul.deploy.service_poller import ServicePoller
from ecsconsul.deploy.shipping import (
    Shipping,
    deploy_steps,
    find_rollback,
    history_document,
    rollback_steps,
    summary,
)
from ecsconsul.deploy.step import Step, decide
from ecsconsul.deploy.step1_cluster import ClusterStep
from ecsconsul.errors import LabError, StepFailed
from tests.deploy.world import FakeTarget, RecordingReport, Runtime, SilentObserver

QUICK = Shipping(wait=True)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    services = []
    for name in ("weather", "portal"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "Dockerfile").write_text("FROM scratch\n")
        services.append(ServiceSpec(name=name, path=str(tmp_path / name)))
    return Lab(name="blue", services=tuple(services))


@pytest.fixture
def target(world: Runtime, lab: Lab) -> FakeTarget:
    """A cluster that runs both services."""
    target = FakeTarget(world.endpoint("region"))
    ClusterStep(lab, target).apply(None, RecordingReport())
    world.add_instance(lab.name, cpu=100_000, memory=100_000)
    kinds = ("images/", "tasks/", "services/")
    run([step for step in steps_for(lab, target) if step.name.startswith(kinds)])
    return target


def run(steps: list[Step]) -> dict[str, str]:
    """Run the steps, without discovery: there is no Consul here. Returns what was done to each."""
    changes = executor.up([step for step in steps if step.name != "discovery"], SilentObserver())
    return {change.name: change.op for change in changes}


def deploy(lab: Lab, target: FakeTarget, shipping: Shipping = QUICK) -> dict[str, str]:
    return run(deploy_steps(lab, lab.services[0], shipping, target))


def rollback(lab: Lab, target: FakeTarget, to: int | None = None) -> dict[str, str]:
    revision, _ = find_rollback(lab, "weather", target, to)
    return run(rollback_steps(lab, lab.services[0], revision, target, QUICK))


def current(lab: Lab, target: FakeTarget) -> int:
    return int(summary(lab, "weather", target)["revision"])


def pending(lab: Lab, target: FakeTarget) -> list[str]:
    kinds = ("images/", "tasks/", "services/")
    steps = [step for step in steps_for(lab, target) if step.name.startswith(kinds)]
    return [step.name for step in steps if decide(step.desired(), step.inspect()) != "keep"]


def test_deploy_without_a_change_keeps_everything(lab: Lab, target: FakeTarget) -> None:
    assert set(deploy(lab, target).values()) == {"keep"}


def test_deploy_ships_one_service_and_leaves_the_others(lab: Lab, target: FakeTarget) -> None:
    for service in lab.services:
        Path(service.path, "new.txt").write_text("new")
    changed = deploy(lab, target)
    assert {name for name, op in changed.items() if op == "update"} == {
        "images/weather", "tasks/weather", "services/weather",
    }  # fmt: skip
    assert pending(lab, target) == ["images/portal", "tasks/portal", "services/portal"]


def test_variable_of_the_command_line_is_a_change_that_the_config_takes_back(lab: Lab, target: FakeTarget) -> None:
    deploy(lab, target, Shipping(environment=(("LEVEL", "debug"),)))
    assert current(lab, target) == 2
    assert pending(lab, target) == ["tasks/weather", "services/weather"]


def test_existing_image_needs_no_build(lab: Lab, target: FakeTarget) -> None:
    changed = deploy(lab, target, Shipping(image="registry.example/weather:other"))
    assert "images/weather" not in changed
    assert summary(lab, "weather", target)["image"] == "registry.example/weather:other"


def test_deploy_keeps_the_number_of_tasks_that_scale_has_set(lab: Lab, target: FakeTarget) -> None:
    target.client("ecs").update_service(cluster="blue", service="weather", desiredCount=3)
    deploy(lab, target, Shipping(environment=(("A", "1"),)))
    assert described(target)["desiredCount"] == 3


def test_deploy_of_a_service_that_does_not_run(lab: Lab, target: FakeTarget) -> None:
    new = replace(lab.services[0], name="new")
    with pytest.raises(LabError, match="The service new is not running"):
        deploy_steps(lab, new, QUICK, target)


def test_without_waiting(lab: Lab, target: FakeTarget, world: Runtime) -> None:
    world.start_seconds = 3600.0
    try:
        deploy(lab, target, Shipping(environment=(("A", "1"),), wait=False))
        assert described(target)["deployments"][0]["rolloutState"] == "IN_PROGRESS"
    finally:
        world.start_seconds = 0.0
    assert current(lab, target) == 2


def test_what_fails_is_taken_back(lab: Lab, target: FakeTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_revision(monkeypatch, 2)
    with pytest.raises(StepFailed) as failure:
        deploy(lab, target, Shipping(environment=(("A", "1"),)))
    assert failure.value.what == "The service weather does not start; revision 1 runs again"
    assert "boom" in failure.value.why and "now: revision 1 runs again, 1/1 running" in failure.value.why
    assert "`ecsconsul deploy weather`" in failure.value.hint
    assert current(lab, target) == 1
    newest = history_document(lab, "weather", target)["revisions"][0]
    assert (newest["revision"], newest["stable"], newest["current"]) == (2, None, False)


def test_nothing_is_taken_back_to_what_was_not_healthy(
    lab: Lab, target: FakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_revision(monkeypatch, 2)
    monkeypatch.setattr("ecsconsul.deploy.shipping.is_stable", lambda service: False)
    with pytest.raises(StepFailed, match="nothing was taken back"):
        deploy(lab, target, Shipping(environment=(("A", "1"),)))
    assert current(lab, target) == 2


def test_rollback_moves_the_service_with_one_request(lab: Lab, target: FakeTarget) -> None:
    deploy(lab, target, Shipping(environment=(("A", "1"),)))
    target.requests.clear()
    assert rollback(lab, target)["services/weather"] == "update"
    assert current(lab, target) == 1
    assert [name for name in target.writes() if name != "TagResource"] == ["UpdateService"]
    assert "services/weather" in pending(lab, target)


def test_each_rollback_goes_further_back(lab: Lab, target: FakeTarget) -> None:
    for value in ("1", "2"):
        deploy(lab, target, Shipping(environment=(("A", value),)))
    rollback(lab, target)
    assert current(lab, target) == 2
    rollback(lab, target)
    assert current(lab, target) == 1
    with pytest.raises(LabError, match="weather has nothing to go back to"):
        rollback(lab, target)
    rollback(lab, target, to=3)
    assert current(lab, target) == 3
    assert [one["rolled_back"] is None for one in history_document(lab, "weather", target)["revisions"]] == [
        True, False, True,
    ]  # fmt: skip


def test_rollback_to_the_running_revision_keeps_it(lab: Lab, target: FakeTarget) -> None:
    assert rollback(lab, target, to=1)["services/weather"] == "keep"


def test_rollback_to_an_unknown_revision(lab: Lab, target: FakeTarget) -> None:
    with pytest.raises(LabError, match="weather has no revision 7") as error:
        find_rollback(lab, "weather", target, 7)
    assert error.value.why == "it has 1"


def test_rollback_to_a_lost_image_changes_nothing(lab: Lab, target: FakeTarget) -> None:
    Path(lab.services[0].path, "new.txt").write_text("new")
    deploy(lab, target)
    target.images.published["weather"].pop(0)
    target.requests.clear()
    with pytest.raises(LabError, match="The image of revision 1 of weather no longer exists"):
        find_rollback(lab, "weather", target, None)
    assert target.writes() == []


def test_leftover_canary_is_removed_by_the_next_command(lab: Lab, target: FakeTarget) -> None:
    leave_canary(lab, target)
    (orphan,) = orphaned_services(lab, target)
    found = orphan.inspect()
    assert orphan.name == "canary/weather"
    assert found and found.detail == "1/1 running, the canary of a deployment that didn't end"
    assert deploy(lab, target)["canary/weather"] == "destroy"
    assert orphaned_services(lab, target) == []


def test_service_with_the_name_of_a_canary_is_left_alone(lab: Lab, target: FakeTarget) -> None:
    leave_canary(lab, target, {LAB_TAG: lab.name})
    assert deploy(lab, target)["canary/weather"] == "keep"
    assert [one.name for one in orphaned_services(lab, target)] == ["services/weather-canary"]


def leave_canary(lab: Lab, target: FakeTarget, tags: dict[str, str] | None = None) -> None:
    target.client("ecs").create_service(
        cluster=lab.name,
        serviceName="weather-canary",
        taskDefinition=lab.family("weather"),
        desiredCount=1,
        tags=as_items(tags or {LAB_TAG: lab.name, CANARY_TAG: "weather"}),
    )


def fail_revision(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let rollouts of a revision fail, as when its tasks exit: in this region every task starts."""
    from ecsconsul.deploy.rollout import Rollout

    really = Rollout.await_stable

    def await_stable(self: Rollout, *arguments: Any) -> str:
        if str(self._arn).endswith(f":{number}"):
            raise self._failure("does not start", "boom")
        return really(self, *arguments)

    monkeypatch.setattr(Rollout, "await_stable", await_stable)


def described(target: FakeTarget) -> dict[str, Any]:
    found: list[dict[str, Any]] = target.client("ecs").describe_services(cluster="blue", services=["weather"])[
        "services"
    ]
    return found[0]


def test_poller_has_the_timeout_of_the_command(lab: Lab, target: FakeTarget) -> None:
    polls = []
    poller = ServicePoller(target, lab.name, timeout=0.03)
    with pytest.raises(TimeoutError):
        poller.poll_until("weather", lambda service: polls.append(service), RecordingReport())
    assert 0 < len(polls) < target.polling.attempts
