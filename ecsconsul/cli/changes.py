"""What plan, up and down share: the steps, the objections, the question, and the document that they print."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from ..errors import LabError, TargetAbsent, WrongUsage

if TYPE_CHECKING:
    from ..config.lab import Lab
    from ..deploy.step import Change, Step
    from ..targets.base import Target

COUNTED = {"create": "created", "update": "updated", "keep": "kept", "destroy": "destroyed"}


def all_steps(lab: Lab, target: Target) -> list[Step]:
    """The lab's steps, and one for each service that the lab made and the config has dropped."""
    from ..deploy.lab_steps import steps_for
    from ..deploy.orphans import orphaned_services

    try:
        removed = orphaned_services(lab, target)
    except TargetAbsent:
        removed = []
    return [*steps_for(lab, target), *removed]


def refuse_if_blocked(steps: Sequence[Step]) -> None:
    """Raises one LabError with all that speaks against beginning, before anything is begun."""
    from ..deploy.executor import blockers

    found = blockers(steps)
    if len(found) == 1:
        raise found[0]
    if found:
        lines = [f"{one.what} ({one.where})" + (f": {one.why}" if one.why else "") for one in found]
        hints = dict.fromkeys(one.hint for one in found if one.hint)
        raise LabError(f"{len(found)} things are in the way", why="\n".join(lines), hint="\n".join(hints))


def agreed(question: str, verb: str) -> bool:
    """Whether the user says yes. Raises WrongUsage where nobody is there to answer."""
    try:
        return click.confirm(question, err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        click.echo(err=True)
        raise WrongUsage(f"{verb} asks first, and nobody is there to answer", hint=f"ecsconsul {verb} --yes") from None


def document(lab: Lab, target: Target, changes: Sequence[Change], seconds: float) -> dict[str, Any]:
    """The JSON of plan, up and down (docs/cli.md)."""
    counts = dict.fromkeys(COUNTED.values(), 0)
    for change in changes:
        if change.op in COUNTED:
            counts[COUNTED[change.op]] += 1
    return {
        "lab": lab.name,
        "target": target.name,
        "seconds": round(seconds, 2),
        "changes": counts,
        "steps": [{"name": c.name, "op": c.op, "detail": c.detail, "seconds": round(c.seconds, 2)} for c in changes],
    }
