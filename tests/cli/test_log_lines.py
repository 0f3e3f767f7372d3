"""Log lines as people and programs see them."""

from __future__ import annotations

import json
import os
import pty
import sys
from datetime import datetime
from typing import Any

import pytest

from ecsconsul.cli.log_lines import LogPrinter
from ecsconsul.cli.log_stream import Ended
from ecsconsul.cli.moments import iso
from ecsconsul.cli.output import View
from ecsconsul.deploy.task_ends import ServiceTasks, TaskEnd
from ecsconsul.targets.base import LogLine

RED = "\x1b[31m"
AT = datetime(2026, 11, 29, 18, 13, 54).timestamp()
WEB = [LogLine("11111111", f"{RED}no", AT), LogLine("11111111", "bye"), LogLine("22222222", "hello")]
LINES: dict[str, list[LogLine]] = {"web": WEB, "db": []}
TASKS = {"web": ServiceTasks(frozenset({"22222222"}), {"11111111": TaskEnd(AT, "it exited")})}


def printer(*services: str, as_json: bool = False, colourless: bool = False) -> LogPrinter:
    view = View(as_json=as_json, no_color=colourless)
    return LogPrinter(services, view if as_json else None, colourless=colourless)


def test_ended_task_is_marked_after_its_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    printer("web").show(LINES, TASKS)
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "11111111 no",
        "11111111 bye",
        "11111111 -- this task has ended at 18:13:54: it exited",
        "22222222 hello",
    ]
    assert printed.err == ""


def test_nothing_is_marked_if_the_tasks_are_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    printer("web").show(LINES, {})
    assert "ended" not in capsys.readouterr().out


def test_several_services_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    printer("web", "db").show(LINES, {})
    printed = capsys.readouterr()
    assert printed.out.splitlines()[0] == "web 11111111 no"
    assert printed.err == "No task of db has logged anything yet.\n"
    shown = printer("web", "db")
    shown.stream(("db", LogLine("33333333", "up")))
    shown.stream(("db", Ended("33333333", TaskEnd(None, ""))))
    assert capsys.readouterr().out == "db  33333333 up\ndb  33333333 -- this task has ended\n"


def test_documents_as_events(capsys: pytest.CaptureFixture[str]) -> None:
    """With --output jsonl; a line without a known time says so."""
    view = View(as_json=True, as_lines=True, no_color=True)
    shown = LogPrinter(["web"], view, colourless=True)
    shown.stream(("web", LogLine("33333333", "up")))
    shown.stream(("web", Ended("33333333", TaskEnd(AT, "it exited"))))
    line, end = (json.loads(one) for one in capsys.readouterr().out.splitlines())
    assert line == {"event": "line", "time": None, "service": "web", "task": "33333333", "text": "up"}
    assert (end["event"], end["ended"], end["time"]) == ("ended", "it exited", iso(AT))


def test_documents(capsys: pytest.CaptureFixture[str]) -> None:
    printer("web", as_json=True).show(LINES, TASKS)
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (found["service"], found["services"]) == ("web", ["web"])
    first, second, _ = found["lines"]
    assert (first["service"], first["task"], first["text"], second["time"]) == ("web", "11111111", "no", None)
    assert datetime.fromisoformat(first["time"]).timestamp() == AT
    assert [(one["task"], one["ended"]) for one in found["ended"]] == [("11111111", "it exited")]
    printer("web", "db", as_json=True).show(LINES, TASKS)
    assert json.loads(capsys.readouterr().out)["service"] is None
    printer("web", as_json=True).stream(("web", LogLine("11111111", "x")))
    document = {"service": "web", "task": "11111111", "text": "x", "time": None}
    assert json.loads(capsys.readouterr().out) == document


@pytest.mark.parametrize("colourless", [False, True])
def test_terminal_gets_the_colours_that_it_wants(monkeypatch: pytest.MonkeyPatch, colourless: bool) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as seen, os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        printer("web", "db", colourless=colourless).show({"web": LINES["web"][:1], "db": LINES["web"][:1]}, {})
        shown = b""
        while shown.count(b"\n") < 2:
            shown += seen.read(10000)
    text = shown.decode()
    assert (f"{RED}no\x1b[0m" in text) == (not colourless)
    assert ("\x1b[36mweb " in text, "\x1b[33mdb  " in text) == ((False, False) if colourless else (True, True))
