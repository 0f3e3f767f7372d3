"""Fields that differ, of a plan or of drift: as JSON, and as lines of text that don't depend on a terminal's width."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ..deploy.drift import StepDrift
    from ..deploy.step import FieldChange

# stands for both values of a secret (deploy/field_diff.py)
MASK = "(changed)"
# of a value in a line; JSON has all of it
_SHOWN = 200


class Line(NamedTuple):
    """One line: how the field changes (add, modify, remove), and what to print."""

    action: str
    name: str
    text: str


def fields_as_json(changes: Iterable[FieldChange]) -> list[dict[str, Any]]:
    """The `fields` of a step in the document of `plan` (docs/cli.md)."""
    return [{"path": one.path, "old": one.old, "new": one.new, "cause": one.cause or None} for one in changes]


def drift_as_json(found: Iterable[StepDrift]) -> list[dict[str, Any]]:
    """The `steps` in the document of `diff` (docs/cli.md)."""
    return [
        {
            "name": one.name,
            "state": one.state,
            "drifted": bool(one.way_out),
            "fields": [{"path": f.path, "expected": f.old, "actual": f.new} for f in one.drift.fields],
            "config_changed": one.drift.config_changed,
            "untold": one.drift.untold or None,
            "way_out": one.way_out or None,
        }
        for one in found
    ]


def line_of(step: str, field: Mapping[str, Any], old: str = "old", new: str = "new") -> Line:
    """A field of a document in a line; the main container's name, which is the service's, is left out."""
    name = str(field["path"]).removeprefix(f"containers.{step.partition('/')[2]}.")
    before, after = field[old], field[new]
    cause = f"  (from {field['cause']})" if field.get("cause") else ""
    if MASK in (before, after):
        action = "add" if before is None else "remove" if after is None else "modify"
        words = {"add": "(added, hidden)", "remove": "(removed, hidden)", "modify": MASK}
        return Line(action, name, words[action] + cause)
    if before is None:
        return Line("add", name, shown(after) + cause)
    if after is None:
        return Line("remove", name, f"{shown(before)} → (none){cause}")
    return Line("modify", name, f"{shown(before)} → {shown(after)}{cause}")


def shown(value: Any) -> str:
    """A value in one line: a plain word as it is, anything else as JSON."""
    is_plain = isinstance(value, str) and value and value.isprintable() and value == value.strip()
    text = value if is_plain else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
