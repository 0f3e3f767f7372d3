"""Writes a lab as a Mermaid flowchart, which GitHub and others draw in a README. Pure.

https://mermaid.js.org/syntax/flowchart.html
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..observe.overview import Overview
from .drawing import count_text
from .lookups import Lookup


def mermaid(seen: Overview, lookups: Sequence[Lookup]) -> str:
    """The flowchart: services, dotted arrows for lookups, and a box for each instance with its tasks."""
    return "\n".join(["flowchart LR", *_services(seen, lookups), *_nodes(seen)]) + "\n"


def _services(seen: Overview, lookups: Sequence[Lookup]) -> Iterator[str]:
    ids = {one.name: f"s{number}" for number, one in enumerate(seen.services)}
    for one in seen.services:
        yield f"  {ids[one.name]}({_quoted(one.name or 'standalone', count_text(one, bool(seen.nodes)))})"
    for lookup in lookups:
        if lookup.caller in ids and lookup.service in ids:
            yield f"  {ids[lookup.caller]} -. looks up .-> {ids[lookup.service]}"


def _nodes(seen: Overview) -> Iterator[str]:
    ids = {one.name: f"s{number}" for number, one in enumerate(seen.services)}
    for number, node in enumerate(seen.nodes):
        yield f"  subgraph n{number}[{_quoted(node.name or 'no instance yet')}]"
        for index, (service, row) in enumerate(node.rows):
            name = f"{service or 'standalone'} {row.task.short if row.task else ''}".strip()
            yield f"    n{number}t{index}[{_quoted(name, row.at or row.health)}]"
        yield "  end"
        for index, (service, _) in enumerate(node.rows):
            yield f"  {ids[service]} --> n{number}t{index}"


def _quoted(*lines: str) -> str:
    """A label; what Mermaid or HTML would read is written as Mermaid's entity codes."""
    escaped = ("".join(f"#{ord(c)};" if c in '"#<>&`' else c for c in line) for line in lines)
    return '"' + "<br>".join(escaped) + '"'
