"""Draws a lab as SVG: its services with who looks up whom, and below its instances with their tasks. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from xml.sax.saxutils import escape, quoteattr

from ..config.lab import Lab
from ..observe.overview import Node, Overview, Row, ServiceRows
from ..observe.states import Service
from .lookups import Lookup

WIDTH, MARGIN = 960, 16
BOX_WIDTH, BOX_HEIGHT, BOX_GAP = 208, 64, 18
COLUMN = 312
CHIP_WIDTH, CHIP_HEIGHT, CHIP_GAP = 140, 40, 8
NODE_WIDTH, NODE_HEAD = 460, 30
DOT, DOT_GAP = 12, 4
# with more tasks, each is a small square; its text is in the page's table
MOST_CHIPS = 60
CHARACTERS = 21

STYLE = """\
svg{--ink:#1c2430;--soft:#525c6b;--line:#c4cbd5;--paper:#fff;--good:#1a6b43;--warn:#8a5a00;--bad:#b3202a;--new:#0b5cad}
@media (prefers-color-scheme:dark){svg{--ink:#e6ebf2;--soft:#a9b4c3;--line:#465163;--paper:#12171e;--good:#5fd39a;\
--warn:#f0b651;--bad:#ff8a8e;--new:#7cb8ff}}
.paper,.box{fill:var(--paper)}.box,.node{stroke:var(--line)}.node{fill:none}text{fill:var(--ink);\
font:13px system-ui,sans-serif}.soft{fill:var(--soft);font-size:12px}.name{font-weight:600}.edge{stroke:var(--soft);\
fill:none}.head{fill:var(--soft)}.good{fill:var(--good)}.warn{fill:var(--warn)}.bad{fill:var(--bad)}.new{fill:var(--new)}
"""
GOOD, WARN, BAD, NEW = "good", "warn", "bad", "new"
CLASSES = {
    "passing": GOOD, "running": GOOD, "warning": WARN, "stopping": WARN, "starting": NEW, "critical": BAD,
    "not in Consul": BAD, "ghost": BAD,
}  # fmt: skip


def planned(lab: Lab) -> Overview:
    """What a lab's config describes, without any task: for a lab that doesn't run."""
    services = (Service(one.name, one.count, 0, revision=lab.family(one.name)) for one in lab.services)
    return Overview(0.0, tuple(ServiceRows(one.name, one, ()) for one in services), (), (), "")


def draw(seen: Overview, lookups: Sequence[Lookup], lab: str, *, standalone: bool = False) -> str:
    """The picture as an SVG document; with `standalone`, it brings its own style for light and dark."""
    boxes, top = _place(seen.services, lookups)
    known = [one for one in lookups if one.caller in boxes and one.service in boxes]
    parts = [_edge(boxes[one.caller], boxes[one.service], one) for one in known]
    parts += [_service(one, boxes[one.name], lab, has_tasks=bool(seen.nodes)) for one in seen.services]
    nodes, height = _nodes(seen.nodes, top, lab)
    text = description(seen, lookups)
    style = f'<style>{STYLE}</style><rect class="paper" width="{WIDTH}" height="{height}"/>' if standalone else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        f' role="img" aria-label={quoteattr(text)}>{style}'
        '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        f'<path class="head" d="M0 0 8 4 0 8z"/></marker></defs>{"".join(parts)}{nodes}</svg>'
    )


def description(seen: Overview, lookups: Iterable[Lookup]) -> str:
    """The picture in a sentence or two, for those who don't see it."""
    services = [f"{one.name or 'standalone tasks'}: {count_text(one, bool(seen.nodes))}" for one in seen.services]
    asked = [f"{one.caller} looks up {one.service}" for one in lookups]
    nodes = f" on {_counted(len(seen.nodes), 'instance')}" if seen.nodes else ""
    return ". ".join([f"{_counted(len(services), 'service')}{nodes}", *services, *asked])


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def count_text(one: ServiceRows, has_tasks: bool) -> str:
    """How many tasks of a service run and pass, or are to."""
    if one.service is None:
        return f"{len(one.rows)} in Consul" if one.name else _counted(len(one.rows), "task")
    if not has_tasks:
        return _counted(one.desired, "task")
    return f"{one.running}/{one.desired} running, {one.passing} passing"


def depths(names: Sequence[str], lookups: Iterable[Lookup]) -> dict[str, int]:
    """Each service's column: one to the right of those that look it up. A circle ends where it would go round again."""
    edges = [(one.caller, one.service) for one in lookups if one.caller in names and one.service in names]
    found = dict.fromkeys(names, 0)
    for _ in names:
        for caller, service in edges:
            found[service] = max(found[service], min(found[caller] + 1, len(names) - 1))
    used = sorted(set(found.values()))
    return {name: used.index(depth) for name, depth in found.items()}


Place = tuple[int, int]


def _place(services: Sequence[ServiceRows], lookups: Sequence[Lookup]) -> tuple[dict[str, Place], int]:
    """Where each service's box is, and where the space below them begins."""
    linked = {name for one in lookups for name in (one.caller, one.service)}
    layered = [one.name for one in services if one.name in linked]
    rows: dict[int, int] = {}
    places: dict[str, Place] = {}
    columns = max((WIDTH - 2 * MARGIN + COLUMN - BOX_WIDTH) // COLUMN, 1)
    for name, depth in depths(layered, lookups).items():
        column = min(depth, columns - 1)
        places[name] = MARGIN + column * COLUMN, MARGIN + rows.get(column, 0) * (BOX_HEIGHT + BOX_GAP)
        rows[column] = rows.get(column, 0) + 1
    top = MARGIN + max(rows.values(), default=0) * (BOX_HEIGHT + BOX_GAP)
    each = (WIDTH - 2 * MARGIN + BOX_GAP) // (BOX_WIDTH + BOX_GAP)
    single = [one.name for one in services if one.name not in linked]
    for number, name in enumerate(single):
        row, column = divmod(number, each)
        places[name] = MARGIN + column * (BOX_WIDTH + BOX_GAP), top + row * (BOX_HEIGHT + BOX_GAP)
    return places, top + -(-len(single) // each) * (BOX_HEIGHT + BOX_GAP)


def _edge(start: Place, end: Place, one: Lookup) -> str:
    title = f"{one.caller} looks up {one.service}: {', '.join(one.because)}"
    y1, y2 = start[1] + BOX_HEIGHT // 2, end[1] + BOX_HEIGHT // 2
    if end[0] > start[0]:
        x1, x2 = start[0] + BOX_WIDTH, end[0] - 2
        bend = (x2 - x1) // 2
        path = f"M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}"
    else:
        # back, or within a column: around the right side
        x1, x2 = start[0] + BOX_WIDTH, end[0] + BOX_WIDTH + 2
        path = f"M{x1} {y1 + 10}C{x1 + 50} {y1 + 10} {x2 + 50} {y2 - 10} {x2} {y2 - 10}"
    return f'<path class="edge" d="{path}" marker-end="url(#head)"><title>{escape(title)}</title></path>'


def _service(one: ServiceRows, place: Place, lab: str, *, has_tasks: bool) -> str:
    x, y = place
    state = "" if not has_tasks else GOOD if one.is_well else BAD
    lines = [
        f'<rect class="box" x="{x}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6"/>',
        f'<rect class="{state or NEW}" x="{x}" y="{y}" width="5" height="{BOX_HEIGHT}" rx="2"/>',
        _text(x + 16, y + 20, one.name or "(standalone)", "name"),
        _text(x + 16, y + 38, count_text(one, has_tasks), "soft", 30),
    ]
    if one.rolling:
        part = one.rolling[0] / max(one.rolling[1], 1)
        text = f"rolling to {one.revision.removeprefix(f'{lab}-')}: {one.rolling[0]} of {one.rolling[1]}"
        lines.append(f'<rect class="new" x="{x + 5}" y="{y + BOX_HEIGHT - 4}" width="{part * 200:.0f}" height="4"/>')
        lines.append(_text(x + 16, y + 54, text, "soft", 30))
    elif has_tasks:
        lines.append(_text(x + 16, y + 54, one.revision.removeprefix(f"{lab}-"), "soft", 30))
    return f"<g>{''.join(lines)}</g>"


def _nodes(nodes: Sequence[Node], top: int, lab: str) -> tuple[str, int]:
    """The instances in two columns, and where they end."""
    as_dots = sum(len(node.rows) for node in nodes) > MOST_CHIPS
    ends, parts = [top, top], []
    for node in nodes:
        column = 0 if ends[0] <= ends[1] else 1
        drawn, height = _node(node, MARGIN + column * (NODE_WIDTH + 8), ends[column], lab, as_dots=as_dots)
        parts.append(drawn)
        ends[column] += height + BOX_GAP
    return "".join(parts), max(*ends, top) + MARGIN


def _node(node: Node, x: int, y: int, lab: str, *, as_dots: bool) -> tuple[str, int]:
    wide, high, gap = (DOT, DOT, DOT_GAP) if as_dots else (CHIP_WIDTH, CHIP_HEIGHT, CHIP_GAP)
    each = (NODE_WIDTH - 2 * CHIP_GAP) // (wide + gap)
    height = NODE_HEAD + max(-(-len(node.rows) // each), 1) * (high + gap) + 4
    status = node.member.status if node.member else "no member of Consul"
    parts = [
        f'<rect class="node" x="{x}" y="{y}" width="{NODE_WIDTH}" height="{height}" rx="6"/>',
        _text(x + 12, y + 20, node.name or "(no instance yet)", "name", 30),
        _text(x + 300, y + 20, "" if status == "alive" else status, "bad"),
    ]
    for number, (service, row) in enumerate(node.rows):
        down, right = divmod(number, each)
        at = x + CHIP_GAP + 4 + right * (wide + gap), y + NODE_HEAD + down * (high + gap)
        parts.append(_dot(row, service, at) if as_dots else _chip(row, service, at, lab))
    return f"<g>{''.join(parts)}</g>", height


def _chip(row: Row, service: str, at: Place, lab: str) -> str:
    x, y = at
    port = f":{row.endpoint.port}" if row.endpoint else row.health
    second = f"{port} {row.task.short[:4] if row.task else ''}"
    return (
        f'<g><title>{escape(_title(row, service))}</title><rect class="box" x="{x}" y="{y}" width="{CHIP_WIDTH}"'
        f' height="{CHIP_HEIGHT}" rx="5"/><circle class="{CLASSES.get(row.health, WARN)}" cx="{x + 12}" cy="{y + 14}"'
        f' r="5"/>{_text(x + 23, y + 18, service or "standalone", "", 17)}'
        f"{_text(x + 23, y + 33, second if row.health in ('passing', 'running') else row.health, 'soft', 18)}</g>"
    )


def _dot(row: Row, service: str, at: Place) -> str:
    return (
        f'<rect class="{CLASSES.get(row.health, WARN)}" x="{at[0]}" y="{at[1]}" width="{DOT}" height="{DOT}" rx="2">'
        f"<title>{escape(_title(row, service))}</title></rect>"
    )


def _title(row: Row, service: str) -> str:
    task = row.task.short if row.task else ""
    return " ".join(filter(None, (service, task, row.at, row.health, row.revision)))


def _text(x: int, y: int, text: str, kind: str, most: int = CHARACTERS) -> str:
    cut = text if len(text) <= most else f"{text[: most - 1]}…"
    return f'<text x="{x}" y="{y}"{f" class={quoteattr(kind)}" if kind else ""}>{escape(cut)}</text>'
