"""What `gameday --assert` holds: comparisons of the game's totals, such as 'failed == 0 and heal_max < 30'. Pure."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import WrongUsage

_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
LONGEST = 500


def holds(text: str, values: Mapping[str, Any]) -> bool:
    """Whether an assertion is true of these values. A figure that there is none of (None) is in no relation.

    Raises:
        WrongUsage: it isn't made of names, numbers, comparisons, `and`, `or` and `not`.
    """
    return bool(_value(_parsed(text), text, values))


def check(text: str, names: Mapping[str, Any]) -> None:
    """Raise WrongUsage, as `holds` would, before there are any values."""
    holds(text, dict.fromkeys(names, 0))


def _parsed(text: str) -> ast.expr:
    if len(text) > LONGEST:
        raise _wrong(text[:40], f"it is longer than {LONGEST} characters", ())
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _wrong(text, str(error), ()) from error


def _value(node: ast.expr, text: str, values: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.BoolOp):
        parts = [bool(_value(one, text, values)) for one in node.values]
        return all(parts) if isinstance(node.op, ast.And) else any(parts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return not _value(node.operand, text, values)
    if isinstance(node, ast.Compare):
        return _compared(node, text, values)
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.Name) and node.id in values:
        return values[node.id]
    raise _wrong(text, f"{ast.unparse(node)} isn't known", values)


def _compared(node: ast.Compare, text: str, values: Mapping[str, Any]) -> bool:
    sides = [_value(one, text, values) for one in (node.left, *node.comparators)]
    for before, kind, after in zip(sides, node.ops, sides[1:], strict=False):
        if type(kind) not in _COMPARISONS:
            raise _wrong(text, "compare with ==, !=, <, <=, > or >=", values)
        if before is None or after is None or not _COMPARISONS[type(kind)](before, after):
            return False
    return True


def _wrong(text: str, why: str, names: Any) -> WrongUsage:
    known = f"the names are {', '.join(names)}; " if names else ""
    return WrongUsage("The assertion can't be read", where=text, why=why, hint=f"{known}such as --assert 'failed == 0'")
