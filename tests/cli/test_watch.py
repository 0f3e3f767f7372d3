"""`watch` without a terminal prints events; `status --watch` is the same."""

from __future__ import annotations

import json
import queue
import threading
import time

import pytest

from tests.cli.conftest import PATIENCE, Running, Shell


@pytest.mark.parametrize("words", [("watch",), ("status", "--watch")])
def test_in_a_pipe_it_prints_each_event(running: Running, words: tuple[str, ...]) -> None:
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    with running.spawn(*words, "--output", "json") as process:
        assert process.stdout
        reader = threading.Thread(target=lambda out: [lines.put(line) for line in out], args=(process.stdout,))
        reader.start()
        try:
            seen = _register_until_seen(running, lines)
        finally:
            process.kill()
            # the pipe must not be closed under it
            reader.join(PATIENCE)
    assert seen["text"] == "watched entered Consul at 127.0.9.2:32768"


def _register_until_seen(running: Running, lines: queue.SimpleQueue[str]) -> dict[str, str]:
    """Nobody says when the command has begun to observe, so the instance comes again and again."""
    assert running.consul
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        running.register("watched-1", "watched")
        try:
            while True:
                event: dict[str, str] = json.loads(lines.get(timeout=1.0))
                if event["kind"] == "instance-entered" and event["service"] == "watched":
                    return event
        except queue.Empty:
            running.consul.deregister("watched-1")
    raise AssertionError("no event was printed")


def test_what_is_and_what_was_are_not_shown_together(shell: Shell) -> None:
    done = shell.run("status", "--watch", "--at", "10m")
    assert done.returncode == 2
    assert "--at what was" in done.stderr
