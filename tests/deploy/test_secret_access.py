"""The execution role may read exactly the secrets of the config, and the policy goes with them."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from ecsconsul.config.lab import Lab, ServiceSpec
from ecsconsul.deploy.secret_access import (
    POLICY,
    SECRET_ACCESS,
    SecretAccessStep,
    access_steps,
    obsolete_access,
    policy_of,
)
from ecsconsul.deploy.step import decide
from tests.deploy.world import REGION, FakeTarget, RecordingReport

DB = "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-AbCdEf"
FILE = "arn:aws:s3:::bucket/folder/web.env"
SERVICE = ServiceSpec(
    name="web", path="/w", secrets={"A": "/web/a", "B": f"{DB}:key::", "C": f"{DB}:other::"}, env_file=(FILE,)
)
LAB = Lab(name="blue", services=(SERVICE,))
NONE = replace(LAB, services=(replace(SERVICE, secrets={}, env_file=()),))
ROLE = "blue-TaskExecutionRole-1"
TRUST = {"Version": "2012-10-17", "Statement": []}


@pytest.fixture
def world(target: FakeTarget) -> FakeTarget:
    created = target.client("iam").create_role(RoleName=ROLE, AssumeRolePolicyDocument=json.dumps(TRUST))
    target.role = created["Role"]["Arn"]
    return target


def test_policy_names_each_source_and_nothing_else() -> None:
    sources = ["plain", "/web/a", f"{DB}:key::", "arn:aws:ssm:eu-west-1:210987654321:parameter/x", FILE]
    assert policy_of(sources, "aws", "us-east-1", "123456789012")["Statement"] == [
        {
            "Sid": "Parameters",
            "Effect": "Allow",
            "Action": "ssm:GetParameters",
            "Resource": [
                "arn:aws:ssm:eu-west-1:210987654321:parameter/x",
                "arn:aws:ssm:us-east-1:123456789012:parameter/plain",
                "arn:aws:ssm:us-east-1:123456789012:parameter/web/a",
            ],
        },
        {"Sid": "Secrets", "Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": [DB]},
        {"Sid": "Files", "Effect": "Allow", "Action": "s3:GetObject", "Resource": [FILE]},
        {"Sid": "Buckets", "Effect": "Allow", "Action": "s3:GetBucketLocation", "Resource": ["arn:aws:s3:::bucket"]},
    ]


def test_policy_follows_the_config(world: FakeTarget, report: RecordingReport) -> None:
    step = SecretAccessStep(LAB, world)
    assert decide(step.desired(), step.inspect()) == "create"
    step.apply(None, report)
    assert decide(step.desired(), step.inspect()) == "keep"
    found = world.client("iam").get_role_policy(RoleName=ROLE, PolicyName=POLICY)["PolicyDocument"]
    assert f"arn:aws:ssm:{REGION}:123456789012:parameter/web/a" in json.dumps(found)
    fewer = replace(LAB, services=(replace(SERVICE, env_file=()),))
    step = SecretAccessStep(fewer, world)
    assert decide(step.desired(), step.inspect()) == "update"
    step.apply(step.inspect(), report)
    assert decide(step.desired(), step.inspect()) == "keep"
    assert step.destroy(report) == "deleted"
    assert step.destroy(report) == "absent"
    assert step.inspect() is None


def test_policy_goes_when_the_config_has_no_secrets(world: FakeTarget, report: RecordingReport) -> None:
    assert obsolete_access(NONE, world, ()) == []
    SecretAccessStep(LAB, world).apply(None, report)
    assert obsolete_access(LAB, world, ()) == []
    (step,) = obsolete_access(NONE, world, ())
    assert (step.name, step.desired()) == (SECRET_ACCESS, None)
    assert decide(step.desired(), step.inspect()) == "destroy"
    step.destroy(report)
    assert obsolete_access(NONE, world, ()) == []


def test_step_is_there_only_where_it_is_needed(world: FakeTarget) -> None:
    assert [one.name for one in access_steps(LAB, world)] == [SECRET_ACCESS]
    assert access_steps(NONE, world) == []
    world.role = None
    assert access_steps(LAB, world) == []
