"""Prints what a plan or a diff found: a line for each step and each of its fields, which no terminal's width cuts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from .field_changes import Line, line_of
from .progress import MARKS, NAME_WIDTH, STYLES
from .resource_changes import in_words

Json = Mapping[str, Any]

ACTIONS = {
    "add": ("+", "green"), "modify": ("~", "yellow"), "roll": ("~", "bold red"), "replace": ("±", "bold red"),
    "remove": ("-", "red"),
}  # fmt: skip


def show_steps(console: Console, steps: Iterable[Json]) -> None:
    """Each step of a plan, and what changes inside it."""
    for step in steps:
        op = Text(f"{MARKS[step['op']]} {step['op']:8}", STYLES[step["op"]])
        detail = Text(step["detail"], "dim" if step["op"] == "keep" else "")
        _line(console, op, f"{step['name']:{NAME_WIDTH}} ", detail)
        for change in step.get("changes", ()):
            mark, style = ACTIONS[change["action"]]
            _line(console, Text(f"    {mark} {change['action']} {change['resource']}  ", style), in_words(change))
        for field in step.get("fields", ()):
            _field(console, line_of(step["name"], field))


def show_drift(console: Console, document: Json, with_options: Callable[[str], str]) -> None:
    """What others have changed, and what to do about it."""
    for step in document["steps"]:
        _drifted(console, step, with_options)
    changed = ", ".join(step["name"] for step in document["steps"] if step["config_changed"])
    if changed:
        plan = f"The config doesn't describe {changed}, edited since or deployed otherwise: `ecsconsul plan` shows how."
        _line(console, Text(with_options(plan), "dim"))
    number = len(document["drifted"])
    ends = {0: "Nobody else has changed anything.", 1: "Others have changed 1 resource."}
    _line(console, Text(ends.get(number, f"Others have changed {number} resources."), "bold"))


def _drifted(console: Console, step: Json, with_options: Callable[[str], str]) -> None:
    if step["drifted"]:
        _line(console, Text("~ " if step["fields"] else "- ", "yellow"), Text(step["name"], "bold"))
        for field in step["fields"]:
            _field(console, line_of(step["name"], field, "expected", "actual"))
        if not step["fields"]:
            _line(console, Text("    - missing", "red"))
        _line(console, Text(f"    {with_options(step['way_out'])}", "dim"))
    if step["untold"]:
        _line(console, Text(f"? {step['name']}  ", "yellow"), f"can't be compared: {step['untold']}")


def _field(console: Console, line: Line) -> None:
    mark, style = ACTIONS[line.action]
    _line(console, Text(f"    {mark} {line.name}  ", style), line.text)


def _line(console: Console, *parts: Text | str) -> None:
    line = Text.assemble(*parts)
    line.rstrip()
    console.print(line, soft_wrap=True)
