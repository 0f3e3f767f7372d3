"""What the user sees: progress on stderr, results on stdout, as tables or as one JSON document."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..deploy.step import Change, SubResource
from .printable import printable

Json = dict[str, Any]

STYLES = {"create": "green", "update": "yellow", "wait": "cyan", "keep": "dim", "destroy": "red"}
MARKS = {"create": "+", "update": "~", "wait": "…", "keep": "=", "destroy": "-"}
PARTS = {"runs": ("…", "cyan"), "done": ("✓", "green"), "failed": ("!", "bold red")}
HEALTH = {"passing": "green", "alive": "green", "warning": "yellow", "leaving": "yellow", "critical": "red"}
# CI logs are wider than the 80 columns that rich assumes of a pipe
PIPE_WIDTH = 140
# of a step, in lists
NAME_WIDTH = 24
# of what a failing check saw
OUTPUT_WIDTH = 100
COUNTED = ("running", "passing")
STATES = {"ok": "green", "warning": "yellow", "unknown": "yellow", "failed": "bold red"}
# a step that takes longer than this many seconds shows how long
WORTH_TELLING = 1.0


def _table_or_json(method: Callable[[View, Json], None]) -> Callable[[View, Json], None]:
    """JSON goes out to the letter; a table shows no control characters."""

    @wraps(method)
    def shown(self: View, document: Json) -> None:
        if self.as_json:
            self.result(document)
        else:
            method(self, printable(document))

    return shown


class View:
    """Both streams. JSON is for programs: then nothing but the document goes to stdout."""

    def __init__(self, *, as_json: bool, no_color: bool, again: Callable[[str], str] = str) -> None:
        """`again` gives commands that a text tells to type the options of this call."""
        self.as_json = as_json
        self._again = again
        width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
        # what is shown is text of others: nothing in it is markup
        plain: Json = {"no_color": no_color or None, "highlight": False, "markup": False, "emoji": False}
        self._out = Console(width=width, **plain)
        self._err = Console(stderr=True, soft_wrap=True, **plain)

    def result(self, document: Json) -> None:
        """The one JSON document."""
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        # a reader that has gone is told of here, and not at the interpreter's end
        sys.stdout.flush()

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Someone who watches a walk, and tells it on stderr for as long as the context lasts."""
        live = self._err.is_terminal and sys.stdout.isatty()
        progress = Progress(self._err, live=live)
        if not live:
            yield progress
            return
        with Live(get_renderable=progress.running, console=self._err, refresh_per_second=12, transient=True):
            yield progress

    @_table_or_json
    def plan(self, document: Json) -> None:
        """The steps and what `up` would do to each."""
        table = _table("", "step", "found")
        for step in document["steps"]:
            style = STYLES[step["op"]]
            table.add_row(Text(f"{MARKS[step['op']]} {step['op']}", style), step["name"], step["detail"])
        self._out.print(table)
        self._out.print(Text(_sum(document["changes"], would=True), "bold"))

    @_table_or_json
    def doctor(self, document: Json) -> None:
        """What was looked at before anything is made, and under each thing that is not well how to mend it."""
        table = _table("", "what", "found")
        for finding in document["findings"]:
            told = Text(finding["detail"])
            if finding["hint"]:
                told.append(f"\n{self._again(finding['hint'])}", "dim")
            table.add_row(Text(finding["state"], STATES[finding["state"]]), finding["name"], told)
        self._out.print(table)
        end = "Nothing is in the way of `up`." if document["well"] else "`up` would refuse to begin."
        self._out.print(Text(end, "bold"))

    @_table_or_json
    def up(self, document: Json) -> None:
        """The end of `up`: what was done, and where the portal is."""
        self._out.print(Text(f"{_sum(document['changes'])} in {document['seconds']:.1f} s", "bold"))
        if document["portal"]:
            self._out.print(Text.assemble("Portal  ", (document["portal"], "bold cyan underline")))
        name = next((s["name"].partition("/")[2] for s in document["steps"] if s["name"].startswith("services/")), "")
        verbs = ("status", *([f"dig {name}"] if name else []), "down")
        commands = [self._again(f"ecsconsul {verb}").replace("ecsconsul", _program(), 1) for verb in verbs]
        self._out.print(Text("Next    " + " | ".join(commands), "dim"))

    @_table_or_json
    def scale(self, document: Json) -> None:
        """The end of `scale`."""
        for step in document["steps"]:
            self._out.print(Text.assemble(f"{step['name']}  ", (step["detail"], "bold")))
        end = "The config is as it was: the next `ecsconsul up` goes back to its counts."
        self._out.print(Text(self._again(end), "dim"))

    @_table_or_json
    def down(self, document: Json) -> None:
        """The end of `down`: what went, what stays on purpose, and what should not be there any more."""
        self._out.print(Text(f"{_sum(document['changes'])} in {document['seconds']:.1f} s", "bold"))
        if document["left"]:
            self._out.print(Text("Still there:", "bold red"))
            self._out.print(*(f"  {line}" for line in document["left"]), sep="\n", soft_wrap=True)
        else:
            self._out.print("Nothing is left but" if document["kept"] else "Nothing is left.")
        if document["kept"] and not document["left"]:
            self._out.print(*(Text(f"  {line}", "dim") for line in document["kept"]), sep="\n", soft_wrap=True)

    @_table_or_json
    def status(self, document: Json) -> None:
        """The lab, Consul's members, and every instance of every service."""
        self._out.print(_heading(document))
        pending = [step for step in document["steps"] if step["op"] != "keep"]
        for step in pending:
            op = Text(f"{MARKS[step['op']]} {step['op']}", STYLES[step["op"]])
            self._out.print(Text.assemble("  ", op, f" {step['name']:{NAME_WIDTH}} ", (step["detail"], "dim")))
        if document["consul"]["members"]:
            self._out.print()
            self._out.print(_members(document["consul"]))
        self._out.print()
        self._out.print(_services(document["services"], heard="error" not in document["consul"]))
        if document["others"]:
            others = document["others"]
            shown = ", ".join(others[:10]) + (f" and {len(others) - 10} more" if len(others) > 10 else "")
            self._out.print(Text(f"Also in Consul: {shown}", "dim"))


class Progress:
    """Watches a walk. Lines that stay are printed as they come; what runs is a tree that a terminal redraws."""

    def __init__(self, console: Console, *, live: bool) -> None:
        self._console = console
        self._live = live
        self._lock = threading.Lock()
        self._running: dict[str, _Running] = {}

    def started(self, step: str, op: str) -> None:
        with self._lock:
            self._running[step] = _Running(op)

    def progress(self, step: str, text: str) -> None:
        text = printable(text)
        with self._lock:
            running = self._running.setdefault(step, _Running("wait"))
            running.text = text
        if not self._live:
            self._line("…", running.op, step, text)

    def subresource(self, step: str, part: SubResource) -> None:
        part = SubResource(printable(part.name), part.state, printable(part.detail))
        with self._lock:
            running = self._running.setdefault(step, _Running("wait"))
            running.parts[part.name] = (part, time.monotonic())
        if not self._live:
            self._line(PARTS[part.state][0], running.op, step, f"{part.name:{NAME_WIDTH}} {part.detail}")

    def finished(self, change: Change) -> None:
        with self._lock:
            self._running.pop(change.name, None)
        if change.op == "keep":
            return
        mark = (f"  {MARKS[change.op]} {change.op:8}", STYLES[change.op])
        took = (f"{change.seconds:5.1f} s  ", "dim")
        self._console.print(Text.assemble(mark, took, f"{change.name:{NAME_WIDTH}} {printable(change.detail)}"))

    def failed(self, step: str, error: BaseException) -> None:
        with self._lock:
            self._running.pop(step, None)
        # where several fail at once, only one has a block at the end
        why = printable(str(error)).partition("\n")[0]
        self._console.print(Text.assemble((f"  ! {'failed':8}{'':9}{step:{NAME_WIDTH}} ", "bold red"), why))

    def still_running(self, step: str, text: str) -> None:
        """What goes on without us stays to be read."""
        self._line("…", "goes on", step, printable(text))

    def _line(self, mark: str, what: str, step: str, text: str) -> None:
        self._console.print(Text(f"  {mark} {what:8}{'':9}{step:{NAME_WIDTH}} {text}"))

    def running(self) -> Group:
        """What runs now, a line each, and beneath it those of its parts that run or have failed."""
        with self._lock:
            lines = [line for step, running in self._running.items() for line in running.lines(step)]
        return Group(*lines)


@dataclass
class _Running:
    """A step that runs: what it does, what it said last, and what was last heard of each of its parts, and when."""

    op: str
    text: str = ""
    begun: float = field(default_factory=time.monotonic)
    parts: dict[str, tuple[SubResource, float]] = field(default_factory=dict)

    def lines(self, step: str) -> list[Text]:
        """As a tree."""
        parts = sorted(self.parts.values(), key=lambda told: told[1])
        shown = [(part, _for(since)) for part, since in parts if part.state != "done"]
        done = [f"{len(parts) - len(shown)} done"] if len(shown) < len(parts) else []
        text = ", ".join(filter(None, [self.text, *done]))
        head = Text.assemble((f"  … {self.op:8}", STYLES[self.op]), _for(self.begun), f"{step:{NAME_WIDTH}} ")
        head.append(text, "dim")
        return [head, *(_branch(part, took, last=(part, took) == shown[-1]) for part, took in shown)]


def _branch(part: SubResource, took: str, *, last: bool) -> Text:
    mark, style = PARTS[part.state]
    return Text.assemble(
        f"{'':12}",
        (took, "dim"),
        "└ " if last else "├ ",
        (mark, style),
        f" {part.name:{NAME_WIDTH}} ",
        (part.detail, "dim"),
    )


def _for(since: float) -> str:
    """How long ago that was, as wide as what a step took; blank for what has hardly begun."""
    seconds = time.monotonic() - since
    return f"{seconds:5.0f} s  " if seconds >= WORTH_TELLING else f"{'':9}"


def _heading(document: Json) -> Text:
    healthy = document["healthy"]
    state = ("healthy", "bold green") if healthy else ("not healthy", "bold red")
    lines = Text.assemble((document["lab"], "bold"), f" ({document['target']})  ", state)
    runtime = document.get("runtime")
    facts = {
        "portal": document["portal"],
        "tasks": runtime and f"{'containers' if runtime == 'docker' else runtime} ({document['runtime_why']})",
        "aws": document["aws"].get("error")
        or (document["aws"]["endpoint"] and f"{document['aws']['endpoint']} ({document['aws']['region']})"),
        "consul": document["consul"]["http"] and f"{document['consul']['http']}, DNS {document['consul']['dns']}",
        "error": document["consul"].get("error"),
    }
    for name, text in facts.items():
        if text:
            lines.append_text(Text.assemble((f"\n  {name:7}", "dim"), str(text)))
    return lines


def _members(consul: Json) -> Table:
    table = _table("consul member", "address", "role", "status")
    for member in sorted(consul["members"], key=lambda m: (m["role"] != "server", m["name"])):
        leads = member["role"] == "server" and consul["leader"].split(":")[0] == member["address"]
        role = f"{member['role']}, leader" if leads and _is_only_leader(consul) else member["role"]
        status = Text(member["status"], HEALTH.get(member["status"], "red"))
        table.add_row(member["name"], member["address"], role, status)
    return table


def _is_only_leader(consul: Json) -> bool:
    """Servers that share an address cannot be told apart by the leader's address."""
    leader = consul["leader"].split(":")[0]
    return [m["role"] == "server" and m["address"] == leader for m in consul["members"]].count(True) == 1


def _services(services: list[Json], *, heard: bool) -> Table:
    """With Consul not `heard`, what it knows is not known."""
    table = _table("service", "running", "passing", "endpoint", "node", "health", whole=("endpoint", "node"))
    for service in services:
        well = service["desired"] == service["running"] == service["passing"]
        counts = [Text(f"{service[key]}/{service['desired']}", "" if well else "yellow") for key in COUNTED]
        instances = service["instances"] or [None]
        for number, instance in enumerate(instances):
            first = [Text(service["name"], "bold"), *counts] if number == 0 else ["", "", ""]
            is_ghost = bool(instance and instance["id"] in (service.get("ghosts") or ()))
            table.add_row(*first, *(_instance_cells(instance, is_ghost) if instance else _no_instance(service, heard)))
        for task in service.get("missing") or ():
            table.add_row("", "", "", "", "", Text(f"task {task[:8]} runs, and Consul does not know it", "red"))
    return table


def _no_instance(service: Json, heard: bool) -> list[Text | str]:
    if not heard:
        return [Text("Consul does not say", "dim"), "", ""]
    return [Text("none in Consul", "red") if service["desired"] else Text("none wanted", "dim"), "", ""]


def _instance_cells(instance: Json, is_ghost: bool) -> list[Text | str]:
    health = Text(instance["status"], HEALTH.get(instance["status"], "red"))
    if is_ghost:
        health.append("  a ghost: no task stands behind it", "red")
    outputs = [check["output"].strip() for check in instance["checks"] if check["status"] != "passing"]
    failing = next((output for output in outputs if output), "")
    if failing:
        health.append(f"  {failing.splitlines()[0][:OUTPUT_WIDTH]}", "dim")
    return [f"{instance['address']}:{instance['port']}", instance["node"], health]


def _table(*columns: str, whole: tuple[str, ...] = ()) -> Table:
    """Where it gets narrow, columns are folded but for those that must stay `whole`, to be copied."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in whole)
    return table


def _program() -> str:
    """What the user types to call this program: its name, or its path where it is not on PATH."""
    called = Path(sys.argv[0])
    if called.name != "ecsconsul" or shutil.which("ecsconsul"):
        return "ecsconsul"
    return min(str(called), os.path.relpath(called), key=len)


def _sum(changes: Json, *, would: bool = False) -> str:
    names = [name for name in ("created", "updated", "destroyed") if changes[name]]
    if not names:
        return "Nothing to change" if would else "Nothing changed"
    said = ", ".join(f"{changes[name]} {'to be ' if would else ''}{name}" for name in names)
    return f"{said}, {changes['kept']} kept" if changes["kept"] else said
