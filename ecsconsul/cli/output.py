"""Prints results on stdout, as tables or JSON, and progress on stderr."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from . import shipped
from .difference_view import show_drift, show_steps
from .estimate import show
from .gameday_view import show_faults, show_game
from .json_lines import JsonLines, emit
from .printable import printable
from .progress import MARKS, NAME_WIDTH, STYLES, Progress
from .status_tables import HEALTH, members_table, new_table, services_table, standalone_table

Json = dict[str, Any]

# CI logs are wider than the 80 columns that rich assumes for a pipe
PIPE_WIDTH = 140
PLANNED = {"created": "to create", "updated": "to update", "destroyed": "to destroy"}
CHANGED = {name: name for name in PLANNED}
STATES = {"ok": "green", "warning": "yellow", "unknown": "yellow", "failed": "bold red"}


def _table_or_json(method: Callable[[View, Json], None]) -> Callable[[View, Json], None]:
    """Prints the document as it is with --output json, and otherwise as a table without control characters."""

    @wraps(method)
    def shown(self: View, document: Json) -> None:
        if self.as_json:
            self.result(document)
        else:
            with self.paged():
                method(self, printable(document))

    return shown


class View:
    """Writes to both streams. With JSON, stdout gets only the document."""

    def __init__(
        self, *, as_json: bool, as_lines: bool = False, no_color: bool, with_options: Callable[[str], str] = str
    ) -> None:
        """`as_lines` makes progress JSON too; `with_options` adds this call's options to the commands in a text."""
        self.as_json = as_json
        self._as_lines = as_lines
        self._with_options = with_options
        width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
        # the texts come from services and servers, so nothing in them is markup
        plain: Json = {"no_color": no_color or None, "highlight": False, "markup": False, "emoji": False}
        self._out = Console(width=width, **plain)
        self._err = Console(stderr=True, soft_wrap=True, **plain)

    def result(self, document: Json) -> None:
        """Prints a JSON document."""
        if self._as_lines:
            emit("result", result=document)
            return
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        # raises BrokenPipeError here instead of when the interpreter exits
        sys.stdout.flush()

    def document(self, event: str, document: Json) -> None:
        """Prints one JSON document of many, on a line; with `as_lines` it is an event."""
        if self._as_lines:
            emit(event, **document)
            return
        sys.stdout.write(json.dumps(document) + "\n")
        sys.stdout.flush()

    @contextmanager
    def paged(self) -> Iterator[None]:
        """Shows what is printed meanwhile in a pager if a terminal is too short for it."""
        if not self._out.is_terminal:
            yield
            return
        with self._out.capture() as capture:
            yield
        text = capture.get()
        if text.count("\n") < self._out.height:
            click.echo(text, nl=False, color=True)
            return
        # as git does: keep the colours, stay on the screen
        os.environ.setdefault("LESS", "-FRX")
        click.echo_via_pager(text, color=True)

    @contextmanager
    def progress(self) -> Iterator[Progress | JsonLines]:
        """An observer that shows progress on stderr, or as lines of JSON on stdout."""
        if self._as_lines:
            yield JsonLines()
            return
        live = self._err.is_terminal and sys.stdout.isatty()
        progress = Progress(self._err, live=live)
        if not live:
            yield progress
            return
        with Live(get_renderable=progress.running, console=self._err, refresh_per_second=12, transient=True):
            yield progress

    @_table_or_json
    def plan(self, document: Json) -> None:
        """Shows what `up` would do to each step."""
        show_steps(self._out, document["steps"])
        self._out.print(Text(_summary(document["changes"], PLANNED), "bold"))
        if "estimate" in document:
            show(self._out, document["estimate"])

    def preview(self, document: Json) -> None:
        """Shows on stderr what `up` is about to change, before it asks."""
        show_steps(self._err, [step for step in printable(document)["steps"] if step["op"] != "keep"])

    @_table_or_json
    def diff(self, document: Json) -> None:
        """Shows what others have changed, and what to do about it."""
        show_drift(self._out, document, self._with_options)

    @_table_or_json
    def doctor(self, document: Json) -> None:
        """Shows each check, and how to fix those that failed."""
        table = new_table("", "check", "result")
        for finding in document["findings"]:
            result = Text(finding["detail"])
            if finding["hint"]:
                result.append(f"\n{self._with_options(finding['hint'])}", "dim")
            table.add_row(Text(finding["state"], STATES[finding["state"]]), finding["name"], result)
        self._out.print(table)
        end = "`up` is ready to run." if document["well"] else "`up` can't run until you fix what failed."
        self._out.print(Text(end, "bold"))

    @_table_or_json
    def up(self, document: Json) -> None:
        """Sums up `up`, and shows the portal's URL and the next commands."""
        self._out.print(_took(document))
        self._notes(document)
        changes = document["changes"]
        if not document.get("waited", True) and (changes["created"] or changes["updated"]):
            self._hint("ECS goes on with the tasks. `ecsconsul status` shows how far it is.")
        if document["portal"]:
            self._out.print(
                Text.assemble("Portal  ", (document["portal"], f"bold cyan underline link {document['portal']}"))
            )
        name = next((s["name"].partition("/")[2] for s in document["steps"] if s["name"].startswith("services/")), "")
        verbs = ("status", *([f"dig {name}"] if name else []), "down")
        commands = [self._with_options(f"ecsconsul {verb}").replace("ecsconsul", _program(), 1) for verb in verbs]
        self._out.print(Text("Next    " + " | ".join(commands), "dim"))

    @_table_or_json
    def scale(self, document: Json) -> None:
        """Shows the new counts."""
        for step in document["steps"]:
            self._out.print(Text.assemble(f"{step['name']}  ", (step["detail"], "bold")))
        end = "The config is unchanged: the next `ecsconsul up` restores its counts."
        self._out.print(Text(self._with_options(end), "dim"))

    @_table_or_json
    def deploy(self, document: Json) -> None:
        """Shows what runs now, and what the config says of it."""
        self._out.print(shipped.deployed(document))
        self._hint(shipped.after_deploy(document))

    @_table_or_json
    def rollback(self, document: Json) -> None:
        """Shows what runs now, and that the config is newer."""
        self._out.print(shipped.rolled_back(document))
        self._hint(shipped.after_rollback(document))

    @_table_or_json
    def history(self, document: Json) -> None:
        """Shows a service's revisions, the newest first."""
        table = new_table("revision", "image", "registered", "by", "stable", "running", whole=("revision",))
        for one in document["revisions"]:
            table.add_row(*shipped.revision_cells(one))
        self._out.print(table if document["revisions"] else f"{document['service']} has no revisions.")

    def _hint(self, text: str) -> None:
        if text:
            self._out.print(Text(self._with_options(text), "dim"))

    @_table_or_json
    def rotate(self, document: Json) -> None:
        """Says that the old secrets are worth nothing now, and who must ask for the new ones."""
        self._out.print(f"{_took(document)}; the old tokens and the old gossip key are revoked.")
        self._out.print(Text(self._with_options("Shells with the old token need `ecsconsul env` again."), "dim"))

    @_table_or_json
    def snapshot_save(self, document: Json) -> None:
        """Says where the snapshot is."""
        self._out.print(Text(document["file"], "bold"), soft_wrap=True)
        self._out.print(Text("It holds all of Consul's tokens: keep it as secret as they are.", "dim"))

    @_table_or_json
    def snapshot_list(self, document: Json) -> None:
        """Shows the snapshots."""
        if not document["snapshots"]:
            self._out.print(f"There are no snapshots in {document['where']}.", soft_wrap=True)
            return
        table = new_table("snapshot", "time", "bytes", "consul", "index", "of", whole=("snapshot",))
        lives = {True: "this lab", False: "an earlier life", None: ""}
        for one in document["snapshots"]:
            size, index = f"{one['bytes']}", f"{one['index']}"
            table.add_row(one["name"], one["time"], size, one["consul"], index, lives[one["current"]])
        self._out.print(table)
        self._out.print(Text(document["where"], "dim"), soft_wrap=True)

    @_table_or_json
    def snapshot_restore(self, document: Json) -> None:
        """Says what was restored."""
        self._out.print(f"{_took(document)}; Consul's data are those of {document['file']}.", soft_wrap=True)

    @_table_or_json
    def gameday(self, document: Json) -> None:
        """Shows what each fault did to the callers."""
        show_game(self._out, document)

    @_table_or_json
    def faults(self, document: Json) -> None:
        """Shows the faults that can be injected, and why others can't."""
        show_faults(self._out, document)

    @_table_or_json
    def down(self, document: Json) -> None:
        """Sums up `down`, and shows what is left, or what it keeps on purpose."""
        self._out.print(_took(document))
        if document["left"]:
            self._out.print(Text("Not removed:", "bold red"))
            self._out.print(*(f"  {line}" for line in document["left"]), sep="\n", soft_wrap=True)
        elif document["kept"]:
            self._out.print("Removed everything except:")
            self._out.print(*(Text(f"  {line}", "dim") for line in document["kept"]), sep="\n", soft_wrap=True)
        else:
            self._out.print("Removed everything, then checked that nothing is left.")

    @_table_or_json
    def status(self, document: Json) -> None:
        """Shows the lab, Consul's members, and each instance of each service."""
        self._out.print(_heading(document))
        for alarm in document.get("alarms") or ():
            since = f" since {alarm['since']}" if alarm["since"] else ""
            text = Text.assemble("  ", (f"! alarm {alarm['name']}", "bold red"), (f"  {alarm['text']}{since}", "dim"))
            self._out.print(text)
        pending = [step for step in document["steps"] if step["op"] != "keep"]
        for step in pending:
            op = Text(f"{MARKS[step['op']]} {step['op']}", STYLES[step["op"]])
            self._out.print(Text.assemble("  ", op, f" {step['name']:{NAME_WIDTH}} ", (step["detail"], "dim")))
        if document["consul"]["members"]:
            self._out.print()
            self._out.print(members_table(document["consul"]))
        self._out.print()
        self._out.print(services_table(document["services"], answered="error" not in document["consul"]))
        if document.get("tasks"):
            self._out.print()
            self._out.print(standalone_table(document["tasks"]))
        self._notes(document)
        for failed in document.get("failed_boots", ()):
            instance = f"{failed['role'] or 'instance'} {failed['instance']} ({failed['state']})"
            self._out.print(Text.assemble(("The boot failed of ", "red"), instance, (f": {failed['reason']}", "dim")))
        if document["others"]:
            others = document["others"]
            shown = ", ".join(others[:10]) + (f" and {len(others) - 10} more" if len(others) > 10 else "")
            self._out.print(Text(f"Also in Consul: {shown}", "dim"))

    @_table_or_json
    def top(self, document: Json) -> None:
        """Shows what each container uses; CPU in units, of which 1,024 are one vCPU, and memory in MiB."""
        table = new_table("service", "task", "container", "node", "cpu units", "memory MiB", whole=("node",))
        for one in document["tasks"]:
            cells = [one["service"] or "-", one["task"][:8], one["container"], one["node"]]
            cpu = _share(one["cpu"], one["cpu_limit"], hard=False)
            table.add_row(*cells, cpu, _share(one["memory"], one["memory_limit"], hard=True))
        self._out.print(table)
        if not document["tasks"]:
            self._out.print("No task is running.")

    @_table_or_json
    def past_status(self, document: Json) -> None:
        """Shows the endpoints of a past moment; the critical ones weren't in the answers of Consul's DNS."""
        self._out.print(Text.assemble((document["lab"], "bold"), f" ({document['target']}) at {document['at']}"))
        if "error" in document["consul"]:
            self._out.print(Text(f"Consul did not answer then: {document['consul']['error']}", "bold red"))
        table = new_table("service", "answered", "endpoint", "node", "health", whole=("endpoint", "node"))
        for service in document["services"]:
            lead = [service["name"], f"{service['answered']}/{len(service['instances'])}"]
            rows: list[tuple[str | Text, ...]] = [
                (f"{one['address']}:{one['port']}", one["node"], Text(one["status"], HEALTH[one["status"]]))
                for one in service["instances"]
            ]
            for row in rows or [()]:
                table.add_row(*lead, *row)
                lead = ["", ""]
        self._out.print(table)

    def _notes(self, document: Json) -> None:
        for note in document.get("notes", ()):
            text = Text.assemble(("Note ", "yellow"), f"{note['service']}, task {note['task']}: {note['text']}")
            self._out.print(text, soft_wrap=True)


def _share(used: float | None, limit: int | None, *, hard: bool) -> Text:
    """What is used of a limit. CPU units are shares and not a hard limit, so more than they allow is no alarm."""
    if used is None:
        return Text("gone", "dim")
    if not limit:
        return Text(f"{used:g}")
    part = used / limit
    return Text(f"{used:g} of {limit} ({part:.0%})", "red" if hard and part > 0.9 else "yellow" if part > 0.9 else "")


def _heading(document: Json) -> Text:
    healthy = document["healthy"]
    state = ("healthy", "bold green") if healthy else ("not healthy", "bold red")
    lines = Text.assemble((document["lab"], "bold"), f" ({document['target']})  ", state)
    runtime = document.get("runtime")
    lines_by_name = {
        "portal": document["portal"],
        "tasks": runtime and f"{'containers' if runtime == 'docker' else runtime} ({document['runtime_why']})",
        "aws": document["aws"].get("error")
        or (document["aws"]["endpoint"] and f"{document['aws']['endpoint']} ({document['aws']['region']})"),
        "ami": "; ".join(f"{one['detail']} ({', '.join(one['used_by'])})" for one in document["aws"].get("amis", ())),
        "consul": document["consul"]["http"] and f"{document['consul']['http']}, DNS {document['consul']['dns']}",
        "error": document["consul"].get("error"),
    }
    for name, text in lines_by_name.items():
        if text:
            lines.append_text(Text.assemble((f"\n  {name:7}", "dim"), str(text)))
    return lines


def _program() -> str:
    """How the user calls this program: by its name, or by its path if it isn't on PATH."""
    called = Path(sys.argv[0])
    if called.name != "ecsconsul" or shutil.which("ecsconsul"):
        return "ecsconsul"
    return min(str(called), os.path.relpath(called), key=len)


def _took(document: Json) -> Text:
    return Text(f"{_summary(document['changes'], CHANGED)} in {document['seconds']:.1f} s", "bold")


def _summary(changes: Json, verbs: Mapping[str, str]) -> str:
    counts = [f"{changes[name]} {verb}" for name, verb in verbs.items() if changes[name]]
    if not counts:
        return "No changes"
    return ", ".join([*counts, *([f"{changes['kept']} unchanged"] if changes["kept"] else [])])
