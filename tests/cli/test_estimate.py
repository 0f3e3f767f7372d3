"""The cost in the output of `plan`: as JSON and as a table."""

from __future__ import annotations

from typing import Any

import pytest

from ecsconsul.cli.estimate import as_json, begin
from ecsconsul.errors import LabError
from ecsconsul.targets.commands import CostLine, Estimate
from tests.cli.test_output import Shown, changed

LINES = (
    CostLine("Consul servers, t3.small", 1, 1, "hour", 0.0208),
    CostLine("ECS instances, t3.small", 2, 6, "hour", 0.0208),
    CostLine("gp3 volumes, GiB", 90, 210, "month", 0.08),
)


class Priced:
    """A target with an estimate or an error."""

    def __init__(self, found: Any) -> None:
        self._found = found

    def estimate(self) -> Any:
        if isinstance(self._found, Exception):
            raise self._found
        return self._found


def added(found: Any) -> dict[str, Any]:
    return begin(Priced(found))()  # type: ignore[arg-type]


def test_json_has_both_ends_and_what_is_unknown() -> None:
    assert as_json(Estimate("USD", LINES[1:], ("public IPv4 addresses",))) == {
        "currency": "USD",
        "hour": 0.0515,
        "hour_max": 0.1478,
        "month": 37.57,
        "month_max": 107.9,
        "lines": [
            {
                "what": "ECS instances, t3.small", "count": 2, "count_max": 6, "price": 0.0208, "per": "hour",
                "hour": 0.0416, "hour_max": 0.1248,
            },
            {
                "what": "gp3 volumes, GiB", "count": 90, "count_max": 210, "price": 0.08, "per": "month",
                "hour": 0.009863, "hour_max": 0.023014,
            },
        ],
        "unknown": ["public IPv4 addresses"],
    }  # fmt: skip


def test_document_has_an_estimate_an_error_or_neither() -> None:
    assert added(Estimate("USD", LINES, ()))["estimate"]["currency"] == "USD"
    assert added(LabError("AWS's price list can't be read", why="no")) == {
        "estimate": {"error": "AWS's price list can't be read: no"}
    }
    assert added(None) == {}
    with pytest.raises(ZeroDivisionError):
        added(ZeroDivisionError())


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shown:
    return Shown(capsys, monkeypatch)


@pytest.mark.parametrize("columns", [80, 140])
def test_table_shows_lines_total_and_what_it_leaves_out(shown: Shown, columns: int) -> None:
    estimate = as_json(Estimate("USD", LINES, ("public IPv4 addresses",)))
    text = shown("plan", changed(("cluster", "create", ""), estimate=estimate), columns)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "ECS instances, t3.small 2 to 6 0.0208 an hour 0.0416 to 0.1248" in lines
    assert "gp3 volumes, GiB 90 to 210 0.08 a month 0.0099 to 0.0230" in lines
    assert "public IPv4 addresses unknown" in lines
    assert "0.07 to 0.17 USD an hour, 52.75 to 123.09 USD a month, and what is unknown above" in lines
    assert "without taxes, traffic" in text


def test_missing_estimate_is_one_line(shown: Shown) -> None:
    text = shown("plan", changed(("cluster", "create", ""), estimate={"error": "AWS's price list can't be read: no"}))
    assert text.splitlines()[-1].rstrip() == "No estimate of the cost: AWS's price list can't be read: no"


def test_plan_of_a_local_lab_shows_no_cost(shown: Shown) -> None:
    assert "cost" not in shown("plan", changed(("cluster", "create", "")))
