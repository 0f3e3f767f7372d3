"""What a lab in AWS costs, for `plan`: asked for while the steps are inspected, as JSON and as a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import LabError
from ..polling import in_background

if TYPE_CHECKING:
    from concurrent.futures import Future

    from rich.console import Console

    from ..targets.commands import CommandTarget, Estimate

Json = dict[str, Any]
WITHOUT = "An estimate, without taxes, traffic, logs, images, CPU credits, discounts and free tier."


def begin(target: CommandTarget) -> Callable[[], Json]:
    """Start to estimate; what is returned waits for the end, and returns what it adds to the document."""
    future = in_background(target.estimate)
    return lambda: _added(future)


def _added(future: Future[Estimate | None]) -> Json:
    try:
        estimate = future.result()
    except LabError as error:
        return {"estimate": {"error": str(error)}}
    return {"estimate": as_json(estimate)} if estimate else {}


def as_json(estimate: Estimate) -> Json:
    """The estimate in the document of `plan` (docs/cli.md)."""
    lines = [
        {
            "what": line.what, "count": line.fewest, "count_max": line.most, "price": line.price, "per": line.per,
            "hour": round(line.hour, 6), "hour_max": round(line.hour_max, 6),
        }
        for line in estimate.lines
    ]  # fmt: skip
    return {
        "currency": estimate.currency,
        "hour": round(estimate.hour, 4), "hour_max": round(estimate.hour_max, 4),
        "month": round(estimate.month, 2), "month_max": round(estimate.month_max, 2),
        "lines": lines, "unknown": list(estimate.unknown),
    }  # fmt: skip


def show(console: Console, found: Json) -> None:
    """Print the document's estimate, or in one line why there is none."""
    from rich.table import Table
    from rich.text import Text

    if "error" in found:
        console.print(Text(f"No estimate of the cost: {found['error']}", "yellow"))
        return
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in ("cost", "count", "price", f"{found['currency']} an hour"):
        table.add_column(column, justify="left" if column == "cost" else "right", overflow="fold")
    for line in found["lines"]:
        count = _range(f"{line['count']:g}", f"{line['count_max']:g}")
        price = f"{line['price']:g} a{'n' if line['per'] == 'hour' else ''} {line['per']}"
        table.add_row(line["what"], count, price, _range(f"{line['hour']:.4f}", f"{line['hour_max']:.4f}"))
    for what in found["unknown"]:
        table.add_row(what, "", "", Text("unknown", "yellow"))
    console.print(table)
    console.print(Text(_total(found), "bold"))
    console.print(Text(WITHOUT, "dim"))


def _total(found: Json) -> str:
    hour = _range(f"{found['hour']:.2f}", f"{found['hour_max']:.2f}")
    month = _range(f"{found['month']:.2f}", f"{found['month_max']:.2f}")
    more = ", and what is unknown above" if found["unknown"] else ""
    return f"{hour} {found['currency']} an hour, {month} {found['currency']} a month{more}"


def _range(fewest: str, most: str) -> str:
    return fewest if fewest == most else f"{fewest} to {most}"
