"""The policies that the lab needs, and a simulation by IAM of whether the caller has their permissions.

`policies/up-and-down.json` covers the requests of `up` and `down` themselves, `policies/stack.json`,
`policies/roles.json` and `policies/watching.json` what CloudFormation and other services do on the caller's behalf,
`policies/commands.json` the additional needs of `logs` and `exec`, `policies/snapshots.json` those of a bucket for
snapshots, and `policies/load-balancer.json` those of a load balancer: a managed policy may have 6,144 characters.
`policies/boundary.json` isn't for the caller: it limits the stack's roles.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ...errors import LabError, Unreachable
from ..client_errors import client_error, error_code, items_of
from ..commands import Finding, failed
from .session import Identity

POLICIES = Path(__file__).resolve().parent / "policies"
MAX_PARALLEL = 4
UP_AND_DOWN = ("up-and-down", "stack", "roles", "watching")
# by their Sid; without these, all works except for what `plan` says about costs
OPTIONAL = ("Prices",)
SNAPSHOTS, LOAD_BALANCER = "snapshots", "load-balancer"
_NAME = "permissions"
_BOUNDARY = "permissions boundary"
_BOUNDARY_KEY = "iam:PermissionsBoundary"
_HINT = "attach the policies in docs/aws.md"
# the ARN of a role's session: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
_SESSION = re.compile(r"^arn:([^:]+):sts::(\d+):assumed-role/([^/]+)/")

Statement = Mapping[str, Any]


def policy(name: str, values: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A policy; `values` replace its placeholders Partition, Region, Account, Lab and Bucket."""
    text = (POLICIES / f"{name}.json").read_text()
    for key, value in (values or {}).items():
        text = text.replace(f"${{{key}}}", value)
    return dict(json.loads(text))


def principal_of(identity: Identity) -> str | None:
    """The ARN of the user or role whose policies apply; None for any other identity, such as root."""
    session = _SESSION.match(identity.arn)
    if session:
        partition, account, role = session.groups()
        return f"arn:{partition}:iam::{account}:role/{role}"
    return identity.arn if ":user/" in identity.arn and ":iam:" in identity.arn else None


def diagnostics(
    iam: Any,
    identity: Identity,
    region: str,
    lab: str,
    boundary: str | None,
    policies: Iterable[str] = UP_AND_DOWN,
    bucket: str = "",
) -> Finding:
    """Ask IAM whether it would allow every action of these policies, for roles with that permissions boundary."""
    if identity.arn.endswith(":root"):
        root = "the caller is the root user, which may do anything"
        return Finding(_NAME, "warning", root, "use an IAM user or role")
    principal = principal_of(identity)
    if principal is None:
        return _unknown(f"{identity.arn} is neither a user nor a role")
    principal = _with_path(iam, principal)
    values = {"Partition": identity.partition, "Region": region, "Account": identity.account, "Lab": lab}
    values |= {"Bucket": bucket}
    statements = [s for name in policies for s in policy(name, values)["Statement"] if s["Sid"] not in OPTIONAL]
    try:
        with ThreadPoolExecutor(MAX_PARALLEL) as pool:
            answers = list(pool.map(lambda statement: _simulate(iam, principal, statement, boundary), statements))
    except (client_error(), Unreachable) as error:
        return _unknown(f"IAM doesn't say ({error_code(error) or type(error).__name__})")
    return _finding([one for some in answers for one in some], principal)


def boundary_diagnostics(iam: Any, boundary: str | None) -> Finding:
    """Whether the stack's roles are limited by a policy, and whether that policy exists."""
    if boundary is None:
        detail = "none set, so whoever may update the stack can give its roles any permission"
        return Finding(_BOUNDARY, "warning", detail, "set aws.permissions_boundary; docs/aws.md shows how to make one")
    try:
        iam.get_policy(PolicyArn=boundary)
    except client_error() as error:
        if error_code(error) != "NoSuchEntity":
            raise
        return failed(_BOUNDARY, _no_boundary(boundary))
    return Finding(_BOUNDARY, "ok", boundary)


def _no_boundary(boundary: str) -> LabError:
    return LabError(
        f"There is no policy {boundary}",
        where="config, aws.permissions_boundary",
        why="the stack's roles can't be created without their permissions boundary",
        hint="make it as docs/aws.md shows, or correct its ARN",
    )


def _with_path(iam: Any, principal: str) -> str:
    """The full ARN of a role. A session's ARN leaves out the path, which IAM Identity Center's roles have.

    If the caller may not read the role, the short ARN has to do.
    """
    if ":role/" not in principal:
        return principal
    try:
        return str(iam.get_role(RoleName=principal.rpartition("/")[2])["Role"]["Arn"])
    except (client_error(), Unreachable):
        return principal


def _simulate(iam: Any, principal: str, statement: Statement, boundary: str | None) -> list[dict[str, Any]]:
    """IAM's decision on each action of a statement, for the statement's resources."""
    resources = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
    return items_of(
        iam,
        "simulate_principal_policy",
        "EvaluationResults",
        PolicySourceArn=principal,
        ActionNames=statement["Action"],
        ResourceArns=resources,
        ContextEntries=_context(statement.get("Condition") or {}, boundary),
    )


def _context(condition: Mapping[str, Mapping[str, Any]], boundary: str | None) -> list[dict[str, Any]]:
    """The context of a request that meets the statement's conditions; only the boundary is the config's own."""
    found = []
    for operator, keys in condition.items():
        # Null asks whether a key is there, which another operator's entry or its absence decides
        for key, value in keys.items() if operator != "Null" else ():
            values = value if isinstance(value, list) else [value]
            if key == _BOUNDARY_KEY:
                values = [boundary] if boundary else []
            if values:
                found.append(_entry(operator, key, values))
    return found


def _entry(operator: str, key: str, values: list[str]) -> dict[str, Any]:
    """A key of the context that has one of the values, or all of them where the key has several."""
    if operator.startswith(("ForAnyValue", "ForAllValues")):
        return {"ContextKeyName": key, "ContextKeyValues": values, "ContextKeyType": "stringList"}
    kind = "boolean" if operator.startswith("Bool") else "string"
    return {"ContextKeyName": key, "ContextKeyValues": values[:1], "ContextKeyType": kind}


def _finding(answers: list[dict[str, Any]], principal: str) -> Finding:
    denied = [one for one in answers if one["EvalDecision"] != "allowed"]
    # where context is missing, the simulation says nothing about a real request
    sure = sorted({one["EvalActionName"] for one in denied if not one.get("MissingContextValues")})
    unsure = sorted({one["EvalActionName"] for one in denied} - set(sure))
    if sure:
        error = LabError(
            f"{len(sure)} permission{'s are' if len(sure) > 1 else ' is'} missing",
            where=principal,
            why=", ".join(sure),
            hint=_HINT,
        )
        return failed(_NAME, error)
    if unsure:
        return _unknown(f"conditions in the policies decide on {', '.join(unsure)}")
    return Finding(_NAME, "ok", f"all {len({one['EvalActionName'] for one in answers})} that the lab needs")


def _unknown(why: str) -> Finding:
    return Finding(_NAME, "unknown", why, _HINT)
