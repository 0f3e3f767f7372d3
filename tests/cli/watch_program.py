"""Runs watch's screen over an observation that a test sets: `python watch_program.py TASKS DESCRIPTOR`.

Each line on that descriptor takes a task away, with an event of that text. The keyboard and the screen are those of
the terminal.
"""

from __future__ import annotations

import os
import sys
import threading
import time

from ecsconsul.cli.terminal_keys import Terminal
from ecsconsul.cli.watch_loop import Watch
from ecsconsul.cli.watch_screen import Screen
from ecsconsul.config.lab import Lab, ServiceSpec
from ecsconsul.observe.states import Event, Snapshot
from tests.observe.samples import consul, ecs, endpoint, members, service, task


class Recorded:
    """Nothing was recorded before, so everything is news."""

    recorded: list[Event] = []

    def is_news(self, event: Event) -> bool:
        return True


class Observed:
    """What an Observation offers to a screen."""

    is_closed = False

    def __init__(self, tasks: int) -> None:
        self._changed = threading.Condition()
        self._tasks = tasks
        self._events: list[Event] = []
        self._snapshot = self._seen()

    def _seen(self) -> Snapshot:
        tasks = [task(id=f"{n:08x}" + "0" * 24, port=32768 + n) for n in range(self._tasks)]
        found = [endpoint(port=32768 + n) for n in range(self._tasks)]
        whole = ecs(*tasks, services=(service(self._tasks, self._tasks),))
        return Snapshot(time.time(), ecs=whole, consul=consul(*found), members=members("alive"))

    def happen(self, text: str) -> None:
        with self._changed:
            self._tasks -= 1
            self._snapshot = self._seen()
            self._events.append(Event(time.time(), "instance-left", text, "weather"))
            self._changed.notify_all()

    def snapshot(self) -> Snapshot:
        return self._snapshot

    def next_snapshot(self, known: Snapshot, timeout: float) -> Snapshot:
        with self._changed:
            self._changed.wait_for(lambda: self._snapshot is not known, timeout)
            return self._snapshot

    def events(self, timeout: float) -> list[Event]:
        with self._changed:
            found, self._events = self._events, []
            return found


def listen(seen: Observed, descriptor: int) -> None:
    with os.fdopen(descriptor) as lines:
        for line in lines:
            seen.happen(line.strip())


def main() -> None:
    seen = Observed(int(sys.argv[1]))
    threading.Thread(target=listen, args=(seen, int(sys.argv[2])), daemon=True).start()
    lab, screen = Lab(services=(ServiceSpec(name="weather"),)), Screen(no_color=False)
    with Terminal(0) as terminal, screen:
        Watch(lab, "local", seen, Recorded(), terminal, screen).run()  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
