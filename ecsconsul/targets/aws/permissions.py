"""The policies that the lab needs, and a simulation by IAM of whether the caller has their permissions.

`policies/up-and-down.json` covers the requests of `up` and `down` themselves, `policies/stack.json` what CloudFormation
and other services do on the caller's behalf, `policies/commands.json` the additional needs of `logs` and `exec`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ...errors import LabError, Unreachable
from ..client_errors import client_error, error_code, items_of
from ..commands import Finding, failed
from .session import Identity

POLICIES = Path(__file__).resolve().parent / "policies"
MAX_PARALLEL = 4
_NAME = "permissions"
_HINT = "attach the policies in docs/aws.md"
# the ARN of a role's session: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
_SESSION = re.compile(r"^arn:([^:]+):sts::(\d+):assumed-role/([^/]+)/")

Statement = Mapping[str, Any]


def policy(name: str, values: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A policy; `values` replace its placeholders Partition, Region, Account and Lab."""
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


def diagnostics(iam: Any, identity: Identity, region: str, lab: str) -> Finding:
    """Ask IAM whether it would allow every action of `up` and `down`."""
    if identity.arn.endswith(":root"):
        root = "the caller is the root user, which may do anything"
        return Finding(_NAME, "warning", root, "use an IAM user or role")
    principal = principal_of(identity)
    if principal is None:
        return _unknown(f"{identity.arn} is neither a user nor a role")
    principal = _with_path(iam, principal)
    values = {"Partition": identity.partition, "Region": region, "Account": identity.account, "Lab": lab}
    statements = [s for name in ("up-and-down", "stack") for s in policy(name, values)["Statement"]]
    try:
        with ThreadPoolExecutor(MAX_PARALLEL) as pool:
            answers = list(pool.map(lambda statement: _simulate(iam, principal, statement), statements))
    except (client_error(), Unreachable) as error:
        return _unknown(f"IAM doesn't say ({error_code(error) or type(error).__name__})")
    return _finding([one for some in answers for one in some], principal)


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


def _simulate(iam: Any, principal: str, statement: Statement) -> list[dict[str, Any]]:
    """IAM's decision on each action of a statement, for the statement's resources."""
    resources = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
    return items_of(
        iam,
        "simulate_principal_policy",
        "EvaluationResults",
        PolicySourceArn=principal,
        ActionNames=statement["Action"],
        ResourceArns=resources,
        ContextEntries=_context(statement.get("Condition") or {}),
    )


def _context(condition: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The context of a request that meets the statement's conditions."""
    found = []
    for operator, keys in condition.items():
        for key, value in keys.items():
            values = value if isinstance(value, list) else [value]
            kind = "stringList" if operator.startswith("ForAnyValue") or len(values) > 1 else "string"
            found.append({"ContextKeyName": key, "ContextKeyValues": values, "ContextKeyType": kind})
    return found


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
