"""Prints log lines: for people, each with where it comes from, or as JSON."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from ..deploy.task_ends import ServiceTasks, TaskEnd
from ..targets.base import LogLine
from .log_stream import Ended, Item
from .moments import iso
from .printable import in_colour, printable

if TYPE_CHECKING:
    from .output import View

# of the services' names in a terminal, if there are several
COLOURS = ("cyan", "yellow", "green", "magenta", "blue", "bright_cyan", "bright_yellow", "bright_green")


class LogPrinter:
    """Prints the lines of these services. With several, each line begins with its service."""

    def __init__(
        self,
        services: Sequence[str],
        view: View | None,
        *,
        colourless: bool,
        when: str = "yet",
    ) -> None:
        """`view` prints documents; None for text. `when` is where no lines were found, for a message."""
        self._view = view
        self._when = when
        self._services = services
        self._colour = not colourless and sys.stdout.isatty()
        self._width = max(map(len, services)) if len(services) > 1 else 0

    def show(self, lines: Mapping[str, Sequence[LogLine]], tasks: Mapping[str, ServiceTasks]) -> None:
        """Print what there is now. `tasks` has the services of which ECS knows the tasks."""
        ends = {name: _ends(lines[name], tasks.get(name)) for name in self._services}
        if self._view:
            self._view.result(self._document(lines, ends))
            return
        for name in self._services:
            self._print_service(name, lines[name], ends[name])

    def stream(self, item: Item) -> None:
        """Print a new line, or the end of a task."""
        service, news = item
        if isinstance(news, Ended):
            if self._view:
                self._view.document("ended", _as_end(service, news))
            else:
                self._print_end(service, news.task, news.end)
        elif self._view:
            self._view.document("line", _as_line(service, news))
        else:
            self._print_line(service, news, ended=False)

    def _document(
        self, lines: Mapping[str, Sequence[LogLine]], ends: Mapping[str, Mapping[str, TaskEnd]]
    ) -> dict[str, Any]:
        return {
            "service": self._services[0] if len(self._services) == 1 else None,
            "services": list(self._services),
            "lines": [_as_line(name, line) for name in self._services for line in lines[name]],
            "ended": [_as_end(name, Ended(*one)) for name in self._services for one in ends[name].items()],
        }

    def _print_service(self, service: str, lines: Sequence[LogLine], ends: Mapping[str, TaskEnd]) -> None:
        last = {line.task: number for number, line in enumerate(lines)}
        for number, line in enumerate(lines):
            self._print_line(service, line, ended=line.task in ends)
            if last[line.task] == number and line.task in ends:
                self._print_end(service, line.task, ends[line.task])
        if not lines:
            click.echo(f"No task of {service} has logged anything {self._when}.", err=True)

    def _print_line(self, service: str, line: LogLine, *, ended: bool) -> None:
        text = in_colour(line.text) if self._colour else printable(line.text)
        self._echo(service, line.task, text, ended=ended)

    def _print_end(self, service: str, task: str, end: TaskEnd) -> None:
        at = f" at {datetime.fromtimestamp(end.at):%H:%M:%S}" if end.at else ""
        text = f"-- this task has ended{at}{': ' if end.why else ''}{printable(end.why)}"
        self._echo(service, task, self._styled(text, fg="red"), ended=True)

    def _echo(self, service: str, task: str, text: str, *, ended: bool) -> None:
        colour = COLOURS[self._services.index(service) % len(COLOURS)]
        name = self._styled(f"{service:{self._width}} ", fg=colour) if self._width else ""
        click.echo(f"{name}{self._styled(task, dim=True, strikethrough=ended)} {text}", color=self._colour)

    def _styled(self, text: str, **style: Any) -> str:
        return click.style(text, **style) if self._colour else text


def _ends(lines: Sequence[LogLine], tasks: ServiceTasks | None) -> dict[str, TaskEnd]:
    """How those tasks ended that have."""
    known = {} if tasks is None else {line.task: tasks.end_of(line.task) for line in lines}
    return {task: end for task, end in known.items() if end}


def _as_line(service: str, line: LogLine) -> dict[str, Any]:
    time = None if line.at is None else iso(line.at)
    return {"service": service, "task": line.task, "text": printable(line.text), "time": time}


def _as_end(service: str, ended: Ended) -> dict[str, Any]:
    time = None if ended.end.at is None else iso(ended.end.at)
    return {"service": service, "task": ended.task, "text": "", "ended": ended.end.why or "ended", "time": time}
