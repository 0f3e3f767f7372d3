"""--output jsonl: what goes on, as lines for other programs."""

from __future__ import annotations

import json
from datetime import datetime

from tests.cli.conftest import Running, Shell


def test_up_streams_its_progress_and_ends_with_the_document(running: Running) -> None:
    done = running.run("up", "--output", "jsonl")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr) == (0, "")
    assert all(datetime.fromisoformat(event["time"]).tzinfo for event in events)
    *progress, result = events
    assert (result["event"], result["result"]["lab"]) == ("result", "cli-lab")
    steps = [step["name"] for step in result["result"]["steps"] if step["op"] != "keep"]
    assert len(steps) > 3
    for step in steps:
        mine = [event["event"] for event in progress if event["step"] == step]
        assert (mine[0], mine[-1]) == ("started", "finished"), step


def test_error_is_the_last_event(shell: Shell) -> None:
    (shell.folder / "config.yaml").write_text("lab: x y\n")
    done = shell.run("up", "--output", "jsonl")
    [event] = map(json.loads, done.stdout.splitlines())
    assert (done.returncode, event["event"], event["code"]) == (3, "error", 3)
    assert "config.yaml:1" in event["where"]
    assert "Error:" in done.stderr


def test_a_command_without_progress_prints_its_document_in_one_line(running: Running) -> None:
    [line] = running.run("plan", "--output", "jsonl").stdout.splitlines()
    assert json.loads(line)["result"]["lab"] == "cli-lab"
