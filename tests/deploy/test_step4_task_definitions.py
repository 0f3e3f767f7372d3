"""Task definitions: the lab's text, and the step on moto and on the local region."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from ecsconsul.aws_tags import FINGERPRINT_TAG, LAB_TAG, as_items, as_mapping
from ecsconsul.config.container_spec import Check, ContainerSpec
from ecsconsul.config.lab import Lab, ServiceSpec
from ecsconsul.config.loader import load
from ecsconsul.deploy.container_check import check_of_ports
from ecsconsul.deploy.step import decide, fingerprint
from ecsconsul.deploy.step3_images import ImageStep, images_of
from ecsconsul.deploy.step4_task_definitions import TaskDefinitionStep, matches, with_secrets
from ecsconsul.deploy.task_request import container_definition, registrator_metadata
from ecsconsul.targets.base import TaskSecrets
from tests.deploy.world import FakeTarget, RecordingReport

LAB = Lab(name="blue")


@pytest.fixture
def service(tmp_path: Path) -> ServiceSpec:
    return ServiceSpec(name="weather", path=str(tmp_path), tags=("http",), check=Check(http="/health"))


def step_of(service: ServiceSpec, target: FakeTarget, lab: Lab = LAB) -> TaskDefinitionStep:
    return TaskDefinitionStep(lab, service, ImageStep(service, target), target)


def op(step: TaskDefinitionStep) -> str:
    return decide(step.desired(), step.inspect())


# --- the lab's text, steps 8 to 10


def text_of(name: str, environment: dict[str, str], **port: int) -> dict[str, Any]:
    return {
        "name": name,
        "image": f"my_docker_hub_repo/{name}",
        "cpu": 100,
        "memory": 200,
        "essential": True,
        "portMappings": [{"containerPort": 4567, "protocol": "tcp", **port}],
        "environment": environment,
    }


def metadata_of(name: str) -> dict[str, str]:
    return {
        "SERVICE_4567_NAME": name,
        "SERVICE_4567_CHECK_HTTP": "/health",
        "SERVICE_4567_CHECK_INTERVAL": "10s",
        "SERVICE_TAGS": "http",
    }


@pytest.mark.parametrize("name", ["stock-price", "weather"])
def test_default_lab_matches_the_labs_text(name: str) -> None:
    spec = load(None).service(name)
    assert spec is not None
    found = container_definition(spec.all_containers[0], f"my_docker_hub_repo/{name}")
    environment = as_mapping(found["environment"], key="name")
    metadata = {key: value for key, value in environment.items() if key.startswith("SERVICE_")}
    # the text has no health check: what it says of health is Consul's check
    assert found.pop("healthCheck")["interval"] == 10
    assert {**found, "environment": metadata} == text_of(name, metadata_of(name))


def test_portal_has_a_fixed_host_port() -> None:
    spec = load(None).service("portal")
    assert spec is not None
    (mapping,) = container_definition(spec.all_containers[0], "portal")["portMappings"]
    assert mapping == {"containerPort": 4567, "protocol": "tcp", "hostPort": spec.host_port}


# --- Registrator's metadata


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        (None, {}),
        (Check(http="/up"), {"HTTP": "/up", "INTERVAL": "10s"}),
        (Check(http="/up", interval="2s", timeout="1s"), {"HTTP": "/up", "INTERVAL": "2s", "TIMEOUT": "1s"}),
        (Check(tcp=True, interval="3s"), {"TCP": "true", "INTERVAL": "3s"}),
        (Check(ttl="30s"), {"TTL": "30s"}),
    ],
)
def test_check_metadata(check: Check | None, expected: dict[str, str]) -> None:
    spec = ServiceSpec(name="weather", path="/w", port=80, check=check)
    assert registrator_metadata(spec.bindings) == {
        "SERVICE_80_NAME": "weather",
        **{f"SERVICE_80_CHECK_{key}": value for key, value in expected.items()},
    }


def test_comma_in_a_tag_is_escaped() -> None:
    spec = ServiceSpec(name="weather", path="/w", tags=("a,b", "c"))
    assert registrator_metadata(spec.bindings)["SERVICE_TAGS"] == r"a\,b,c"


def test_metadata_overrides_the_users_environment() -> None:
    spec = ServiceSpec(name="weather", path="/w", environment={"SERVICE_4567_NAME": "other", "PROVIDER": "demo"})
    environment = as_mapping(container_definition(spec.all_containers[0], "i")["environment"], key="name")
    assert environment == {"PROVIDER": "demo", "SERVICE_4567_NAME": "weather"}


@pytest.mark.parametrize(
    ("more", "told"), [({}, {"PORT": "5000"}), ({"environment": {"PORT": "5001"}}, {"PORT": "5001"})]
)
def test_other_port_is_set_as_PORT(more: dict[str, Any], told: dict[str, str]) -> None:
    spec = ServiceSpec(name="weather", path="/w", port=5000, **more)
    environment = as_mapping(container_definition(spec.all_containers[0], "i")["environment"], key="name")
    assert environment == {**told, "SERVICE_5000_NAME": "weather"}


# --- the container's own check


def test_check_is_made_in_the_container_too(target: FakeTarget, report: RecordingReport, service: ServiceSpec) -> None:
    without = replace(service, check=Check(http="/health", container=False))
    step_of(without, target).apply(None, report)
    step = step_of(service, target)
    assert op(step) == "update"
    step.apply(step.inspect(), report)
    assert op(step) == "keep"
    found = target.client("ecs").describe_task_definition(taskDefinition=step.newest())["taskDefinition"]
    assert found["containerDefinitions"][0]["healthCheck"] == check_of_ports(service.bindings)


def test_check_that_somebody_edited_is_an_update(
    target: FakeTarget, report: RecordingReport, service: ServiceSpec
) -> None:
    step = step_of(service, target)
    step.apply(None, report)
    definition = {**step.desired()}
    (container,) = definition["containerDefinitions"]
    health = {**container["healthCheck"], "retries": 9}
    definition["containerDefinitions"] = [{**container, "healthCheck": health}]
    tags = as_items({LAB_TAG: "blue", FINGERPRINT_TAG: fingerprint(step.desired())})
    target.client("ecs").register_task_definition(**definition, tags=tags)
    assert op(step) == "update"


# --- in both worlds


def test_absent_registered_kept_deleted(target: FakeTarget, report: RecordingReport, service: ServiceSpec) -> None:
    step = step_of(service, target)
    assert op(step) == "create"
    assert step.apply(None, report) == "blue-weather:1"
    assert op(step) == "keep"
    assert step.destroy(report) == "1 deleted"
    assert op(step) == "create"
    assert step.destroy(report) == "absent"


def test_tags_hold_lab_and_fingerprint(target: FakeTarget, report: RecordingReport, service: ServiceSpec) -> None:
    step = step_of(service, target)
    step.apply(None, report)
    found = target.client("ecs").describe_task_definition(taskDefinition="blue-weather", include=["TAGS"])
    assert as_mapping(found["tags"]) == {LAB_TAG: "blue", FINGERPRINT_TAG: fingerprint(step.desired())}


def test_newest_revision_counts(target: FakeTarget, report: RecordingReport, service: ServiceSpec) -> None:
    for memory in range(200, 212):
        step = step_of(replace(service, memory=memory), target)
        assert op(step) != "keep"
        step.apply(step.inspect(), report)
    arn = step.newest()
    assert arn is not None
    assert arn.endswith("/blue-weather:12")  # by number: as text, 9 would come after 12
    assert op(step) == "keep"
    assert step.destroy(report) == "12 deleted"


def test_foreign_revision_is_an_update(target: FakeTarget, report: RecordingReport, service: ServiceSpec) -> None:
    step = step_of(service, target)
    step.apply(None, report)
    target.client("ecs").register_task_definition(**{**step.desired(), "networkMode": "host"})
    assert op(step) == "update"
    step.apply(step.inspect(), report)
    assert op(step) == "keep"


def test_foreign_revisions_are_not_deleted(target: FakeTarget, report: RecordingReport, service: ServiceSpec) -> None:
    ecs = target.client("ecs")
    theirs = ecs.register_task_definition(**step_of(service, target).desired())["taskDefinition"]["taskDefinitionArn"]
    step = step_of(service, target)
    step.apply(step.inspect(), report)
    assert step.destroy(report) == "1 deleted"
    assert ecs.list_task_definitions(familyPrefix="blue-weather")["taskDefinitionArns"] == [theirs]


def test_family_prefix_is_not_a_match(target: FakeTarget, report: RecordingReport, service: ServiceSpec) -> None:
    longer = step_of(replace(service, name="weather-map"), target)
    longer.apply(None, report)
    step = step_of(service, target)
    assert step.newest() is None
    step.destroy(report)
    assert op(longer) == "keep"


def test_edited_source_changes_the_desired_state(target: FakeTarget, service: ServiceSpec) -> None:
    before = step_of(service, target).desired()
    Path(service.path, "app.py").write_text("print()")
    assert fingerprint(step_of(service, target).desired()) != fingerprint(before)
    assert target.requests == []


def test_deregistered_revisions_are_deleted(target: FakeTarget, report: RecordingReport, service: ServiceSpec) -> None:
    """Left by a `down` that was killed between deregistering and deleting."""
    step = step_of(service, target)
    step.apply(None, report)
    target.client("ecs").deregister_task_definition(taskDefinition=step.newest())
    assert step.destroy(report) == "1 deleted"
    for status in ("ACTIVE", "INACTIVE"):
        assert target.client("ecs").list_task_definitions(status=status)["taskDefinitionArns"] == []


def test_images_of_dropped_containers_are_deleted(
    target: FakeTarget, report: RecordingReport, service: ServiceSpec
) -> None:
    side, ready = ContainerSpec(name="side", path=service.path), ContainerSpec(name="ready", image="weather-ready:1")
    before = replace(service, containers=(side, ready))
    images = images_of(before, target)
    for image in images.values():
        if isinstance(image, ImageStep):
            image.apply(None, report)
    TaskDefinitionStep(LAB, before, images["weather"], target, images).apply(None, report)
    assert sorted(target.images.published) == ["weather", "weather-side"]
    step = step_of(service, target, replace(LAB, services=(service,)))
    assert step.destroy(report) == "1 deleted"
    assert sorted(target.images.published) == ["weather"], "which has a step of its own"


def test_labs_have_families_of_their_own(target: FakeTarget, report: RecordingReport, service: ServiceSpec) -> None:
    ours, theirs = step_of(service, target), step_of(service, target, Lab(name="green"))
    assert (ours.apply(None, report), theirs.apply(None, report)) == ("blue-weather:1", "green-weather:1")


def test_labs_share_a_family(target: FakeTarget, report: RecordingReport, service: ServiceSpec) -> None:
    """Lab blue's service green-weather, and lab blue-green's service weather."""
    ours = step_of(replace(service, name="green-weather"), target)
    theirs = step_of(service, target, Lab(name="blue-green"))
    assert ours.family == theirs.family
    ours.apply(None, report)
    theirs.apply(None, report)
    assert (op(ours), op(theirs)) == ("keep", "keep")
    assert str(ours.newest()).endswith("/blue-green-weather:1")
    assert theirs.destroy(report) == "1 deleted"
    assert op(ours) == "keep"


def test_longest_names_fit_the_limits_of_ecs() -> None:
    """255 letters, digits, hyphens and underscores: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RegisterTaskDefinition.html"""
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,255}", Lab(name="a" * 32).family("b-" * 15 + "99"))


def test_just_registered_revision_is_the_newest(
    target: FakeTarget, report: RecordingReport, service: ServiceSpec
) -> None:
    """Lists lag behind writes, and a service must not get the previous revision."""
    step = step_of(service, target)
    step.apply(None, report)
    target.requests.clear()
    assert str(step.newest()).endswith("/blue-weather:1")
    assert target.requests == []


# --- tokens


def test_task_with_a_token_gets_its_variables(
    target: FakeTarget, service: ServiceSpec, report: RecordingReport
) -> None:
    plain = step_of(service, target)
    plain.apply(None, report)
    agent = {"CONSUL_HTTP_ADDR": "https://172.17.0.1:8501", "CONSUL_HTTP_SSL_VERIFY": "false"}
    target.secrets["weather"] = TaskSecrets({"CONSUL_HTTP_TOKEN": "/ecsconsul/blue/tasks/weather"}, agent)
    target.role = "arn:aws:iam::123456789012:role/reader"
    step = step_of(service, target)
    assert op(step) == "update"
    step.apply(step.inspect(), report)
    assert op(step) == "keep"
    found = target.client("ecs").describe_task_definition(taskDefinition=step.newest())["taskDefinition"]
    (container,) = found["containerDefinitions"]
    assert as_mapping(container["secrets"], key="name", value="valueFrom") == {
        "CONSUL_HTTP_TOKEN": "/ecsconsul/blue/tasks/weather"
    }
    assert as_mapping(container["environment"], key="name").items() >= {*agent.items(), ("SERVICE_TAGS", "http")}
    assert found["executionRoleArn"] == target.role


def test_variables_of_the_config_win(service: ServiceSpec) -> None:
    own = replace(service, environment={"CONSUL_HTTP_TOKEN": "own", "A": "1"})
    container = container_definition(own.all_containers[0], "image")
    added = with_secrets(container, TaskSecrets({"CONSUL_HTTP_TOKEN": "/p"}, {"A": "2", "B": "3"}))
    assert as_mapping(added["environment"], key="name").items() >= {
        ("CONSUL_HTTP_TOKEN", "own"),
        ("A", "1"),
        ("B", "3"),
    }
    # ECS refuses a variable that is both
    assert "secrets" not in added


def test_role_that_an_emulator_describes_as_empty_is_none() -> None:
    container = {"name": "weather", "image": "weather:1"}
    desired = {"networkMode": "bridge", "containerDefinitions": [container]}
    assert matches({**desired, "executionRoleArn": ""}, desired)
    assert not matches({**desired, "executionRoleArn": "arn:aws:iam::123456789012:role/other"}, desired)
