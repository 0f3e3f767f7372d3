"""A lookup's records are joined with the tasks behind them."""

from __future__ import annotations

from ecsconsul.consul.dns import Answer, Record
from ecsconsul.dashboard.journey import document
from tests.observe.samples import NODE, seen


def record(address: str | None, port: int) -> Record:
    data = f"1 1 {port} x.addr.dc1.consul."
    return Record("weather.service.consul.", 0, "SRV", data, 1, 1, port, "x.addr.dc1.consul.", address)


def test_records_lead_to_their_tasks() -> None:
    records = record("127.0.9.2", 32768), record(None, 1)
    answer = Answer("weather.service.consul.", "SRV", "NOERROR", "127.0.9.1:8600", "udp", 1.234, records, ())
    found = document(answer, seen())
    assert (found["server"], found["transport"], found["milliseconds"]) == ("127.0.9.1:8600", "udp", 1.2)
    known, unknown = found["records"]
    assert (known["task"], known["node"], known["status"]) == ("3f2a0000", NODE, "passing")
    assert (unknown["task"], unknown["address"], unknown["node"]) == ("", "", "")
