"""What plan, up, scale and down share: the lab's steps, blockers, confirmation, and the JSON document."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from ..errors import LabError, TargetAbsent, WrongUsage
from .field_changes import fields_as_json
from .resource_changes import as_json

if TYPE_CHECKING:
    from ..config.lab import Lab
    from ..deploy.step import Change, Step
    from ..targets.commands import CommandTarget

COUNTED = {"create": "created", "update": "updated", "keep": "kept", "destroy": "destroyed"}


def all_steps(lab: Lab, target: CommandTarget, *, wait: bool = True) -> list[Step]:
    """The lab's steps, and those that remove what the config no longer has or an old version left.

    Without `wait`, none waits for the config's services.
    """
    from ..deploy.capacity_provider import obsolete_provider
    from ..deploy.lab_steps import steps_for
    from ..deploy.old_families import old_families
    from ..deploy.orphans import orphaned_services
    from ..deploy.secret_access import obsolete_access

    obsolete: list[Step] = []
    with contextlib.suppress(TargetAbsent):
        orphans = orphaned_services(lab, target)
        users = [*(f"services/{service.name}" for service in lab.services), *(step.name for step in orphans)]
        obsolete = [*orphans, *old_families(lab, target), *obsolete_provider(lab, target, users)]
        obsolete += obsolete_access(lab, target, users)
    return [*steps_for(lab, target, wait=wait), *obsolete]


def refuse_if_blocked(steps: Sequence[Step]) -> None:
    """Raises one LabError that lists every blocker, before anything is changed."""
    from ..deploy.executor import blockers

    found = blockers(steps)
    if len(found) == 1:
        raise found[0]
    if found:
        lines = [f"{one.what} ({one.where})" + (f": {one.why}" if one.why else "") for one in found]
        hints = dict.fromkeys(one.hint for one in found if one.hint)
        raise LabError(f"Fix {len(found)} problems first", why="\n".join(lines), hint="\n".join(hints))


def confirm(question: str, verb: str) -> bool:
    """Asks the user. Raises WrongUsage if nobody can answer."""
    try:
        return click.confirm(question, err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        click.echo(err=True)
        raise WrongUsage(
            f"{verb} needs a confirmation", why="stdin is closed", hint=f"ecsconsul {verb} --yes"
        ) from None


def document(lab: Lab, target: CommandTarget, changes: Sequence[Change], seconds: float) -> dict[str, Any]:
    """The JSON document of plan, up, scale and down (docs/cli.md)."""
    counts = dict.fromkeys(COUNTED.values(), 0)
    for change in changes:
        if change.op in COUNTED:
            counts[COUNTED[change.op]] += 1
    return {
        "lab": lab.name,
        "target": target.name,
        "seconds": round(seconds, 2),
        "changes": counts,
        "steps": [_step(change) for change in changes],
    }


def _step(change: Change) -> dict[str, Any]:
    found = {"name": change.name, "op": change.op, "detail": change.detail, "seconds": round(change.seconds, 2)}
    inside = {"changes": as_json(change.inside)} if change.inside else {}
    fields = {"fields": fields_as_json(change.fields)} if change.fields else {}
    return {**found, **inside, **fields}
