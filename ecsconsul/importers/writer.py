"""Writes a draft as a config: keys in the config's order, each with what is said about it as comments above it."""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import yaml

from .draft import Draft, LabDraft, Loss, ServiceDraft

_WIDTH = 110
_INDENT = "  "
_ORDER = (
    "path", "image", "entry_point", "command", "working_directory", "user", "port", "host_port", "ports", "tags",
    "check", "count", "schedule", "cpu", "memory", "essential", "environment", "env_file", "secrets", "volumes",
    "depends_on", "links", "health_check", "ulimits", "labels", "stop_timeout", "log", "task_role",
)  # fmt: skip


def written(lab: LabDraft) -> str:
    """The commented config.yaml."""
    lines = list(_comment(f"Imported from {lab.origin} by `ecsconsul import`. Comments say what is different here;"
                          " what begins with `lost` isn't in the config.", ""))  # fmt: skip
    lines += _comment("ecsconsul plan     shows what would change      ecsconsul up     applies the changes", "")
    lines += ["", f"lab: {lab.name}"]
    head = Draft("", {"instances": 2, **lab.head.keys}, lab.head.notes)
    lines += _comments(head, "", "")
    for key in ("instances", "local", "aws"):
        lines += _entry(head, key, head.keys[key], key, "") if key in head.keys else _comments(head, key, "")
    lines += [
        "",
        *_lost(lab.head.losses, "", several_files="," in lab.origin),
        *_comments(head, "services", ""),
        "services:",
    ]
    for service in lab.services:
        lines += [*_service(service, several_files="," in lab.origin), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _service(service: ServiceDraft, *, several_files: bool) -> Iterator[str]:
    yield f"{_INDENT}{service.name}:"
    yield from _container(service, _INDENT * 2, several_files=several_files)
    yield from _comments(service, "containers", _INDENT * 2)
    if service.containers:
        yield f"{_INDENT * 2}containers:"
    for one in service.containers:
        yield f"{_INDENT * 3}{one.name}:"
        yield from _container(one, _INDENT * 4, several_files=several_files)


def _container(draft: Draft, indent: str, *, several_files: bool) -> Iterator[str]:
    yield from _comments(draft, "", indent)
    for key in _ORDER:
        if key in draft.keys:
            yield from _entry(draft, key, draft.keys[key], key, indent)
        else:
            yield from _comments(draft, key, indent)
    prefix = f"services.{draft.source}." if isinstance(draft, ServiceDraft) else ""
    losses = [replace(one, path=one.path.removeprefix(prefix)) for one in draft.losses]
    yield from _lost(losses, indent, several_files=several_files)


def _lost(losses: list[Loss], indent: str, *, several_files: bool) -> Iterator[str]:
    """What was lost, by the reason why; the reasons in their order."""
    for why in dict.fromkeys(one.why for one in losses):
        fields = [_field(one, several_files=several_files) for one in losses if one.why == why]
        yield from _comment(f"lost: {'; '.join(fields)}: {why}", indent)


def _field(loss: Loss, *, several_files: bool) -> str:
    place = f"line {loss.line}" if loss.line else ""
    if several_files:
        place = f"{loss.file}:{loss.line}" if loss.line else loss.file
    return f"{loss.path}: {loss.value}" + (f" ({place})" if place else "")


def _comments(draft: Draft, place: str, indent: str) -> Iterator[str]:
    for text in draft.notes.get(place, ()):
        yield from _comment(text, indent)


def _comment(text: str, indent: str) -> list[str]:
    """A comment over as many lines as it needs; whatever is in the text, no line of it is anything else."""
    one_line = "".join(c if c.isprintable() else " " for c in text)
    lines = textwrap.wrap(one_line, _WIDTH - len(indent), break_long_words=False, break_on_hyphens=False)
    return [f"{indent}# {'  ' if index else ''}{line}" for index, line in enumerate(lines)]


def _entry(draft: Draft, key: str, value: Any, place: str, indent: str) -> Iterator[str]:
    if isinstance(value, dict) and value:
        yield from _comments(draft, place, indent)
        yield f"{indent}{_scalar(key)}:"
        for name, one in value.items():
            yield from _entry(draft, name, one, f"{place}.{name}", indent + _INDENT)
        return
    notes = draft.notes.get(place, [])
    is_list = isinstance(value, list)
    line = f"{indent}{_scalar(key)}: {_flow(value) if is_list or value == {} else _scalar(value)}"
    if is_list and value and (len(line) > _WIDTH or isinstance(value[0], dict)):
        yield from _comments(draft, place, indent)
        yield f"{indent}{_scalar(key)}:"
        yield from (f"{indent}{_INDENT}- {_flow(one)}" for one in value)
    elif len(notes) == 1 and notes[0].isprintable() and len(line) + len(notes[0]) < _WIDTH - 4:
        yield f"{line}  # {notes[0]}"
    else:
        yield from _comments(draft, place, indent)
        yield line


def _flow(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_scalar(key, flow=True)}: {_flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _scalar(value, flow=True)


@functools.lru_cache(maxsize=4096, typed=True)
def _scalar(value: Any, *, flow: bool = False) -> str:
    """A scalar that YAML reads as the same one; within a list or mapping on one line, `flow`."""
    style = '"' if isinstance(value, str) and not value.isprintable() else None
    given = [value] if flow else value
    text = yaml.safe_dump(given, default_flow_style=True, default_style=style, allow_unicode=True, width=float("inf"))
    return text.strip().removeprefix("[").removesuffix("]") if flow else text.strip().removesuffix("...").rstrip()
