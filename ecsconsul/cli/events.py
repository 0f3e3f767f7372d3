"""`ecsconsul events`: shows what has happened in the lab, and what happens, in ECS, its containers and Consul."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .common import common_options, find_service, settings
from .complete import services
from .moments import DURATION_OR_TIME, Moment
from .printable import printable

if TYPE_CHECKING:
    from ..config.lab import Lab
    from ..observe.observation import Observation
    from ..observe.states import Event
    from ..targets.commands import CommandTarget

COMPLETE_SECONDS = 30.0
# two observers see one event at times that differ by less
OVERLAP_SECONDS = 5.0
# while following, only Ctrl-C ends the command
TURN_SECONDS = 1.0


@click.command("events")
@click.option("-f", "--follow", is_flag=True, help="Keep printing events as they happen.")
@click.option(
    "--since", type=Moment(), default="1h", show_default=True, metavar=DURATION_OR_TIME, help="Recorded since then."
)
@click.option("--service", metavar="SERVICE", shell_complete=services, help="Only events of this service.")
@common_options
def command(follow: bool, since: float, service: str | None) -> None:
    """Show the changes of ECS's tasks, their containers and Consul's catalog that were recorded; --follow goes on."""
    from ..observe.journal import read

    lab = settings().lab(sources=False)
    target = settings().open_target(lab)
    _check_known(service, lab, target)
    show = Printer(service)
    if follow:
        print_live(target, since, show)
    else:
        found = (record.event for record in read(target.journals()))
        show.recorded(event for event in found if event and event.time >= since)


def _check_known(service: str | None, lab: Lab, target: CommandTarget) -> None:
    """Refuse a service that neither the config nor the record knows. Raises WrongUsage."""
    from ..observe.journal import read

    if service is None or lab.service(service):
        return
    if not any(record.event and record.event.service == service for record in read(target.journals())):
        find_service(lab, service)


def print_live(target: CommandTarget, since: float, show: Printer) -> None:
    """Print the events that were recorded since then, and each that happens, until Ctrl-C."""
    with observation(target) as seen:
        seen.wait_until_complete(COMPLETE_SECONDS)
        known = Known(target.journals(), since)
        show.each(known.recorded)
        for source, why in seen.snapshot().lost.items():
            click.echo(f"{source} does not answer: {why}", err=True)
        while True:
            show.each(filter(known.is_news, seen.events(TURN_SECONDS)))


def observation(target: CommandTarget) -> Observation:
    """Observes the lab; where it doesn't record its events itself, this is recorded."""
    from ..observe.journal import Journal
    from ..observe.observation import Observation

    journal = None if target.records_itself else Journal(target.journals()[-1])
    if journal and not journal.open():
        # another command of this machine records already
        journal = None
    return Observation(target, journal=journal)


class Known:
    """The events that were recorded since a moment, up to now; from now on they come live."""

    def __init__(self, folders: Sequence[Path], since: float) -> None:
        from ..observe.journal import read

        self._since, self._begun = since, time.time()
        records = (record for record in read(folders) if record.at <= self._begun)
        self.recorded = [record.event for record in records if record.event and record.event.time >= since]
        # one that came just now may have been recorded and seen
        last = self._begun - OVERLAP_SECONDS
        self._known = {_identity(event) for event in self.recorded if event.time > last}

    def is_news(self, event: Event) -> bool:
        """Whether a live event isn't among the recorded ones."""
        late = event.time > self._begun + OVERLAP_SECONDS
        return event.time > self._since and (late or _identity(event) not in self._known)


def _identity(event: Event) -> tuple[str, ...]:
    """What two observers of one event agree on."""
    text = event.text if event.kind == "service-event" else ""
    return event.kind, event.service, event.task, event.instance, event.node, text


class Printer:
    """Prints events for humans or, with --output json, as documents."""

    def __init__(self, service: str | None) -> None:
        self._service = service
        self._view = settings().view() if settings().as_json else None

    def recorded(self, events: Iterable[Event]) -> None:
        """All of them in one document, or the table."""
        found = [event for event in events if self._wants(event)]
        if self._view:
            self._view.result({"events": [document(event) for event in found]})
            return
        self.each(found)
        if not found:
            click.echo("No events are recorded for that time. `ecsconsul events --follow` shows new ones.", err=True)

    def each(self, events: Iterable[Event]) -> None:
        """One line for each, since the stream doesn't end."""
        for event in filter(self._wants, events):
            if self._view:
                self._view.document("change", document(event))
            else:
                click.echo(line(event), color=False if settings().colourless else None)

    def _wants(self, event: Event) -> bool:
        return self._service in (None, event.service)


COLOURS = {
    "instance-entered": "green", "instance-left": "yellow", "task-stopped": "yellow", "source-lost": "red",
    "source-back": "green", "leader-changed": "magenta", "member-joined": "magenta", "member-left": "magenta",
    "member-changed": "magenta",
}  # fmt: skip


def line(event: Event) -> str:
    """An event as a line: its local time, and what happened."""
    when = time.strftime("%H:%M:%S", time.localtime(event.time)) + f".{int(event.time % 1 * 1000):03d}"
    return f"{click.style(when, dim=True)} {click.style(printable(event.text), fg=COLOURS.get(event.kind))}"


def document(event: Event) -> dict[str, object]:
    """An event as a JSON document (docs/cli.md)."""
    from .moments import iso

    endpoint = event.endpoint
    return {
        "time": iso(event.time),
        "kind": event.kind,
        "service": event.service,
        "task": event.task,
        "instance": event.instance,
        "node": event.node,
        "text": event.text,
        "endpoint": endpoint and {"address": endpoint.address, "port": endpoint.port, "status": endpoint.status},
    }
