"""Formats a DNS answer as BIND's dig prints it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..consul.dns import Answer, Record

# start of dig's columns (dns_master_style_debug in BIND's lib/dns/masterdump.c); tabs are 8 wide
TTL, CLASS, TYPE, DATA = 24, 32, 40, 48
TAB = 8


def short_text(answer: Answer) -> str:
    """The data of each answer, one per line, as `dig +short` prints it."""
    return "\n".join(record.data for record in answer.answers)


def dig_text(answer: Answer) -> str:
    """The question, answer and additional section as dig prints them, followed by the server and query time.

    Like dig, it leaves out empty sections. A status other than NOERROR comes first.
    """
    return "\n".join(_lines(answer))


def _lines(answer: Answer) -> Iterator[str]:
    if answer.rcode != "NOERROR":
        yield f";; status: {answer.rcode}"
        yield ""
    yield ";; QUESTION SECTION:"
    yield ";" + _columns(answer.name, (CLASS, "IN"), (TYPE, answer.type))
    yield ""
    yield from _section("ANSWER", answer.answers)
    yield from _section("ADDITIONAL", answer.additional)
    host, _, port = answer.server.rpartition(":")
    yield f";; Query time: {answer.milliseconds:.1f} msec"
    yield f";; SERVER: {host.strip('[]')}#{port} ({answer.transport.upper()})"


def _section(title: str, records: tuple[Record, ...]) -> Iterator[str]:
    if not records:
        return
    yield f";; {title} SECTION:"
    for record in records:
        ttl, kind, data = (TTL, str(record.ttl)), (TYPE, record.type), (DATA, record.data)
        yield _columns(record.name, ttl, (CLASS, "IN"), kind, data)
    yield ""


def _columns(first: str, *rest: tuple[int, str]) -> str:
    """The fields on one line, each at its column, or after one space if the previous field is too long."""
    line, at = first, len(first)
    for column, text in rest:
        start = max(column, at + 1)
        line += _gap(at, start) + text
        at = start + len(text)
    return line


def _gap(at: int, to: int) -> str:
    """White space from one column to another, with tabs where possible."""
    tabs = to // TAB - at // TAB
    return "\t" * tabs + " " * (to % TAB if tabs else to - at)
