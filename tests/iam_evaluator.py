"""Decides whether IAM would allow a request, by its documented logic, so that the shipped policies can be tried.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-denyallow.html: an
explicit Deny wins, else a request needs an Allow in the identity's policies and, if it has one, in its permissions
boundary. An operator or element that this module doesn't know raises an error instead of matching.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Policy = Mapping[str, Any]
ELEMENTS = {"Sid", "Effect", "Action", "Resource", "Condition"}
_VARIABLE = re.compile(r"\$\{([^}]+)\}")


@dataclass(frozen=True)
class Request:
    """One request: IAM evaluates an action once for each resource that it touches."""

    action: str
    resource: str = "*"
    context: Mapping[str, str | Sequence[str]] = field(default_factory=dict)

    def values(self, key: str) -> list[str] | None:
        """The values of a context key, whose name is case-insensitive; None if the request doesn't have it."""
        for name, value in self.context.items():
            if name.lower() == key.lower():
                return [value] if isinstance(value, str) else list(value)
        return None


def is_allowed(request: Request, policies: Iterable[Policy], boundary: Policy | None = None) -> bool:
    """Whether an identity with these policies, and with this permissions boundary if any, may make the request."""
    effects = [_effects(request, policies)] + ([] if boundary is None else [_effects(request, [boundary])])
    return all("Allow" in some for some in effects) and not any("Deny" in some for some in effects)


def _effects(request: Request, policies: Iterable[Policy]) -> set[str]:
    statements = [statement for policy in policies for statement in policy["Statement"]]
    return {statement["Effect"] for statement in statements if _applies(statement, request)}


def _applies(statement: Mapping[str, Any], request: Request) -> bool:
    assert statement.keys() <= ELEMENTS, statement
    return (
        any(_like(action.lower(), request.action.lower()) for action in _list(statement["Action"]))
        and any(_names(_filled(resource, request), request.resource) for resource in _list(statement["Resource"]))
        and all(
            _holds(operator, key, _list(expected), request)
            for operator, keys in statement.get("Condition", {}).items()
            for key, expected in keys.items()
        )
    )


def _holds(operator: str, key: str, expected: list[str], request: Request) -> bool:
    """One key of a condition: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html"""
    actual = request.values(key)
    if operator == "Null":
        return (actual is None) == (expected == ["true"])
    scope, _, name = operator.rpartition(":")
    name, if_exists = name.removesuffix("IfExists"), name.endswith("IfExists")
    matches = _OPERATORS[name]
    if actual is None:
        # ForAllValues is true for a key that isn't there, which is why it needs Null beside it
        return if_exists or scope == "ForAllValues"
    assert scope or len(actual) == 1, f"{key} has several values"
    found = [any(matches(_filled(one, request), value) for one in expected) for value in actual]
    return {"": all, "ForAllValues": all, "ForAnyValue": any}[scope](found)


def _filled(text: str, request: Request) -> str:
    """The text with its policy variables replaced. One without a value matches nothing."""

    def value(found: re.Match[str]) -> str:
        values = request.values(found[1])
        return values[0] if values else "\0"

    return _VARIABLE.sub(value, text)


def _like(pattern: str, text: str) -> bool:
    expression = "".join({"*": ".*", "?": "."}.get(each, re.escape(each)) for each in pattern)
    return re.fullmatch(expression, text, re.DOTALL) is not None


def _names(pattern: str, resource: str) -> bool:
    return pattern == "*" or _arn_like(pattern, resource)


def _arn_like(pattern: str, text: str) -> bool:
    """Each of an ARN's six parts matches on its own, so that `*` doesn't cross a colon before the last one."""
    parts, actual = pattern.split(":", 5), text.split(":", 5)
    return len(parts) == len(actual) and all(map(_like, parts, actual))


def _list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


_OPERATORS: Mapping[str, Callable[[str, str], bool]] = {
    "StringEquals": str.__eq__,
    "StringLike": _like,
    "ArnLike": _arn_like,
    "ArnEquals": _arn_like,
    "Bool": lambda expected, actual: expected.lower() == actual.lower(),
}
