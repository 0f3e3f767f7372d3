"""Shows on stderr what the steps do: one line for each that has ended, and a tree of those that run."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.text import Text

from ..deploy.step import Change, SubResource
from .printable import printable

STYLES = {"create": "green", "update": "yellow", "wait": "cyan", "keep": "dim", "destroy": "red"}
MARKS = {"create": "+", "update": "~", "wait": "…", "keep": "=", "destroy": "-"}
PARTS = {"runs": ("…", "cyan"), "done": ("✓", "green"), "failed": ("!", "bold red")}
# of steps in lists
NAME_WIDTH = 24
# steps show their duration after this many seconds
SHOW_SECONDS = 1.0


class Progress:
    """Shows progress: a line for each finished step, and on a terminal a redrawn tree of the running ones."""

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
        # if several steps fail, only one of them gets an error block at the end
        why = printable(str(error)).partition("\n")[0]
        self._console.print(Text.assemble((f"  ! {'failed':8}{'':9}{step:{NAME_WIDTH}} ", "bold red"), why))

    def still_running(self, step: str, text: str) -> None:
        """Shows what continues without this command."""
        self._line("…", "goes on", step, printable(text))

    def _line(self, mark: str, what: str, step: str, text: str) -> None:
        self._console.print(Text(f"  {mark} {what:8}{'':9}{step:{NAME_WIDTH}} {text}"))

    def running(self) -> Group:
        """The running steps, each with its parts that are running or have failed."""
        with self._lock:
            lines = [line for step, running in self._running.items() for line in running.lines(step)]
        return Group(*lines)


@dataclass
class _Running:
    """A running step: its last message, and the last state of each of its parts with its time."""

    op: str
    text: str = ""
    begun: float = field(default_factory=time.monotonic)
    parts: dict[str, tuple[SubResource, float]] = field(default_factory=dict)

    def lines(self, step: str) -> list[Text]:
        """The step and its parts as a tree."""
        parts = sorted(self.parts.values(), key=lambda part: part[1])
        shown = [(part, _elapsed(since)) for part, since in parts if part.state != "done"]
        done = [f"{len(parts) - len(shown)} done"] if len(shown) < len(parts) else []
        text = ", ".join(filter(None, [self.text, *done]))
        head = Text.assemble((f"  … {self.op:8}", STYLES[self.op]), _elapsed(self.begun), f"{step:{NAME_WIDTH}} ")
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


def _elapsed(since: float) -> str:
    """The time since then, as wide as the duration of finished steps; blank during the first second."""
    seconds = time.monotonic() - since
    return f"{seconds:5.0f} s  " if seconds >= SHOW_SECONDS else f"{'':9}"
