"""Finishes a draft, so that the config's own checks pass: what they refuse is taken out and named as lost."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config.loader import ConfigMistakes, parse
from ..errors import LabError
from .document import from_values
from .draft import Draft, LabDraft, Loss
from .references import point_out_secrets, resolve
from .sizing import give_instances, give_memory
from .writer import written

_MOST_ROUNDS = 50
Warn = Callable[[str], object]


@dataclass(frozen=True)
class Imported:
    """A config's text, its services, and what was lost: each loss with its service, or an empty name."""

    text: str
    services: tuple[str, ...]
    losses: tuple[tuple[str, Loss], ...]


def settled(lab: LabDraft, folder: Path) -> Imported:
    """The finished config, for a file in `folder`. Raises LabError if there's nothing to import."""
    if not lab.services:
        raise LabError("There is no service to import", where=lab.origin, why="it has none", hint="name another file")
    for service in lab.services:
        for draft in service.all_containers:
            point_out_secrets(draft)
    give_memory(lab)
    give_instances(lab)
    resolve(lab)
    text = _passing(lab, folder)
    return Imported(text, tuple(one.name for one in lab.services), tuple(lab.losses))


def _passing(lab: LabDraft, folder: Path) -> str:
    for _ in range(_MOST_ROUNDS):
        if not lab.services:
            why = "; ".join(dict.fromkeys(loss.why for loss in lab.head.losses if loss.path.startswith("services.")))
            raise LabError("No service can be imported", where=lab.origin, why=why)
        text = written(lab)
        try:
            parse(text.encode(), "config.yaml", folder, sources=False)
        except ConfigMistakes as error:
            dropped = [_drop(lab, one.path, one.message) for one in error.mistakes]
            if not any(dropped):
                raise
        else:
            return text
    raise LabError(
        "The config can't be made valid", where=lab.origin, why=f"after {_MOST_ROUNDS} rounds of corrections"
    )


def _drop(lab: LabDraft, path: str, message: str) -> bool:
    """Takes what the config's checks refuse out of the draft, and says that it's lost."""
    if _drop_whole(lab, path, message):
        return True
    found = _owner(lab, path)
    if found is None:
        return False
    draft, rest = found
    return _remove(draft, draft.keys, rest, rest, message, lab.origin)


def _drop_whole(lab: LabDraft, path: str, message: str) -> bool:
    """Takes out a service or a container that has neither an image nor a folder, which nothing can mend."""
    for service in list(lab.services):
        if path == f"services.{service.name}" and not service.keys.keys() & {"path", "image"}:
            lab.services.remove(service)
            lab.head.losses += [Loss(f"services.{service.source}", "", message, lab.origin), *service.losses]
            return True
        for one in service.containers:
            if path == f"services.{service.name}.containers.{one.name}":
                service.containers.remove(one)
                service.losses += [Loss(one.name, "", message, lab.origin), *one.losses]
                return True
    return False


def _owner(lab: LabDraft, path: str) -> tuple[Draft, str] | None:
    """The container that a path of the config is in, and the rest of the path."""
    for service in lab.services:
        for draft in reversed(service.all_containers):
            prefix = f"services.{service.name}." + ("" if draft is service else f"containers.{draft.name}.")
            if path.startswith(prefix):
                return draft, path.removeprefix(prefix)
    return (lab.head, path) if path and not path.startswith("services") else None


def _remove(draft: Draft, values: Any, rest: str, path: str, message: str, origin: str) -> bool:
    """Removes the value at a path as deep as it goes, so that its neighbours stay."""
    key, after = _next(values, rest)
    if key is None:
        return False
    inner = values[key]
    if after and isinstance(inner, dict | list) and _remove(draft, inner, after, path, message, origin):
        if not inner:
            del values[key]
        return True
    node = from_values(inner, origin, path)
    draft.lose(node, f"the config's checks refuse it: {message}")
    del values[key]
    return True


def _next(values: Any, rest: str) -> tuple[Any, str]:
    """The key or index that a path begins with, the longest that is there, and what follows."""
    if isinstance(values, list):
        match = re.match(r"\[([0-9]+)\]\.?", rest)
        return (int(match[1]), rest[match.end() :]) if match and int(match[1]) < len(values) else (None, "")
    fitting = [key for key in values if rest == key or rest.startswith((f"{key}.", f"{key}["))]
    if not fitting:
        return None, ""
    longest = max(fitting, key=len)
    return longest, rest[len(longest) :].removeprefix(".")
