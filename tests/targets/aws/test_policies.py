"""The policies allow every request of `up` and `down`, and no action that the code never requests."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from msgspec import structs

import ecsconsul
from ecsconsul.cli.changes import all_steps
from ecsconsul.cli.resource_changes import replacements
from ecsconsul.config.lab import ConsulSpec, InstanceRange, Lab
from ecsconsul.deploy import executor
from ecsconsul.errors import LabError
from ecsconsul.targets.aws.permissions import policy
from ecsconsul.targets.aws.registry import RegistryImages
from ecsconsul.targets.aws.target import AwsTarget
from ecsconsul.targets.base import PollingPolicy
from tests.aws_calls import RecordedCalls
from tests.deploy.world import SilentObserver, serve
from tests.iam_evaluator import is_allowed
from tests.moto_account import moto_application
from tests.targets.aws.conftest import lab_of
from tests.targets.aws.policy_requests import VALUES, recorded_request

Account = Callable[[str], Any]

# what requests imply: tagging new resources, and what Docker does with an ECR login, as in
# https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-push-iam.html
# passing the execution role of a task with secrets, and ECS's tag on the group of a capacity provider:
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/cloudformation-console-permissions.html
# reading an image's labels at ECR's registry API; a stack's drift is that of its resources:
# https://docs.aws.amazon.com/service-authorization/latest/reference/list_awscloudformation.html
IMPLIED = {
    "ssm:AddTagsToResource", "ecr:TagResource", "iam:PassRole", "autoscaling:CreateOrUpdateTags",
    "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:CompleteLayerUpload", "ecr:InitiateLayerUpload",
    "ecr:GetDownloadUrlForLayer", "cloudformation:DetectStackResourceDrift", "ecr:PutImage", "ecr:UploadLayerPart",
}  # fmt: skip


UP_AND_DOWN, ROLES, WATCHING = (policy(name, VALUES) for name in ("up-and-down", "roles", "watching"))
# requested for the secrets of the config; all else about roles is CloudFormation's
OF_SECRETS = {"iam:GetRolePolicy", "iam:PutRolePolicy", "iam:DeleteRolePolicy"}

# requested for Session Manager's plugin
FOR_THE_PLUGIN = {
    "ssm:StartSession", "ssm:TerminateSession", "ssm:ResumeSession", "ssmmessages:OpenDataChannel",
}  # fmt: skip
SERVICES = {
    name: name
    for name in (
        *("autoscaling", "cloudformation", "cloudwatch", "ec2", "ecr", "ecs", "iam", "logs", "pricing", "s3", "ssm"),
        "sts",
    )
} | {"resourcegroupstaggingapi": "tag", "elbv2": "elasticloadbalancing", "acm": "acm"}
# S3's operations whose permission has another name:
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
OF_OPERATION = {
    "s3:HeadBucket": "s3:ListBucket",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
}
PACKAGE = Path(ecsconsul.__path__[0])
# a recorder that misses most calls would let everything pass
MIN_CALLS = 40


class FakeEngine:
    """A Docker engine that builds nothing, and pushes images of the kind that a registry accepts unseen."""

    def __init__(self, ecr: Callable[[], Any]) -> None:
        self._ecr = ecr

    def blocker(self, platform: str) -> LabError | None:
        return None

    def build(self, *_: Any) -> None:
        pass

    def is_insecure(self, host: str) -> bool:
        return False

    def push(self, reference: str, *_: Any) -> None:
        repository, _colon, tag = reference.partition("/")[2].rpartition(":")
        kind = "application/vnd.oci.image.manifest.v1+json"
        manifest = json.dumps(
            {"schemaVersion": 2, "mediaType": kind, "config": {"digest": f"sha256:{tag}"}, "layers": []}
        )
        self._ecr().put_image(repositoryName=repository, imageTag=tag, imageManifest=manifest)

    def forget(self, *_: Any, **__: Any) -> None:
        pass


class ImpatientTarget(AwsTarget):
    """Doesn't wait for what an emulator never does."""

    patience = PollingPolicy(delay=0.0, attempts=3)


@pytest.fixture
def recorded(account: Account, monkeypatch: pytest.MonkeyPatch) -> Iterator[RecordedCalls]:
    """The account behind a server that records all requests; AWS_ENDPOINT_URL points to it."""
    calls = RecordedCalls(moto_application())
    server = serve(calls)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    yield calls
    server.shutdown()
    server.server_close()


def allowed(name: str) -> set[str]:
    return {action for statement in policy(name)["Statement"] for action in statement["Action"]}


def target_of(lab: Lab) -> AwsTarget:
    clients: list[Callable[[str], Any]] = []
    engine = FakeEngine(lambda: clients[0]("ecr"))
    images = RegistryImages(lab, None, lambda name: clients[0](name), lambda: "x86_64", engine)  # type: ignore[arg-type]
    target = ImpatientTarget(lab, images=images)
    clients.append(target.client)
    return target


def up(lab: Lab) -> AwsTarget:
    """What the command does."""
    target = target_of(lab)
    with target.lock():
        steps = all_steps(lab, target)
        assert executor.blockers(steps) == []
        target.confirmation(lambda: replacements(steps))
        # an emulator runs no Consul
        executor.up([step for step in steps if step.name != "discovery"], SilentObserver())
    target.portal_url()
    return target


def down(lab: Lab) -> list[str]:
    target = target_of(lab)
    with target.lock():
        executor.down(all_steps(lab, target), SilentObserver())
    return target.leftovers()


def lab_with(folder: Path, **more: Any) -> Lab:
    (folder / "Dockerfile").write_text('FROM scratch\nCMD ["true"]\n')
    found = structs.replace(lab_of(folder, key_name="mine", ssh_cidr="203.0.113.7/32"), **more)
    # an emulator runs no tasks, so only a service without tasks is healthy
    counts: Mapping[str, int] = {service.name: 0 for service in found.services}
    return found.with_counts(dict(counts))


def test_every_request_of_up_and_down_is_allowed(account: Account, recorded: RecordedCalls, tmp_path: Path) -> None:
    account("ec2").create_key_pair(KeyName="mine")
    lab = lab_with(tmp_path)
    failing_up(lab)
    up(structs.replace(lab, services=tuple(structs.replace(one, secrets={"DB": "/db"}) for one in lab.services)))
    up(lab)
    up(structs.replace(lab, instances=InstanceRange(min=1, max=3)))
    up(structs.replace(lab, instances=1, consul=ConsulSpec(servers=3)))
    assert down(lab) == []
    assert len(recorded.calls) > MIN_CALLS
    policies = [UP_AND_DOWN, ROLES, WATCHING]
    assert [one for one in map(recorded_request, recorded.requests) if not is_allowed(one, policies)] == []


def failing_up(lab: Lab) -> None:
    """A service that doesn't start: `up` reads its logs and its instances' console output."""
    doomed = structs.replace(lab.services[0], name="doomed", count=1)
    with pytest.raises(LabError):
        up(structs.replace(lab, services=(*lab.services, doomed)))
    target = target_of(lab)
    target.last_lines("doomed", 5)
    target.boot_log("i-0123456789abcdef0", 5)


# --- what the code can request


def test_policies_match_the_requests_in_the_code() -> None:
    """Covers requests for failures that no emulator simulates."""
    calls = calls_in_the_code()
    policies = ("up-and-down", "commands", "snapshots", "import")
    allowed_actions = (
        {action for name in policies for action in allowed(name)} | {"acm:DescribeCertificate"} | OF_SECRETS
    )
    forbidden = {name for name, actions in calls.items() if not actions & allowed_actions}
    assert forbidden == set(), "calls that no policy allows"
    requested = {action for actions in calls.values() for action in actions}
    assert allowed_actions - requested - IMPLIED - FOR_THE_PLUGIN == set(), "actions that nothing requests"


def calls_in_the_code() -> dict[str, set[str]]:
    """The client methods that the steps and the target name, each with the actions that it may call."""
    operations = operations_of(SERVICES)
    paths = [*(PACKAGE / "deploy").rglob("*.py"), *(PACKAGE / "targets" / "aws").rglob("*.py")]
    trees = [ast.parse(path.read_text()) for path in paths]
    names = {name for tree in trees for node in ast.walk(tree) for name in _named(node)}
    return {name: operations[name] for name in names & operations.keys()}


def _named(node: ast.AST) -> Iterator[str]:
    """`client.describe_stacks`, called or not, and `client.get_paginator("describe_stacks")`."""
    if isinstance(node, ast.Attribute):
        yield node.attr
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def operations_of(services: Mapping[str, str]) -> dict[str, set[str]]:
    """The actions by client method. `services` maps botocore's service names to their prefixes in policies."""
    loader = botocore.session.get_session()
    found: dict[str, set[str]] = {}
    for service, prefix in services.items():
        for operation in loader.get_service_model(service).operation_names:
            action = f"{prefix}:{operation}"
            found.setdefault(xform_name(operation), set()).add(OF_OPERATION.get(action, action))
    return found
