"""What the caller needs to be allowed: the policies that ship with the package, and IAM's word on each action.

`policies/up-and-down.json` is what `up` and `down` ask of AWS themselves, `policies/stack.json` what CloudFormation
and others do for it in the caller's name, `policies/commands.json` what `logs` and `exec` need beyond.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ...errors import LabError, Unreachable
from ..commands import Finding, failed
from .session import Identity, code_of

POLICIES = Path(__file__).resolve().parent / "policies"
ASKED_AT_ONCE = 4
_NAME = "permissions"
_HINT = "docs/aws.md has the policies to attach"
# a session is a role's: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
_SESSION = re.compile(r"^arn:([^:]+):sts::(\d+):assumed-role/([^/]+)/")

Statement = Mapping[str, Any]


def policy(name: str, values: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A policy as JSON; with `values` for Partition, Region, Account and Lab in the places that wait for them."""
    text = (POLICIES / f"{name}.json").read_text()
    for key, value in (values or {}).items():
        text = text.replace(f"${{{key}}}", value)
    return dict(json.loads(text))


def principal_of(identity: Identity) -> str | None:
    """The user or role whose policies count; None for root, whom none binds, and for whom IAM knows no policies."""
    session = _SESSION.match(identity.arn)
    if session:
        partition, account, role = session.groups()
        return f"arn:{partition}:iam::{account}:role/{role}"
    return identity.arn if ":user/" in identity.arn and ":iam:" in identity.arn else None


def diagnostics(iam: Any, identity: Identity, region: str, lab: str) -> Finding:
    """Whether IAM would allow every action of `up` and `down`, as far as it tells."""
    from botocore.exceptions import ClientError

    if identity.arn.endswith(":root"):
        return Finding(_NAME, "warning", "the account's root user may do everything", "use a user or role of your own")
    principal = principal_of(identity)
    if principal is None:
        return _unknown(f"{identity.arn} is neither a user nor a role")
    principal = _with_path(iam, principal)
    values = {"Partition": identity.partition, "Region": region, "Account": identity.account, "Lab": lab}
    statements = [s for name in ("up-and-down", "stack") for s in policy(name, values)["Statement"]]
    try:
        with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
            answers = list(pool.map(lambda statement: _ask(iam, principal, statement), statements))
    except (ClientError, Unreachable) as error:
        return _unknown(f"IAM does not tell ({code_of(error) or type(error).__name__})")
    return _judged([one for some in answers for one in some], principal)


def _with_path(iam: Any, principal: str) -> str:
    """The whole ARN of a role: that of its session leaves the path out, which IAM Identity Center's roles have.

    For who may not ask, the short one must do.
    """
    from botocore.exceptions import ClientError

    if ":role/" not in principal:
        return principal
    try:
        return str(iam.get_role(RoleName=principal.rpartition("/")[2])["Role"]["Arn"])
    except (ClientError, Unreachable):
        return principal


def _ask(iam: Any, principal: str, statement: Statement) -> list[dict[str, Any]]:
    """IAM's answer for each action of a statement, on the resources that it names."""
    resources = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
    pages = iam.get_paginator("simulate_principal_policy").paginate(
        PolicySourceArn=principal,
        ActionNames=statement["Action"],
        ResourceArns=resources,
        ContextEntries=_context(statement.get("Condition") or {}),
    )
    return [result for page in pages for result in page["EvaluationResults"]]


def _context(condition: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What a request would bring along that meets the statement's conditions."""
    found = []
    for operator, keys in condition.items():
        for key, value in keys.items():
            values = value if isinstance(value, list) else [value]
            kind = "stringList" if operator.startswith("ForAnyValue") or len(values) > 1 else "string"
            found.append({"ContextKeyName": key, "ContextKeyValues": values, "ContextKeyType": kind})
    return found


def _judged(answers: list[dict[str, Any]], principal: str) -> Finding:
    denied = [one for one in answers if one["EvalDecision"] != "allowed"]
    # a policy with conditions on what the simulation was not told says nothing of the real request
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
        return _unknown(f"conditions decide on {', '.join(unsure)}")
    return Finding(_NAME, "ok", f"all {len({one['EvalActionName'] for one in answers})} that are needed")


def _unknown(why: str) -> Finding:
    return Finding(_NAME, "unknown", why, _HINT)
