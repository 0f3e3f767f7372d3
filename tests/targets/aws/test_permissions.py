"""The policies that ship with the package, and what `doctor` makes of IAM's simulation."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ecsconsul.targets.aws.permissions import (
    POLICIES,
    UP_AND_DOWN,
    boundary_diagnostics,
    diagnostics,
    policy,
    principal_of,
)
from ecsconsul.targets.aws.session import Identity, Session

Account = Callable[[str], Any]
VALUES = {"Partition": "aws", "Region": "us-east-1", "Account": "123456789012", "Lab": "blue"}
BOUNDARY = "arn:aws:iam::123456789012:policy/ecsconsul/blue-boundary"
ME = Identity("123456789012", "arn:aws:iam::123456789012:user/me")
# AWS's limit for a managed policy, without white space: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
MOST_CHARACTERS = 6144


class FakeIam:
    """Allows every action except the denied ones, each with its missing context keys; or fails with an error code."""

    def __init__(self, denied: dict[str, list[str]] | None = None, code: str = "") -> None:
        self._denied = denied or {}
        self._code = code
        self.requests: list[dict[str, Any]] = []

    def get_paginator(self, name: str) -> FakeIam:
        assert name == "simulate_principal_policy"
        return self

    def paginate(self, **request: Any) -> list[dict[str, Any]]:
        if self._code:
            raise ClientError({"Error": {"Code": self._code}}, "SimulatePrincipalPolicy")
        self.requests.append(request)
        return [{"EvaluationResults": [self._result(action) for action in request["ActionNames"]]}]

    def _result(self, action: str) -> dict[str, Any]:
        decision = "implicitDeny" if action in self._denied else "allowed"
        missing = self._denied.get(action, [])
        return {"EvalActionName": action, "EvalDecision": decision, "MissingContextValues": missing}


@pytest.mark.parametrize("path", sorted(POLICIES.glob("*.json")), ids=lambda path: path.stem)
def test_policy_is_valid_for_iam(path: Any) -> None:
    document = json.loads(path.read_text())
    assert document["Version"] == "2012-10-17"
    assert len("".join(path.read_text().split())) <= MOST_CHARACTERS
    ids = [statement["Sid"] for statement in document["Statement"]]
    assert len(set(ids)) == len(ids)
    for statement in document["Statement"]:
        assert statement["Sid"].isalnum()
        assert statement["Effect"] == "Allow"
        assert statement["Action"] == sorted(statement["Action"])
        assert all(":" in action and "*" not in action for action in statement["Action"])


def test_placeholders_are_replaced() -> None:
    values = {"Partition": "aws-cn", "Region": "cn-north-1", "Account": "1", "Lab": "blue"}
    text = json.dumps(policy("up-and-down", values))
    assert "${" not in text
    assert "arn:aws-cn:ecs:cn-north-1:1:cluster/blue" in text


def test_load_balancer_needs_a_policy_of_its_own() -> None:
    asked = []
    for names in (UP_AND_DOWN, (*UP_AND_DOWN, "load-balancer")):
        iam = FakeIam()
        assert diagnostics(iam, ME, "us-east-1", "blue", BOUNDARY, names).state == "ok"
        asked.append({action for request in iam.requests for action in request["ActionNames"]})
    assert {"acm:DescribeCertificate", "elasticloadbalancing:CreateLoadBalancer"} <= asked[1] - asked[0]


def test_allowed_actions_pass(account: Account) -> None:
    iam = FakeIam()
    found = diagnostics(iam, ME, "us-east-1", "blue", BOUNDARY)
    assert found.state == "ok"
    assert all(request["PolicySourceArn"] == ME.arn for request in iam.requests)
    requests = {action: entries_of(request) for request in iam.requests for action in request["ActionNames"]}
    via = ("aws:CalledVia", ["cloudformation.amazonaws.com"], "stringList")
    assert requests["iam:CreateRole"] == [via, ("iam:PermissionsBoundary", [BOUNDARY], "string")]
    assert requests["autoscaling:CreateAutoScalingGroup"] == [
        via,
        ("autoscaling:LaunchTemplateVersionSpecified", ["true"], "boolean"),
    ]
    types = requests["cloudformation:CreateStack"][0]
    assert (types[0], types[2]) == ("cloudformation:ResourceTypes", "stringList")


def test_boundary_of_the_config_is_simulated() -> None:
    """The policies require the lab's own, so that another one, or none, is denied."""
    for boundary in (None, "arn:aws:iam::123456789012:policy/mine"):
        iam = FakeIam()
        diagnostics(iam, ME, "us-east-1", "blue", boundary)
        (create,) = [request for request in iam.requests if "iam:CreateRole" in request["ActionNames"]]
        found = [values for key, values, _ in entries_of(create) if key == "iam:PermissionsBoundary"]
        assert found == ([[boundary]] if boundary else [])


def entries_of(request: dict[str, Any]) -> list[tuple[str, list[str], str]]:
    entries = request["ContextEntries"]
    return [(one["ContextKeyName"], one["ContextKeyValues"], one["ContextKeyType"]) for one in entries]


def test_denied_actions_are_named() -> None:
    found = diagnostics(FakeIam({"ecs:CreateCluster": [], "ecs:DeleteCluster": []}), ME, "us-east-1", "blue", BOUNDARY)
    assert found.state == "failed"
    assert found.error is not None
    assert found.error.what == "2 permissions are missing"
    assert found.error.why == "ecs:CreateCluster, ecs:DeleteCluster"
    assert "docs/aws.md" in found.hint


def test_denial_with_missing_context_is_unknown() -> None:
    found = diagnostics(FakeIam({"ecs:CreateCluster": ["aws:RequestTag/team"]}), ME, "us-east-1", "blue", BOUNDARY)
    assert (found.state, found.detail) == ("unknown", "conditions in the policies decide on ecs:CreateCluster")


@pytest.mark.parametrize("code", ["AccessDenied", "NoSuchEntity", "NotImplemented"])
def test_failed_simulation_is_unknown(code: str) -> None:
    found = diagnostics(FakeIam(code=code), ME, "us-east-1", "blue", BOUNDARY)
    assert (found.state, found.detail) == ("unknown", f"IAM doesn't say ({code})")


def test_broken_emulator_is_unknown(account: Account) -> None:
    found = diagnostics(Session(None, None).client("iam"), ME, "us-east-1", "blue", BOUNDARY)
    assert (found.state, found.detail) == ("unknown", "IAM doesn't say (InternalError)")


@pytest.mark.parametrize(
    ("arn", "principal"),
    [
        ("arn:aws:iam::123456789012:user/me", "arn:aws:iam::123456789012:user/me"),
        ("arn:aws:sts::123456789012:assumed-role/Dev/me@example", "arn:aws:iam::123456789012:role/Dev"),
        ("arn:aws-cn:sts::123456789012:assumed-role/Dev/me", "arn:aws-cn:iam::123456789012:role/Dev"),
        ("arn:aws:sts::123456789012:federated-user/me", None),
        ("arn:aws:sts::123456789012:user/moto", None),
    ],
)
def test_principal_of_an_identity(arn: str, principal: str | None) -> None:
    assert principal_of(Identity("123456789012", arn)) == principal
    if principal is None:
        assert diagnostics(FakeIam(), Identity("123456789012", arn), "us-east-1", "blue", BOUNDARY).state == "unknown"


class FakeIamWithRole(FakeIam):
    """Also returns one role's full ARN, or denies it if there is none."""

    def __init__(self, arn: str | None) -> None:
        super().__init__()
        self._arn = arn

    def get_role(self, *, RoleName: str) -> dict[str, Any]:
        if self._arn is None:
            raise ClientError({"Error": {"Code": "AccessDenied"}}, "GetRole")
        assert self._arn.endswith(f"/{RoleName}")
        return {"Role": {"Arn": self._arn}}


SINGLE_SIGN_ON = "arn:aws:iam::1:role/aws-reserved/sso.amazonaws.com/eu-west-1/AWSReservedSSO_Admin_0a1b"


@pytest.mark.parametrize(
    ("found", "simulated"),
    [(SINGLE_SIGN_ON, SINGLE_SIGN_ON), (None, "arn:aws:iam::1:role/AWSReservedSSO_Admin_0a1b")],
)
def test_path_of_a_role_is_looked_up(found: str | None, simulated: str) -> None:
    iam = FakeIamWithRole(found)
    me = Identity("1", "arn:aws:sts::1:assumed-role/AWSReservedSSO_Admin_0a1b/me@example")
    assert diagnostics(iam, me, "eu-west-1", "blue", BOUNDARY).state == "ok"
    assert {one["PolicySourceArn"] for one in iam.requests} == {simulated}


def test_root_user_is_a_warning() -> None:
    assert (
        diagnostics(FakeIam(), Identity("1", "arn:aws:iam::1:root"), "us-east-1", "blue", BOUNDARY).state == "warning"
    )


# --- the permissions boundary


def test_lab_without_a_boundary_is_a_warning() -> None:
    found = boundary_diagnostics(FakeIam(), None)
    assert (found.name, found.state) == ("permissions boundary", "warning")
    assert "aws.permissions_boundary" in found.hint


def test_boundary_that_exists_passes(account: Account) -> None:
    created = account("iam").create_policy(
        PolicyName="blue-boundary", Path="/ecsconsul/", PolicyDocument=json.dumps(policy("boundary", VALUES))
    )
    assert created["Policy"]["Arn"] == BOUNDARY
    found = boundary_diagnostics(Session(None, None).client("iam"), BOUNDARY)
    assert (found.state, found.detail) == ("ok", BOUNDARY)


def test_boundary_that_does_not_exist_fails(account: Account) -> None:
    found = boundary_diagnostics(Session(None, None).client("iam"), BOUNDARY)
    assert found.state == "failed"
    assert found.error is not None
    assert found.error.what == f"There is no policy {BOUNDARY}"
