"""The lines of `watch`'s screen, from what is observed and what is selected. Pure: drawing is for watch_screen.py."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import msgspec

from ..consul.catalog import Member
from ..observe.overview import Overview, Row, ServiceRows
from ..observe.states import Event
from .printable import printable

# a text and its style, as rich names styles
Cell = tuple[str, str]
Line = tuple[Cell, ...]

HEALTH = {
    "passing": "green", "running": "green", "warning": "yellow", "starting": "cyan", "stopping": "yellow",
    "critical": "red", "not in Consul": "red", "ghost": "red",
}  # fmt: skip
EVENTS = {
    "instance-entered": "green", "instance-left": "yellow", "task-stopped": "yellow", "source-lost": "red",
    "source-back": "green", "leader-changed": "magenta",
}  # fmt: skip
KEYS = "q quit  ↑↓ select  + - scale  r roll back  l logs  e shell  ? help"
HELP = """\
q, Ctrl-C     quit
↑ ↓, k j      select a service or a task
PgUp PgDn     a page up or down
g G           the first and the last row
+ -           one task more or less for the selected service; asks first
r             roll the selected service back to the revision before; asks first
l             the logs of the selected service, until Ctrl-C
e             a shell in the selected task, or in the service's newest one
?             this help; any key closes it""".splitlines()
# title, members and the table's header above; a rule and the keys below
FRAME = 5
FEWEST_EVENTS = 3
GAP = 1
# on the narrowest screen, which has 80 columns
COLUMNS = {"SERVICE / TASK": 17, "ENDPOINT": 20, "HEALTH": 13, "AGE": 4, "REVISION": 12, "NODE": 8}
# what a wider screen adds to them, at most
MORE = {"SERVICE / TASK": 20, "ENDPOINT": 8, "HEALTH": 4, "AGE": 2, "REVISION": 24, "NODE": 12}
MINUTE, HOUR, DAY = 60, 3600, 86400


class Item(msgspec.Struct, frozen=True):
    """One line of the table: a service, or a row of it."""

    service: ServiceRows
    row: Row | None = None

    @property
    def key(self) -> str:
        """What the selection keeps from one snapshot to the next."""
        return f"{self.service.name}/{self.row.key}" if self.row else self.service.name


class Table(msgspec.Struct, frozen=True):
    """All lines of the table, whatever the screen's size; made once for each snapshot."""

    items: tuple[Item, ...]
    index: dict[str, int]

    def position(self, key: str, fallback: int = 0) -> int:
        """Where the selected line is; if it has gone, the one that is there now."""
        return self.index.get(key, max(min(fallback, len(self.items) - 1), 0))


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What is on the screen: the lab, the selected line and the first visible one, and what the last line says."""

    lab: str
    target: str
    overview: Overview
    table: Table
    events: Sequence[Event] = ()
    selected: int = 0
    top: int = 0
    message: str = ""
    help: bool = False


def table(overview: Overview) -> Table:
    """The lines of the table: each service, followed by its rows."""
    found: list[Item] = []
    for service in overview.services:
        found.append(Item(service))
        found += [Item(service, row) for row in service.rows]
    return Table(tuple(found), {item.key: number for number, item in enumerate(found)})


def split(height: int, rows: int) -> tuple[int, int]:
    """How many lines the table and the events get. The table takes no more than it has, the events the rest."""
    room = max(height - FRAME, 2)
    least = min(max(FEWEST_EVENTS, room // 4), room - 1)
    for_table = max(min(rows, room - least), 1)
    return for_table, room - for_table


def scrolled(top: int, selected: int, rows: int, height: int) -> int:
    """The first visible line, such that the selected one is visible and no space is left empty."""
    top = min(max(top, selected - height + 1), selected)
    return max(min(top, rows - height), 0)


def screen_lines(shown: Shown, width: int, height: int, now: float) -> list[Line]:
    """The lines of a screen of that size, exactly `height` of them; what is too wide is cut when it's drawn."""
    for_table, for_events = split(height, len(shown.table.items))
    visible = shown.table.items[shown.top : shown.top + for_table]
    widths = column_widths(width)
    lines: list[Line] = [_title(shown, now), _members(shown.overview, width), _header(widths)]
    if shown.help:
        lines += [((text, ""),) for text in HELP]
    else:
        for number, item in enumerate(visible, shown.top):
            line = _item(item, widths, now, shown.lab)
            lines.append(_reversed(line, width) if number == shown.selected else line)
    body = 3 + for_table + for_events + 1
    lines += [()] * (3 + for_table - len(lines))
    if not shown.help:
        lines.append(_rule(shown, for_table, width))
        lines += [_event(one) for one in shown.events[-for_events:]]
    lines = lines[:body] + [()] * (body - len(lines))
    lines.append(((shown.message, "bold yellow"),) if shown.message else ((KEYS, "dim"),))
    return (lines[: height - 1] + lines[-1:])[-height:] if len(lines) > height else lines


def column_widths(width: int) -> tuple[int, ...]:
    """The widths of the columns, which share what the screen has more than they need."""
    spare = max(width - sum(COLUMNS.values()) - GAP * (len(COLUMNS) - 1), 0)
    part = min(spare / sum(MORE.values()), 1.0)
    return tuple(least + int(MORE[name] * part) for name, least in COLUMNS.items())


def age(since: float | None, now: float) -> str:
    """How long ago, in the largest unit.

    >>> [age(0.0, now) for now in (5, 125, 7200, 200000)]
    ['5s', '2m', '2h', '2d']
    """
    if not since:
        return ""
    return _age(max(now - since, 0.0))


def _age(seconds: float) -> str:
    for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "m")):
        if seconds >= unit:
            return f"{seconds / unit:.0f}{name}" if seconds / unit >= 10 else f"{int(seconds // unit)}{name}"
    return f"{int(seconds)}s"


def clock(moment: float) -> str:
    """A moment's local time to the second."""
    return time.strftime("%H:%M:%S", time.localtime(moment))


def _title(shown: Shown, now: float) -> Line:
    services = [one for one in shown.overview.services if one.service]
    desired, running = sum(one.desired for one in services), sum(one.running for one in services)
    passing = sum(one.passing for one in services)
    style = "green" if all(one.is_well for one in shown.overview.services) else "yellow"
    counts = f"{running}/{desired} running, {passing} passing"
    lost = [(f"  {name} does not answer: {printable(why)}", "bold red") for name, why in shown.overview.lost]
    return ((shown.lab, "bold"), (f" ({shown.target})  ", ""), (counts, style), (f"  {clock(now)}", "dim"), *lost)


def _members(overview: Overview, width: int) -> Line:
    """Consul's leader, and its members, of which those that aren't alive come first."""
    clients = [node.member for node in overview.nodes if node.member]
    members = [*overview.servers, *clients]
    if not members:
        return (("Consul  no members are known", "dim"),)
    bad = [one for one in members if one.status != "alive"]
    leader = overview.leading
    line: list[Cell] = [("Consul  ", "dim"), (f"leader {leader}" if leader else "no leader", "" if leader else "red")]
    line.append((f"  {len(members) - len(bad)} of {len(members)} members alive", "yellow" if bad else "green"))
    room = width - sum(len(text) for text, _ in line)
    return (*line, *_names(bad or members, room))


def _names(members: Iterable[Member], room: int) -> Iterable[Cell]:
    for one in members:
        text = f"  {one.name} {one.role}" + ("" if one.status == "alive" else f" {one.status}")
        room -= len(text)
        if room < 4:
            yield "  …", "dim"
            return
        yield text, "dim" if one.status == "alive" else "red"


def _header(widths: Sequence[int]) -> Line:
    return _cells([(name, "dim") for name in COLUMNS], widths)


def _item(item: Item, widths: Sequence[int], now: float, lab: str) -> Line:
    return _row(item.row, widths, now, lab) if item.row else _service(item.service, widths, lab)


def _service(one: ServiceRows, widths: Sequence[int], lab: str) -> Line:
    name = (one.name or "(standalone)", "bold")
    if one.service is None:
        return _cells([name, (f"{len(one.rows)} in Consul" if one.name else "", "dim")], widths)
    style = "" if one.is_well else "yellow"
    running, passing = f"{one.running}/{one.desired} running", f"{one.passing} passing"
    rolling = f"{one.rolling[0]}/{one.rolling[1]} new" if one.rolling else ""
    revision = one.revision.removeprefix(f"{lab}-")
    return _cells([name, (running, style), (passing, style), ("", ""), (revision, ""), (rolling, "cyan")], widths)


def _row(row: Row, widths: Sequence[int], now: float, lab: str) -> Line:
    task = (f"  {row.task.short if row.task else '-'}", "")
    health = (row.health, HEALTH.get(row.health, ""))
    revision = row.revision.removeprefix(f"{lab}-")
    return _cells(
        [task, (row.at or "-", ""), health, (age(row.since, now), ""), (revision, ""), (row.node, "")], widths
    )


def _cells(cells: Sequence[Cell], widths: Sequence[int]) -> Line:
    """The cells in their columns. The end of an ID, an address or a revision says more than its beginning."""
    pairs = zip(cells, widths, strict=False)
    return tuple((_cut(text, width, from_end=number > 0), style) for number, ((text, style), width) in enumerate(pairs))


def _cut(text: str, width: int, *, from_end: bool) -> str:
    """The text and the gap after it, in exactly that many columns."""
    text = printable(text)
    if len(text) > width:
        text = f"…{text[len(text) - width + 1 :]}" if from_end else f"{text[: width - 1]}…"
    return text.ljust(width + GAP)


def _reversed(line: Line, width: int) -> Line:
    """The selected line, with one background up to the end of the screen."""
    used = sum(len(text) for text, _ in line)
    return (*((text, f"{style} reverse".strip()) for text, style in line), (" " * max(width - used, 0), "reverse"))


def _rule(shown: Shown, for_table: int, width: int) -> Line:
    rows = len(shown.table.items)
    text = (
        f"── events ── rows {shown.top + 1} to {shown.top + for_table} of {rows} " if rows > for_table else "── events "
    )
    return ((text + "─" * max(width - len(text), 0), "dim"),)


def _event(event: Event) -> Line:
    when = f"{clock(event.time)}.{int(event.time % 1 * 1000):03d} "
    return ((when, "dim"), (printable(event.text).replace("\n", " "), EVENTS.get(event.kind, "")))
