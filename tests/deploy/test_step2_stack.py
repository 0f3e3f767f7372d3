"""The stack step, on moto, on the local region, and on a fake CloudFormation that fails."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from ecsconsul.aws_tags import FINGERPRINT_TAG, LAB_TAG, as_items, as_mapping
from ecsconsul.config.aws_settings import AlarmsSpec, AwsSpec, LoadBalancerSpec, LogsSpec
from ecsconsul.config.container_spec import Check
from ecsconsul.config.lab import ConsulSpec, Lab, ServiceSpec
from ecsconsul.deploy.executor import plan
from ecsconsul.deploy.stack_parameters import portal_parameters
from ecsconsul.deploy.step import PropertyChange, SubResource, decide, fingerprint, tags_for
from ecsconsul.deploy.step2_stack import StackStep
from ecsconsul.deploy.template import resource_types, stack_template
from ecsconsul.errors import LabError, StepFailed
from ecsconsul.targets.client_errors import is_throttled
from tests.deploy.cloudformation import (
    CREATED,
    DELETED,
    GROUP,
    STACK,
    UPDATED,
    CloudFormation,
    Scene,
    happened,
    not_created,
    refusal,
)
from tests.deploy.network import Network
from tests.deploy.world import FakeTarget, RecordingReport

LAB = Lab(name="blue", services=(ServiceSpec(name="portal", path="/portal", host_port=8123),))
OTHER = replace(LAB, instances=5)


def op(step: StackStep) -> str:
    return decide(step.desired(), step.inspect())


def parameters(target: FakeTarget) -> dict[str, str]:
    (stack,) = target.client("cloudformation").describe_stacks(StackName="blue")["Stacks"]
    return as_mapping(stack["Parameters"], key="ParameterKey", value="ParameterValue")


# --- in both worlds


def test_absent_created_kept_deleted(target: FakeTarget, report: RecordingReport) -> None:
    step = StackStep(LAB, target)
    assert op(step) == "create"
    assert step.apply(None, report) == "CREATE_COMPLETE"
    assert op(step) == "keep"
    assert step.destroy(report) == "deleted"
    assert op(step) == "create"
    assert step.destroy(report) == "absent"


def test_tags_hold_lab_and_fingerprint(target: FakeTarget, report: RecordingReport) -> None:
    step = StackStep(LAB, target)
    step.apply(None, report)
    (stack,) = target.client("cloudformation").describe_stacks(StackName="blue")["Stacks"]
    tags = as_mapping(stack["Tags"], key="Key", value="Value")
    assert tags == {LAB_TAG: "blue", FINGERPRINT_TAG: fingerprint(step.desired())}


def test_parameters_come_from_lab_and_target(region: FakeTarget, report: RecordingReport) -> None:
    lab = replace(LAB, instances=3, consul=ConsulSpec(servers=5))
    StackStep(lab, region).apply(None, report)
    given = parameters(region)
    assert given.items() >= {
        "LabName": "blue", "EcsClusterName": "blue", "InstanceCount": "3", "ConsulServers": "5", "PublicPort": "8123",
    }.items()  # fmt: skip
    ours = region.stack_parameters()
    assert given["VpcId"] == ours["VpcId"]
    assert ours["SubnetIds"].split(",")[0] in given["SubnetIds"]


def test_image_is_pinned_when_the_stack_is_changed_and_not_in_its_fingerprint(
    target: FakeTarget, report: RecordingReport
) -> None:
    """A plan must not ask a registry, and an answer that changes must not change the plan."""
    target.digest = "@sha256:12ab"
    step = StackStep(LAB, target)
    assert op(step) == "create"
    assert target.pinned == []
    step.apply(None, report)
    assert parameters(target)["ConsulImage"] == f"{LAB.consul_image}@sha256:12ab"
    target.digest = "@sha256:34cd"
    assert op(StackStep(LAB, target)) == "keep"
    assert target.pinned == [LAB.consul_image]
    newer = StackStep(replace(LAB, consul=ConsulSpec(version="1.16.6")), target)
    assert op(newer) == "update"
    newer.apply(newer.inspect(), report)
    assert parameters(target)["ConsulImage"] == "hashicorp/consul:1.16.6@sha256:34cd"


def test_preview_says_what_an_update_does(region: FakeTarget, report: RecordingReport) -> None:
    StackStep(LAB, region).apply(None, report)
    region.requests.clear()
    (change,) = plan([StackStep(OTHER, region)])
    assert (change.op, change.untold) == ("update", "")
    assert [(one.resource, one.action, one.instances) for one in change.inside] == [("EcsInstances", "modify", 0)]
    assert change.inside[0].properties[0] == PropertyChange("DesiredCapacity", "2", "5")
    assert region.writes() == []
    assert region.counted()["GetTemplate"] == 1
    # nothing is compared when nothing is to be updated
    region.requests.clear()
    (change,) = plan([StackStep(LAB, region)])
    assert (change.op, change.inside, region.requests) == ("keep", (), ["DescribeStacks"])


def test_preview_counts_the_instances_that_are_replaced(region: FakeTarget, report: RecordingReport) -> None:
    StackStep(replace(LAB, consul=ConsulSpec(servers=3)), region).apply(None, report)
    newer = replace(LAB, consul=ConsulSpec(servers=3, version="1.16.6"))
    (change,) = plan([StackStep(newer, region)])
    rolls = [(one.resource, one.instances, one.batch) for one in change.inside if one.action == "roll"]
    assert rolls == [("ConsulServer", 1, 1), ("ConsulPeers", 2, 1), ("EcsInstances", 2, 1)]
    # the registry isn't asked for a plan
    assert region.pinned == [LAB.consul_image]


def test_pinned_image_is_no_change(region: FakeTarget, report: RecordingReport) -> None:
    region.digest = "@sha256:12ab"
    StackStep(LAB, region).apply(None, report)
    (change,) = plan([StackStep(OTHER, region)])
    assert [one.resource for one in change.inside] == ["EcsInstances"]


def test_what_the_command_renews_is_an_update(region: FakeTarget, report: RecordingReport) -> None:
    StackStep(LAB, region).apply(None, report)
    region.renewed = {name: parameters(region)[name] for name in ("InstanceAmi", "ServerAmi")}
    assert op(StackStep(LAB, region)) == "keep"
    region.renewed["InstanceAmi"] = "ami-0123456789abcdef1"
    assert op(StackStep(LAB, region)) == "update"


def test_portal_port_is_opened(region: FakeTarget, report: RecordingReport) -> None:
    other = ServiceSpec(name="admin", path="/admin", host_port=8081)
    StackStep(replace(LAB, services=(other, *LAB.services)), region).apply(None, report)
    assert parameters(region)["PublicPort"] == "8123"


def test_without_a_portal_no_port_is_opened(region: FakeTarget, report: RecordingReport) -> None:
    StackStep(replace(LAB, services=(ServiceSpec(name="weather", path="/weather"),)), region).apply(None, report)
    assert parameters(region)["PublicPort"] == "0"


CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/1"


@pytest.mark.parametrize(
    ("check", "asked"),
    [
        (Check(http="/health"), {"HealthCheckPath": "/health", "HealthCheckCodes": "200-299"}),
        (Check(tcp=True), {}),
        (None, {}),
    ],
)
def test_load_balancer_asks_what_consul_asks(check: Check | None, asked: dict[str, str]) -> None:
    spec = LoadBalancerSpec(certificate=CERTIFICATE, internal=True, subnets=("subnet-1", "subnet-2"))
    portal = replace(LAB.services[0], check=check)
    lab = replace(LAB, services=(portal,), aws=replace(LAB.aws, load_balancer=spec))
    assert portal_parameters(lab) == {
        "PublicPort": "8123",
        "PortalPort": "8123",
        "CertificateArn": CERTIFICATE,
        "LoadBalancerScheme": "internal",
        "LoadBalancerSubnetIds": "subnet-1,subnet-2",
        **asked,
    }


def test_load_balancer_changes_nothing_for_a_target_without_its_part(
    target: FakeTarget, report: RecordingReport
) -> None:
    """A lab on this machine ignores it; the template would refuse a parameter that it doesn't have."""
    balanced = replace(LAB, aws=replace(LAB.aws, load_balancer=LoadBalancerSpec(certificate=CERTIFICATE)))
    StackStep(LAB, target).apply(None, report)
    assert op(StackStep(balanced, target)) == "keep"
    target.template_parts = ("load-balancer",)
    assert op(StackStep(balanced, target)) == "update"
    internal = LoadBalancerSpec(certificate=CERTIFICATE, internal=True)
    changed = StackStep(replace(balanced, aws=replace(LAB.aws, load_balancer=internal)), target)
    assert changed.fingerprint != StackStep(balanced, target).fingerprint


def test_docker_bridge_is_a_parameter(target: FakeTarget, report: RecordingReport) -> None:
    StackStep(LAB, target).apply(None, report)
    assert parameters(target)["DockerBridge"] == "172.17.0.1/16"
    moved = StackStep(replace(LAB, aws=replace(LAB.aws, docker_bridge="10.255.255.1/24")), target)
    assert op(moved) == "update"


@pytest.mark.parametrize("partition", ["aws", "aws-cn"])
def test_permissions_boundary_limits_the_roles(target: FakeTarget, report: RecordingReport, partition: str) -> None:
    """Also of a lab on this machine, whose account has no such policy."""
    boundary = f"arn:{partition}:iam::123456789012:policy/ecsconsul/blue-boundary"
    limited = replace(LAB, aws=replace(LAB.aws, permissions_boundary=boundary))
    StackStep(LAB, target).apply(None, report)
    assert op(StackStep(limited, target)) == "update"
    StackStep(LAB, target).destroy(report)
    StackStep(limited, target).apply(None, report)
    assert parameters(target)["PermissionsBoundary"] == boundary
    roles = [one["RoleName"] for one in target.client("iam").list_roles()["Roles"]]
    found = {
        target.client("iam").get_role(RoleName=name)["Role"]["PermissionsBoundary"]["PermissionsBoundaryArn"]
        for name in roles
    }
    assert (len(roles), found) == (3, {boundary})


def test_alarms_and_logs_of_the_config_are_parameters() -> None:
    topic, key = "arn:aws:sns:eu-central-1:123456789012:on-call", "arn:aws:kms:eu-central-1:123456789012:key/1"
    aws = replace(LAB.aws, alarms=AlarmsSpec(topic=topic), logs=LogsSpec(retention_days=30, kms_key=key))
    logs = {"LogRetentionDays": "30", "LogKmsKey": key}
    for parts, expected in (((), logs), (("alarms",), {**logs, "AlarmTopic": topic})):
        found = StackStep(replace(LAB, aws=aws), FakeTarget(None, template_parts=parts)).desired()["parameters"]
        assert {name: text for name, text in found.items() if name.startswith(("Log", "Alarm"))} == expected
    unset = StackStep(LAB, FakeTarget(None, template_parts=("alarms",))).desired()["parameters"]
    assert unset["LogRetentionDays"] == "7" and not {"LogKmsKey", "AlarmTopic"} & unset.keys()


def test_request_names_the_types_that_policies_limit(region: FakeTarget, report: RecordingReport) -> None:
    sent: list[dict[str, object]] = []
    region.client("cloudformation").meta.events.register(
        "provide-client-params.cloudformation.*", lambda params, **_: sent.append(params)
    )
    StackStep(LAB, region).apply(None, report)
    step = StackStep(OTHER, region)
    step.apply(step.inspect(), report)
    types = [params["ResourceTypes"] for params in sent if "TemplateBody" in params]
    assert types == [resource_types(stack_template())] * 2


def test_changed_instance_count_updates_the_group(target: FakeTarget, report: RecordingReport) -> None:
    StackStep(LAB, target).apply(None, report)
    wider = StackStep(replace(LAB, instances=4), target)
    assert op(wider) == "update"
    assert wider.apply(wider.inspect(), report) == "UPDATE_COMPLETE"
    assert op(wider) == "keep"
    groups = target.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
    assert max(len(group["Instances"]) for group in groups) == 4


@pytest.mark.parametrize("tags", [[], [{"Key": LAB_TAG, "Value": "green"}]])
def test_foreign_stack_is_refused(target: FakeTarget, report: RecordingReport, tags: list[dict[str, str]]) -> None:
    template = '{"Resources": {"Topic": {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": {}}}}}'
    target.client("cloudformation").create_stack(StackName="blue", TemplateBody=template, Tags=tags)
    target.requests.clear()
    step = StackStep(LAB, target)
    with pytest.raises(LabError, match="this lab did not make it"):
        step.inspect()
    with pytest.raises(LabError, match="this lab did not make it"):
        step.destroy(report)
    assert target.writes() == []


# --- CloudFormation as it is in an account


class Account(FakeTarget):
    """A target with a CloudFormation of one stack, and the boot logs of its instances."""

    def __init__(self) -> None:
        self.cloudformation = CloudFormation()
        super().__init__(None, clients={"cloudformation": self.cloudformation, "ec2": Network()})
        self.boot_logs: dict[str, list[str]] = {}

    def boot_log(self, instance_id: str, lines: int) -> list[str]:
        return self.boot_logs.get(instance_id, [])[-lines:]

    def has(self, status: str, made_of: Lab = LAB) -> None:
        """The stack exists, in this status."""
        self.cloudformation.status = status
        tags = tags_for("blue", StackStep(made_of, self).desired())
        self.cloudformation.tags = as_items(tags, key="Key", value="Value")


@pytest.fixture
def aws() -> Account:
    return Account()


@pytest.fixture
def step(aws: Account) -> StackStep:
    return StackStep(LAB, aws)


def writes(aws: Account) -> list[str]:
    return [f"{name} {count}" for name, count in aws.cloudformation.requests.items() if not name.startswith("describe")]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("CREATE_COMPLETE", "keep"),
        ("UPDATE_COMPLETE", "keep"),
        ("CREATE_IN_PROGRESS", "wait"),
        ("UPDATE_IN_PROGRESS", "wait"),
        ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "wait"),
        ("ROLLBACK_COMPLETE", "update"),
        ("ROLLBACK_IN_PROGRESS", "update"),
        ("UPDATE_ROLLBACK_COMPLETE", "update"),
        ("UPDATE_ROLLBACK_FAILED", "update"),
        ("REVIEW_IN_PROGRESS", "update"),
        ("CREATE_FAILED", "update"),
        ("DELETE_FAILED", "update"),
    ],
)
def test_op_for_each_status(aws: Account, step: StackStep, status: str, expected: str) -> None:
    aws.has(status)
    assert op(step) == expected


def test_unreadable_template_is_no_reason_for_a_plan_to_fail(aws: Account) -> None:
    aws.has("CREATE_COMPLETE", OTHER)
    aws.cloudformation.template = "Resources: &a [*a]"
    (change,) = plan([StackStep(LAB, aws)])
    assert (change.op, change.inside) == ("update", ())
    assert change.untold.startswith("The stack's template can't be read")
    assert change.detail.startswith("CREATE_COMPLETE; what changes can't be told: ")
    aws.cloudformation.refusing = ["get_template"]
    (change,) = plan([StackStep(LAB, aws)])
    assert "Rate exceeded" in change.untold


def test_stack_that_is_made_again_has_no_preview(aws: Account) -> None:
    aws.has("ROLLBACK_COMPLETE")
    (change,) = plan([StackStep(LAB, aws)])
    assert (change.op, change.inside, change.untold) == ("update", (), "")


def test_events_are_reported_oldest_first(aws: Account, step: StackStep, report: RecordingReport) -> None:
    assert step.apply(None, report) == "CREATE_COMPLETE"
    assert report.subresources == [
        SubResource("Server", "runs", "CREATE_IN_PROGRESS AWS::EC2::Instance"),
        SubResource("Server", "done", "CREATE_COMPLETE AWS::EC2::Instance"),
    ]


def test_immediately_complete_stack_reports_no_events(aws: Account, step: StackStep, report: RecordingReport) -> None:
    aws.cloudformation.plays["create_stack"] = [CREATED[-1:]]
    assert step.apply(None, report) == "CREATE_COMPLETE"
    assert (report.subresources, aws.cloudformation.requests["describe_stack_events"]) == ([], 0)


def test_known_events_are_not_read_again(aws: Account, step: StackStep, report: RecordingReport) -> None:
    """However many events there are, polling them takes one request."""
    many = [Scene("CREATE_IN_PROGRESS", (happened(f"R{n}", "CREATE_COMPLETE"),) * 30) for n in range(10)]
    aws.cloudformation.plays["create_stack"] = [(CREATED[0], *many, CREATED[-1])]
    step.apply(None, report)
    asked = aws.cloudformation.requests
    assert asked["describe_stack_events"] < asked["describe_stacks"]
    assert [part.name for part in report.subresources] == [f"R{n}" for n in range(10)]


@pytest.mark.parametrize("status", ["ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "REVIEW_IN_PROGRESS"])
def test_dead_stack_is_replaced(aws: Account, step: StackStep, report: RecordingReport, status: str) -> None:
    aws.has(status)
    assert step.apply(step.inspect(), report) == "CREATE_COMPLETE"
    assert writes(aws) == ["delete_stack 1", "create_stack 1"]
    assert report.texts[0] == f"deleting the stack, which is in {status}"


@pytest.mark.parametrize(
    ("status", "then", "expected"),
    [
        # an `up` that was killed had begun it: it can neither be waited for nor updated
        ("ROLLBACK_IN_PROGRESS", (Scene("ROLLBACK_COMPLETE"),), ["delete_stack 1", "create_stack 1"]),
        ("DELETE_IN_PROGRESS", DELETED[1:], ["create_stack 1"]),
        ("CREATE_IN_PROGRESS", CREATED[1:], []),
        ("UPDATE_IN_PROGRESS", UPDATED[1:], []),
        ("UPDATE_ROLLBACK_IN_PROGRESS", (Scene("UPDATE_ROLLBACK_COMPLETE"),), ["update_stack 1"]),
    ],
)
def test_operation_in_progress_is_awaited(
    aws: Account, step: StackStep, report: RecordingReport, status: str, then: tuple[Scene, ...], expected: list[str]
) -> None:
    aws.cloudformation.plays["of another"] = [(Scene(status), *then)]
    aws.cloudformation.begin("of another", ())
    made_of = OTHER if "ROLLBACK" in status else LAB
    aws.has(status, made_of)
    assert step.apply(step.inspect(), report) in ("CREATE_COMPLETE", "UPDATE_COMPLETE")
    assert writes(aws) == expected


def test_update_in_progress_ends_first(aws: Account, step: StackStep, report: RecordingReport) -> None:
    aws.cloudformation.begin("update_stack", UPDATED)
    aws.has("UPDATE_IN_PROGRESS", OTHER)
    assert step.apply(step.inspect(), report) == "UPDATE_COMPLETE"
    assert writes(aws) == ["update_stack 1"]
    assert op(step) == "keep"


def test_concurrent_update_is_awaited(aws: Account, step: StackStep, report: RecordingReport) -> None:
    aws.has("CREATE_COMPLETE", OTHER)
    aws.cloudformation.before["update_stack"] = lambda: aws.cloudformation.begin("update_stack", UPDATED)
    assert step.apply(step.inspect(), report) == "UPDATE_COMPLETE"
    assert writes(aws) == ["update_stack 2"]


def test_concurrent_up_creates_it_first(aws: Account, step: StackStep, report: RecordingReport) -> None:
    def other() -> None:
        aws.has("CREATE_IN_PROGRESS")
        aws.cloudformation.begin("create_stack", CREATED)

    aws.cloudformation.before["create_stack"] = other
    assert step.apply(None, report) == "CREATE_COMPLETE"
    assert writes(aws) == ["create_stack 1"]


def test_concurrent_foreign_creation_is_refused(aws: Account, step: StackStep, report: RecordingReport) -> None:
    def other() -> None:
        aws.cloudformation.tags = []
        aws.cloudformation.begin("create_stack", CREATED)

    aws.cloudformation.before["create_stack"] = other
    with pytest.raises(LabError, match="this lab did not make it"):
        step.apply(None, report)


def test_rolled_back_update_is_retried(aws: Account, step: StackStep, report: RecordingReport) -> None:
    """It is a healthy stack of an older version."""
    aws.has("UPDATE_ROLLBACK_COMPLETE", OTHER)
    assert step.apply(step.inspect(), report) == "UPDATE_COMPLETE"


def test_rolled_back_update_without_changes_is_kept(aws: Account, step: StackStep, report: RecordingReport) -> None:
    """CloudFormation has no updates to perform, and the stack is as before the update: as desired."""
    aws.has("UPDATE_ROLLBACK_COMPLETE")
    assert step.apply(step.inspect(), report) == "UPDATE_ROLLBACK_COMPLETE"


def test_stuck_rollback_is_continued(aws: Account, step: StackStep, report: RecordingReport) -> None:
    aws.has("UPDATE_ROLLBACK_FAILED", OTHER)
    assert step.apply(step.inspect(), report) == "UPDATE_COMPLETE"
    assert writes(aws) == ["continue_update_rollback 1", "update_stack 1"]


def test_stuck_rollback_names_the_resource(aws: Account, step: StackStep, report: RecordingReport) -> None:
    aws.has("UPDATE_ROLLBACK_FAILED", OTHER)
    fails = happened("Group", "UPDATE_FAILED", "Group did not stabilize", GROUP)
    aws.cloudformation.plays["continue_update_rollback"] = [
        (Scene("UPDATE_ROLLBACK_IN_PROGRESS"), Scene("UPDATE_ROLLBACK_FAILED", (fails,)))
    ]
    with pytest.raises(StepFailed) as raised:
        step.apply(step.inspect(), report)
    assert raised.value.what == "The stack stays in UPDATE_ROLLBACK_FAILED"
    assert raised.value.why == f"Group ({GROUP}): Group did not stabilize"


def test_throttling_is_retried(aws: Account, step: StackStep, report: RecordingReport) -> None:
    aws.cloudformation.before["create_stack"] = lambda: aws.cloudformation.refusing.extend(
        ["describe_stacks", "describe_stack_events", "describe_stacks"]
    )
    assert step.apply(None, report) == "CREATE_COMPLETE"
    assert is_throttled(refusal("ThrottlingException", "Rate exceeded"))


def test_endless_throttling_times_out(aws: Account, step: StackStep, report: RecordingReport) -> None:
    aws.cloudformation.before["create_stack"] = lambda: aws.cloudformation.refusing.extend(
        ["describe_stacks"] * aws.polling.attempts
    )
    with pytest.raises(StepFailed, match="isn't ready in time"):
        step.apply(None, report)


def test_operation_in_progress_is_recorded(aws: Account, step: StackStep, report: RecordingReport) -> None:
    aws.cloudformation.plays["create_stack"] = [(CREATED[0], *[CREATED[1]] * 100)]
    with pytest.raises(StepFailed) as raised:
        step.apply(None, report)
    assert raised.value.why.startswith("CREATE_IN_PROGRESS, timed out after")
    assert report.running == "stack blue: CREATE_IN_PROGRESS"


def test_finished_stack_is_not_in_progress(aws: Account, step: StackStep, report: RecordingReport) -> None:
    step.apply(None, report)
    assert report.running == ""


# --- gone


def test_failed_deletion_is_retried_once(aws: Account, step: StackStep, report: RecordingReport) -> None:
    aws.has("CREATE_COMPLETE")
    fails = happened("Profile", "DELETE_FAILED", "must detach first", "AWS::IAM::InstanceProfile")
    aws.cloudformation.plays["delete_stack"] = [(*DELETED[:1], Scene("DELETE_FAILED", (fails,)))]
    assert step.destroy(report) == "deleted"
    assert writes(aws) == ["delete_stack 2"]
    assert report.texts == ["the deletion failed: Profile (AWS::IAM::InstanceProfile): must detach first"]


def test_failed_deletion_names_the_resource(aws: Account, step: StackStep, report: RecordingReport) -> None:
    aws.has("CREATE_COMPLETE")
    fails = happened("Group", "DELETE_FAILED", "resource sg-1 has a dependent object", "AWS::EC2::SecurityGroup")
    aws.cloudformation.plays["delete_stack"] = [(*DELETED[:1], Scene("DELETE_FAILED", (fails,)))] * 2
    with pytest.raises(StepFailed) as raised:
        step.destroy(report)
    assert raised.value.what == "The stack can't be deleted"
    assert raised.value.why == "Group (AWS::EC2::SecurityGroup): resource sg-1 has a dependent object"


def test_deletion_awaits_an_update(aws: Account, step: StackStep, report: RecordingReport) -> None:
    aws.cloudformation.begin("update_stack", UPDATED)
    aws.has("UPDATE_IN_PROGRESS")
    assert step.destroy(report) == "deleted"


def test_endless_deletion_times_out(aws: Account, step: StackStep, report: RecordingReport) -> None:
    aws.has("CREATE_COMPLETE")
    aws.cloudformation.plays["delete_stack"] = [(DELETED[0],) * 100]
    with pytest.raises(StepFailed, match="isn't ready in time"):
        step.destroy(report)


# --- the root cause

LIMIT = "You have requested more vCPU capacity than your current limit of 0"


def failure(aws: Account, step: StackStep, report: RecordingReport, *events: dict[str, str]) -> StepFailed:
    aws.cloudformation.plays["create_stack"] = [not_created(*events)]
    with pytest.raises(StepFailed) as raised:
        step.apply(step.inspect(), report)
    return raised.value


def test_failed_creation_names_the_first_failure(aws: Account, step: StackStep, report: RecordingReport) -> None:
    """Later failures are consequences, and the rollback isn't awaited."""
    told = failure(
        aws,
        step,
        report,
        happened("Server", "CREATE_FAILED", LIMIT),
        happened("Group", "CREATE_FAILED", "Resource creation cancelled", GROUP),
    )
    assert told.what == "The stack ended in ROLLBACK_IN_PROGRESS"
    assert told.why == f"Server (AWS::EC2::Instance): {LIMIT}"
    assert report.running == "stack blue: ROLLBACK_IN_PROGRESS"


def test_earlier_failures_are_ignored(aws: Account, step: StackStep, report: RecordingReport) -> None:
    aws.has("CREATE_COMPLETE", OTHER)
    fails = happened("Role", "UPDATE_FAILED", "Role blue already exists", "AWS::IAM::Role")
    begins = happened("blue", "UPDATE_IN_PROGRESS", "User Initiated", STACK)
    older = (Scene("UPDATE_ROLLBACK_COMPLETE", (begins, happened("Server", "UPDATE_FAILED", "Internal failure"))),)
    aws.cloudformation.plays["update_stack"] = [
        older, (UPDATED[0], Scene("UPDATE_ROLLBACK_IN_PROGRESS", (fails,)))
    ]  # fmt: skip
    aws.cloudformation.begin("update_stack", ())
    with pytest.raises(StepFailed) as raised:
        step.apply(step.inspect(), report)
    assert raised.value.why == "Role (AWS::IAM::Role): Role blue already exists"


def test_failure_without_a_reason(aws: Account, step: StackStep, report: RecordingReport) -> None:
    assert failure(aws, step, report).why == "CloudFormation gives no reason"


TIMEOUT = "Failed to receive 1 resource signal(s) within the specified duration"
GROUP_FAILED = "Received 1 FAILURE signal(s) out of 2. Unable to satisfy 100% MinSuccessfulInstancesPercent requirement"
SERVER, MEMBER = "i-0123456789abcdef0", "i-0fedcba9876543210"


def test_missing_signal_shows_the_boot_log(aws: Account, step: StackStep, report: RecordingReport) -> None:
    aws.boot_logs[SERVER] = ["cloud-init: docker: not found"]
    told = failure(aws, step, report, happened("Server", "CREATE_FAILED", TIMEOUT, PhysicalResourceId=SERVER))
    assert told.why.splitlines() == [
        f"Server (AWS::EC2::Instance): {TIMEOUT}",
        f"last lines of the boot log of {SERVER}:",
        "  cloud-init: docker: not found",
    ]


def test_failed_signal_names_the_instance_of_a_group(aws: Account, step: StackStep, report: RecordingReport) -> None:
    aws.boot_logs[MEMBER] = ["consul: no leader"]
    said = f"Received FAILURE signal with UniqueId {MEMBER}"
    told = failure(
        aws,
        step,
        report,
        happened("Group", "CREATE_IN_PROGRESS", said, GROUP),
        happened("Group", "CREATE_FAILED", GROUP_FAILED, GROUP, PhysicalResourceId="blue-group"),
    )
    assert told.why.splitlines()[-1] == "  consul: no leader"
    assert SubResource("Group", "runs", f"CREATE_IN_PROGRESS {GROUP} {said}") in report.subresources


def test_silent_group_shows_any_instance(aws: Account, step: StackStep, report: RecordingReport) -> None:
    class AutoScaling:
        def describe_auto_scaling_groups(self, AutoScalingGroupNames: list[str]) -> dict[str, list[object]]:
            assert AutoScalingGroupNames == ["blue-group"]
            return {"AutoScalingGroups": [{"Instances": [{"InstanceId": MEMBER}]}]}

    aws.clients["autoscaling"] = AutoScaling()
    aws.boot_logs[MEMBER] = ["kernel panic"]
    event = happened("Group", "CREATE_FAILED", TIMEOUT, GROUP, PhysicalResourceId="blue-group")
    assert failure(aws, step, report, event).why.splitlines()[-1] == "  kernel panic"


def test_missing_boot_log_is_omitted(aws: Account, step: StackStep, report: RecordingReport) -> None:
    told = failure(aws, step, report, happened("Server", "CREATE_FAILED", TIMEOUT, PhysicalResourceId=SERVER))
    assert told.why == f"Server (AWS::EC2::Instance): {TIMEOUT}"


@pytest.mark.parametrize(
    ("aws", "parameters"),
    [
        ({"ssh_cidr": "203.0.113.7/32"}, {"SshCidr": "203.0.113.7/32"}),
        ({"vpc": "vpc-1", "subnets": ("subnet-1", "subnet-2")}, {"VpcId": "vpc-1", "SubnetIds": "subnet-1,subnet-2"}),
        ({"key_name": "mine"}, {"KeyName": "mine"}),
    ],
)
def test_network_settings_are_part_of_the_fingerprint(aws: dict[str, object], parameters: dict[str, str]) -> None:
    plain, named = (
        StackStep(Lab(aws=spec), FakeTarget(None)).desired()["parameters"] for spec in (AwsSpec(), AwsSpec(**aws))
    )
    assert named == {**plain, **parameters}
