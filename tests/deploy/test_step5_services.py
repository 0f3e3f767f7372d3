"""The service steps on the local region: lifecycle, drift, ownership, and the number of requests."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from ecsconsul.aws_tags import FINGERPRINT_TAG, LAB_TAG
from ecsconsul.config.container_spec import ContainerSpec
from ecsconsul.config.lab import InstanceRange, Lab, ServiceSpec
from ecsconsul.deploy import executor
from ecsconsul.deploy.lab_steps import scaling_steps, steps_for
from ecsconsul.deploy.orphans import orphaned_services
from ecsconsul.deploy.service_poller import ServicePoller
from ecsconsul.deploy.step import Change, Step, decide
from ecsconsul.deploy.step1_cluster import ClusterStep
from ecsconsul.deploy.step3_images import ImageStep
from ecsconsul.deploy.step4_task_definitions import TaskDefinitionStep
from ecsconsul.deploy.step5_services import ScaleStep, ServiceStep
from ecsconsul.errors import LabError
from tests.deploy.world import FakeTarget, RecordingReport, Runtime, SilentObserver, client

WEATHER = ServiceSpec(name="weather", path="")


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(name="blue", services=(replace(WEATHER, path=str(tmp_path)),))


@pytest.fixture
def target(world: Runtime, lab: Lab) -> FakeTarget:
    """A cluster with room for the services."""
    target = FakeTarget(world.endpoint("region"))
    ClusterStep(lab, target).apply(None, RecordingReport())
    world.add_instance(lab.name, cpu=100_000, memory=100_000)
    return target


def steps_of(lab: Lab, target: FakeTarget) -> tuple[TaskDefinitionStep, ServiceStep]:
    (spec,) = lab.services
    task = TaskDefinitionStep(lab, spec, ImageStep(spec, target), target)
    return task, ServiceStep(lab, spec, task, target, ServicePoller(target, lab.name))


def make(lab: Lab, target: FakeTarget) -> ServiceStep:
    """The service, created by its steps."""
    executor.up(steps_of(lab, target), SilentObserver())
    return steps_of(lab, target)[1]


def op(step: Step) -> str:
    return decide(step.desired(), step.inspect())


def described(target: FakeTarget, name: str = "weather") -> dict[str, Any]:
    found = target.client("ecs").describe_services(cluster="blue", services=[name], include=["TAGS"])["services"]
    service: dict[str, Any] = found[0]
    return service


# --- its life


def test_absent_created_kept_deleted(target: FakeTarget, lab: Lab, report: RecordingReport) -> None:
    step = steps_of(lab, target)[1]
    assert op(step) == "create"
    made = make(lab, target)
    assert op(made) == "keep"
    assert made.inspect().detail == "1/1 running"  # type: ignore[union-attr]
    assert made.destroy(report) == "deleted"
    assert described(target)["status"] == "INACTIVE"
    assert op(made) == "create"
    assert made.destroy(report) == "absent"


def test_deleted_service_is_created_again(target: FakeTarget, lab: Lab, report: RecordingReport) -> None:
    make(lab, target).destroy(report)
    assert op(make(lab, target)) == "keep"


def test_missing_cluster_has_no_service(region: FakeTarget, lab: Lab, report: RecordingReport) -> None:
    step = steps_of(lab, region)[1]
    assert op(step) == "create"
    assert step.destroy(report) == "absent"


def test_second_up_writes_nothing(target: FakeTarget, lab: Lab) -> None:
    make(lab, target)
    target.requests.clear()
    make(lab, target)
    assert target.writes() == []


def test_changed_count_updates_only_that_service(target: FakeTarget, lab: Lab) -> None:
    make(lab, target)
    target.requests.clear()
    make(lab.with_counts({"weather": 3}), target)
    # the service's tags, and that its revision is stable
    assert target.writes() == ["UpdateService", "TagResource", "TagResource"]
    assert described(target)["runningCount"] == 3


def as_daemon(lab: Lab) -> Lab:
    return replace(lab, services=tuple(replace(one, schedule="daemon") for one in lab.services))


def test_daemon_has_no_count_and_no_placement(target: FakeTarget, lab: Lab) -> None:
    ranged = replace(as_daemon(lab), instances=InstanceRange(min=1, max=3))
    step = steps_of(ranged, target)[1]
    assert step.scheduling() == {"deploymentConfiguration": {"minimumHealthyPercent": 0, "maximumPercent": 100}}
    assert (step.kind()["schedulingStrategy"], step.capacity()) == ("DAEMON", [])


def test_service_that_becomes_a_daemon_is_created_again(target: FakeTarget, lab: Lab) -> None:
    make(lab, target)
    target.requests.clear()
    step = make(as_daemon(lab), target)
    # the tag says that its revision is stable
    assert target.writes() == ["DeleteService", "CreateService", "TagResource"]
    assert described(target)["schedulingStrategy"] == "DAEMON"
    assert op(step) == "keep"


def test_edited_source_is_deployed(target: FakeTarget, lab: Lab) -> None:
    make(lab, target)
    Path(lab.services[0].path, "app.py").write_text("print()")
    assert op(steps_of(lab, target)[1]) == "update"
    assert op(make(lab, target)) == "keep"
    assert described(target)["taskDefinition"].endswith("/blue-weather:2")


def test_count_of_zero(target: FakeTarget, lab: Lab) -> None:
    assert op(make(lab.with_counts({"weather": 0}), target)) == "keep"


# --- a load balancer

GROUP = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/blue/1"


class BalancingEcs:
    """The region's ECS, which knows no load balancers, with what ECS documents about them."""

    def __init__(self, ecs: Any) -> None:
        self._ecs = ecs
        self._joined: list[dict[str, Any]] = []
        self.sent: list[dict[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ecs, name)

    def create_service(self, **request: Any) -> Any:
        return self._ecs.create_service(**self._plain(request))

    def update_service(self, **request: Any) -> Any:
        return self._ecs.update_service(**self._plain(request))

    def _plain(self, request: dict[str, Any]) -> dict[str, Any]:
        names = ("loadBalancers", "healthCheckGracePeriodSeconds")
        self.sent.append({name: request.pop(name) for name in names if name in request})
        self._joined = self.sent[-1].get("loadBalancers", self._joined)
        return request

    def describe_services(self, **request: Any) -> Any:
        found = self._ecs.describe_services(**request)
        for service in found["services"]:
            service["loadBalancers"] = self._joined
        return found


@pytest.fixture
def ecs(target: FakeTarget) -> BalancingEcs:
    balancing = BalancingEcs(target.client("ecs"))
    target.clients["ecs"] = balancing
    return balancing


def behind(group: str) -> dict[str, Any]:
    joined = {"targetGroupArn": group, "containerName": "weather", "containerPort": 4567}
    return {"loadBalancers": [joined], "healthCheckGracePeriodSeconds": 60}


def balance(target: FakeTarget, group: str = GROUP) -> None:
    """As after the stack has made a target group."""
    target.target_groups, target.outputs = {"weather": "PortalTargetGroup"}, {"PortalTargetGroup": group}


def test_new_service_joins_its_target_group(target: FakeTarget, lab: Lab, ecs: BalancingEcs) -> None:
    balance(target)
    assert op(make(lab, target)) == "keep"
    assert ecs.sent == [behind(GROUP)]


def test_service_joins_and_leaves_a_target_group(target: FakeTarget, lab: Lab, ecs: BalancingEcs) -> None:
    make(lab, target)
    target.target_groups = {"weather": "PortalTargetGroup"}
    assert op(steps_of(lab, target)[1]) == "update", "before the stack has made it, too"
    balance(target)
    assert op(make(lab, target)) == "keep"
    balance(target, "another")
    assert op(make(lab, target)) == "keep"
    target.target_groups, target.outputs = {}, {}
    assert op(make(lab, target)) == "keep"
    assert ecs.sent == [{}, behind(GROUP), behind("another"), {"loadBalancers": []}]


def test_target_group_that_stays_is_not_sent_again(target: FakeTarget, lab: Lab, ecs: BalancingEcs) -> None:
    """Sending it would start a deployment, where only the count changes."""
    balance(target)
    make(lab, target)
    make(lab.with_counts({"weather": 3}), target)
    assert ecs.sent == [behind(GROUP), {}]


def test_service_that_somebody_took_out_of_its_target_group_is_put_back(
    target: FakeTarget, lab: Lab, ecs: BalancingEcs
) -> None:
    balance(target)
    make(lab, target)
    ecs.update_service(cluster="blue", service="weather", loadBalancers=[])
    assert op(steps_of(lab, target)[1]) == "update"


# --- drift


def test_foreign_scaling_is_reverted(target: FakeTarget, lab: Lab) -> None:
    step = make(lab, target)
    target.client("ecs").update_service(cluster="blue", service="weather", desiredCount=2)
    assert op(step) == "update"
    assert op(make(lab, target)) == "keep"
    assert described(target)["desiredCount"] == 1


def test_foreign_deployment_is_reverted(target: FakeTarget, lab: Lab) -> None:
    step = make(lab, target)
    container = {"name": "other", "image": "other", "memory": 4}
    target.client("ecs").register_task_definition(family="other", containerDefinitions=[container])
    target.client("ecs").update_service(cluster="blue", service="weather", taskDefinition="other")
    assert op(step) == "update"
    assert op(make(lab, target)) == "keep"
    assert described(target)["taskDefinition"].endswith("/blue-weather:1")


def test_restarted_service_is_kept(target: FakeTarget, lab: Lab) -> None:
    step = make(lab, target)
    target.client("ecs").update_service(cluster="blue", service="weather", forceNewDeployment=True)
    assert op(step) == "keep"


def test_failed_deployment_is_retried(world: Runtime, target: FakeTarget, lab: Lab) -> None:
    step = make(lab, target)
    with world.ecs.lock:
        service = world.ecs.service("blue", "weather")
        assert service
        service.primary.rollout_state = "FAILED"
        given_up = service.primary.id
    assert op(step) == "update"
    assert op(make(lab, target)) == "keep"
    assert described(target)["deployments"][0]["id"] != given_up
    assert described(target)["taskDefinition"].endswith("/blue-weather:1")


# --- who was faster, and who does not end


def test_concurrent_up_creates_it_first(target: FakeTarget, lab: Lab, report: RecordingReport) -> None:
    task, step = steps_of(lab, target)
    task.apply(None, report)

    def other(**_: Any) -> None:
        target.client("ecs").meta.events.unregister("before-call.ecs.CreateService", other)
        steps_of(lab, target)[1].apply(None, report)

    target.client("ecs").meta.events.register("before-call.ecs.CreateService", other)
    assert step.apply(None, report) == "1/1 running"
    assert op(step) == "keep"
    assert len(target.client("ecs").list_services(cluster="blue")["serviceArns"]) == 1


def test_concurrent_foreign_creation_is_refused(target: FakeTarget, lab: Lab, report: RecordingReport) -> None:
    task, step = steps_of(lab, target)
    task.apply(None, report)
    ecs = target.client("ecs")

    def other(**_: Any) -> None:
        ecs.meta.events.unregister("before-call.ecs.CreateService", other)
        ecs.create_service(cluster="blue", serviceName="weather", taskDefinition="blue-weather", desiredCount=0)

    ecs.meta.events.register("before-call.ecs.CreateService", other)
    with pytest.raises(LabError, match="this lab did not make it"):
        step.apply(None, report)


def test_tasks_of_a_dead_instance_do_not_block_the_stack(
    world: Runtime, target: FakeTarget, lab: Lab, report: RecordingReport
) -> None:
    """They end with their instance, which `down` deletes with the stack after the services."""
    made = make(lab, target)
    world.start_seconds = 1000.0
    try:
        assert made.destroy(report) == "still draining; its tasks end with their instances"
    finally:
        world.start_seconds = 0.0


# --- whose it is


@pytest.mark.parametrize("tags", [[], [{"key": LAB_TAG, "value": "green"}]])
def test_foreign_service_is_refused(
    target: FakeTarget, lab: Lab, report: RecordingReport, tags: list[dict[str, str]]
) -> None:
    task, step = steps_of(lab, target)
    task.apply(None, report)
    target.client("ecs").create_service(
        cluster="blue", serviceName="weather", taskDefinition="blue-weather", desiredCount=1, tags=tags
    )
    target.requests.clear()
    with pytest.raises(LabError, match="this lab did not make it"):
        step.inspect()
    with pytest.raises(LabError, match="this lab did not make it"):
        step.destroy(report)
    assert target.writes() == []


# --- scale


def test_scale_keeps_the_fingerprint(target: FakeTarget, lab: Lab, report: RecordingReport) -> None:
    make(lab, target)
    Path(lab.services[0].path, "app.py").write_text("print()")
    target.requests.clear()
    step = scaling_steps(lab, {"weather": 2}, target)[0]
    assert isinstance(step, ScaleStep)
    assert op(step) == "update"
    assert step.apply(step.inspect(), report) == "2/2 running"
    assert target.writes() == ["UpdateService"]
    assert op(steps_of(lab.with_counts({"weather": 2}), target)[1]) == "update"  # for the edit is not deployed


def test_without_waiting_a_service_is_only_requested(target: FakeTarget, lab: Lab, report: RecordingReport) -> None:
    make(lab, target)
    target.requests.clear()
    step = scaling_steps(lab, {"weather": 2}, target, wait=False)[0]
    assert "without waiting" in step.apply(step.inspect(), report)
    assert target.writes() == ["UpdateService"]
    target.requests.clear()
    Path(lab.services[0].path, "app.py").write_text("print()")
    named = {one.name: one for one in steps_for(lab, target, wait=False)}
    for name in ("tasks/weather", "services/weather"):
        detail = named[name].apply(named[name].inspect(), report)
    assert "without waiting" in detail
    assert "UpdateService" in target.writes()


def test_scaling_an_absent_service_has_a_hint(target: FakeTarget, lab: Lab) -> None:
    step = scaling_steps(lab, {"weather": 2}, target)[0]
    with pytest.raises(LabError) as raised:
        step.inspect()
    assert raised.value.what == "The service weather is not running"
    assert "ecsconsul up" in raised.value.hint


# --- what the config dropped


def test_orphan_is_deleted_with_its_definition_and_images(
    target: FakeTarget, lab: Lab, report: RecordingReport
) -> None:
    make(lab, target)
    target.images.publish("weather", "abc", Path(), {}, report.say)
    (removed,) = orphaned_services(replace(lab, services=()), target)
    assert (removed.name, op(removed)) == ("services/weather", "destroy")
    executor.up([removed], SilentObserver())
    assert described(target)["status"] == "INACTIVE"
    assert target.client("ecs").list_task_definitions(familyPrefix="blue-weather")["taskDefinitionArns"] == []
    assert target.images.published == {}
    assert op(removed) == "keep"
    assert orphaned_services(replace(lab, services=()), target) == []


def test_image_that_a_container_has_taken_over_stays(target: FakeTarget, lab: Lab, report: RecordingReport) -> None:
    """web-cache, which was a service, is now the container `cache` of web, and its image has the same name."""
    (service, *_) = lab.services
    old = replace(lab, services=(replace(service, name="web-cache"),))
    cache = ContainerSpec(name="cache", path=service.path)
    new = replace(lab, services=(replace(service, name="web", containers=(cache,)),))
    assert "web-cache" in new.image_names
    for config, kept in ((new, True), (replace(lab, services=()), False)):
        make(old, target)
        target.images.publish("web-cache", "abc", Path(), {}, report.say)
        executor.up(orphaned_services(config, target), SilentObserver())
        assert ("web-cache" in target.images.published) is kept


def test_configured_and_foreign_services_are_not_orphans(target: FakeTarget, lab: Lab, report: RecordingReport) -> None:
    make(lab, target)
    make(replace(lab, services=(replace(lab.services[0], name="stock-price"),)), target)
    target.client("ecs").create_service(
        cluster="blue", serviceName="theirs", taskDefinition="blue-weather", desiredCount=0
    )
    assert [step.name for step in orphaned_services(lab, target)] == ["services/stock-price"]


def test_missing_cluster_has_no_orphans(region: FakeTarget, lab: Lab) -> None:
    assert orphaned_services(lab, region) == []


def test_down_deletes_an_orphan_before_the_cluster(
    world: Runtime, target: FakeTarget, lab: Lab, report: RecordingReport
) -> None:
    """ECS doesn't delete a cluster with services, and draining takes time."""
    make(lab, target)
    empty = replace(lab, services=())
    (removed,) = orphaned_services(empty, target)
    beneath = [step for step in steps_for(empty, target) if step.name in ("cluster", "stack")]
    world.ecs.remove_instance("i-1")
    told: list[str] = []

    class Watch(SilentObserver):
        def started(self, step: str, op: str) -> None:
            told.append(f"{step} begins")

        def finished(self, change: Change) -> None:
            told.append(f"{change.name} ends")

    executor.down([*beneath, removed], Watch())
    assert told == [f"{name} {what}" for name in (removed.name, "stack", "cluster") for what in ("begins", "ends")]


# --- what it costs


def requests(target: FakeTarget, lab: Lab) -> dict[str, float]:
    """The requests of a plan of all task definitions and services, per service."""
    target.requests.clear()
    executor.plan([step for step in steps_for(lab, target) if step.name.startswith(("tasks/", "services/"))])
    return {name: count / len(lab.services) for name, count in target.counted().items()}


def test_requests_per_service_do_not_grow(world: Runtime, target: FakeTarget, tmp_path: Path) -> None:
    labs = [Lab(name="blue", services=tuple(few(n, tmp_path))) for n in (3, 50)]
    for lab in labs:
        steps = [step for step in steps_for(lab, target) if step.name.startswith(("tasks/", "services/"))]
        executor.up(steps, SilentObserver())
    few_cost, many_cost = (requests(target, lab) for lab in labs)
    assert few_cost.keys() == many_cost.keys()
    assert all(many_cost[name] <= few_cost[name] for name in few_cost)
    assert sum(many_cost.values()) < 2.5


def few(count: int, path: Path) -> list[ServiceSpec]:
    return [ServiceSpec(name=f"service-{number}", path=str(path)) for number in range(count)]


@pytest.mark.parametrize(
    ("host_port", "count", "instances", "least"),
    [
        (None, 3, 3, 100),
        (8080, 1, 2, 100),
        (8080, 0, 1, 100),
        (8080, 1, 1, 0),
        (8080, 2, 2, 50),
        (8080, 3, 3, 66),
        (8080, 7, 7, 85),
        (8080, 2, InstanceRange(min=1, max=3), 100),
        (8080, 3, InstanceRange(min=1, max=3), 66),
    ],
)
def test_fixed_port_on_every_instance_lowers_the_minimum(
    target: FakeTarget, lab: Lab, host_port: int | None, count: int, instances: int | InstanceRange, least: int
) -> None:
    spec = replace(lab.services[0], host_port=host_port, count=count)
    _, step = steps_of(replace(lab, services=(spec,), instances=instances), target)
    assert step.scheduling()["deploymentConfiguration"]["minimumHealthyPercent"] == least
    if least < 100:
        assert math.ceil(count * least / 100) == count - 1


def test_service_of_an_earlier_version_is_spread_without_new_tasks(target: FakeTarget, lab: Lab) -> None:
    make(lab, target)
    ecs, before = target.client("ecs"), described(target)
    old = [{"type": "spread", "field": "instanceId"}]
    ecs.update_service(cluster="blue", service="weather", placementStrategy=old)
    ecs.tag_resource(resourceArn=before["serviceArn"], tags=[{"key": FINGERPRINT_TAG, "value": "of-0.2"}])
    assert op(make(lab, target)) == "keep"
    after = described(target)
    assert [one["field"] for one in after["placementStrategy"]] == ["attribute:ecs.availability-zone", "instanceId"]
    assert after["deployments"][0]["id"] == before["deployments"][0]["id"]


def test_other_client_sees_the_service(world: Runtime, target: FakeTarget, lab: Lab) -> None:
    make(lab, target)
    ecs = client("ecs", world.endpoint("region"))
    (arn,) = ecs.list_services(cluster="blue")["serviceArns"]
    (service,) = ecs.describe_services(cluster="blue", services=[arn])["services"]
    assert (service["launchType"], service["placementStrategy"]) == (
        "EC2",
        [{"type": "spread", "field": "attribute:ecs.availability-zone"}, {"type": "spread", "field": "instanceId"}],
    )
    assert (
        service["deploymentConfiguration"].items()
        >= {
            "minimumHealthyPercent": 100,
            "maximumPercent": 200,
            "deploymentCircuitBreaker": {"enable": True, "rollback": True},
        }.items()
    )
