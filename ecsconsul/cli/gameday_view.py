"""Prints what a game day has found, and which faults there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from .status_tables import new_table

Json = Mapping[str, Any]
COLUMNS = ("fault", "service", "requests", "failed", "retried", "out of DNS", "as before", "p99")


def show_game(console: Console, document: Json) -> None:
    """What each fault did to the callers, and the totals."""
    table = new_table(*COLUMNS, whole=("fault",))
    for one in document["outcomes"]:
        failed = Text(str(one["failed"]), "bold red" if one["failed"] else "green")
        seconds = [_seconds(one[key]) for key in ("leave_seconds", "heal_seconds")]
        counts = (str(one["requests"]), failed, str(one["retried"]))
        table.add_row(Text(one["fault"], "bold"), one["service"], *counts, *seconds, f"{one['p99_ms'] or '–'} ms")
    console.print(table)
    for one in document["skipped"]:
        console.print(Text(f"not injected: {one['fault']}: {one['why']}", "dim"), soft_wrap=True)
    for error in document["errors"]:
        console.print(Text(error, "red"), soft_wrap=True)
    total = f"{document['requests']} requests in {document['seconds']} s, {document['failed']} failed"
    console.print(Text(total, "bold red" if document["failed"] else "bold green"))


def show_faults(console: Console, document: Json) -> None:
    """The faults that can be injected, and why others can't."""
    table = new_table("fault", "what", whole=("fault",))
    for one in document["faults"]:
        table.add_row(Text(one["fault"], "bold"), one["what"])
    for one in document["skipped"]:
        table.add_row(Text(one["fault"], "dim"), Text(f"not here: {one['why']}", "dim"))
    console.print(table)


def _seconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds:.2f} s"
