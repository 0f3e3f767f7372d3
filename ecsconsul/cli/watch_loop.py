"""The loop behind `watch`'s screen: draws what is observed, and does what keys say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from ..config.lab import Lab
from ..errors import ExitCode
from ..observe.observation import Observation
from ..observe.overview import overview
from ..observe.states import Snapshot
from ..polling import in_background
from .app import VERBS
from .common import settings
from .events import Known
from .terminal_keys import Terminal, ignoring_interrupts
from .watch_actions import ACTS, Action, Background, action, command_line
from .watch_rows import Shown, screen_lines, scrolled, split, table
from .watch_screen import Screen

# ages are shown to the second
TICK_SECONDS = 1.0
# between two drawings, so that a storm of events doesn't take a core
REST_SECONDS = 0.08
# more than fit on a screen
MOST_EVENTS = 500
TURN_SECONDS = 1.0
FAR = 1_000_000
MOVES = {
    "up": -1, "k": -1, "down": 1, "j": 1, "pageup": -10, "pagedown": 10, "home": -FAR, "g": -FAR, "end": FAR, "G": FAR,
}  # fmt: skip


class Watch:
    """What the screen shows, and what keys do."""

    def __init__(
        self,
        lab: Lab,
        target: str,
        seen: Observation,
        known: Known,
        terminal: Terminal,
        screen: Screen,
    ) -> None:
        self._lab, self._target = lab, target
        self._seen, self._known, self._terminal, self._screen = seen, known, terminal, screen
        self._events = list(known.recorded[-MOST_EVENTS:])
        self._background = Background(self._say)
        self._asked: Action | None = None
        self._message = ""
        self._help = False
        self._key, self._selected, self._top = "", 0, 0
        self._follow_snapshot(seen.snapshot())

    def run(self) -> None:
        """Until q, Ctrl-C, or the terminal's end."""
        in_background(self._wake_at_changes)
        drawn = due = time.monotonic()
        try:
            while True:
                now = time.monotonic()
                if now >= due:
                    drawn = now if self._draw() else drawn
                    due = now + TICK_SECONDS
                keys = self._terminal.keys(due - now)
                if keys is None or not all(map(self._press, keys)):
                    return
                if self._terminal.stop_requested:
                    self._stop()
                # what woke this is drawn at once, unless something else has just been
                due = min(due, max(drawn + REST_SECONDS, time.monotonic()))
        finally:
            self._background.close()

    def _wake_at_changes(self) -> None:
        known = self._seen.snapshot()
        while not self._seen.is_closed:
            newer = self._seen.next_snapshot(known, TURN_SECONDS)
            if newer is not known:
                self._terminal.wake()
            known = newer

    # drawing

    def _follow_snapshot(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        # tasks of others, such as the Registrator in AWS, aren't expected in Consul
        registers = [service.name for service in self._lab.services if service.registered_names]
        self._overview = overview(snapshot, [service.name for service in self._lab.services], registers)
        self._table = table(self._overview)

    def _draw(self) -> bool:
        """Whether there was anything new."""
        self._events += filter(self._known.is_news, self._seen.events(0.0))
        del self._events[:-MOST_EVENTS]
        if (snapshot := self._seen.snapshot()) is not self._snapshot:
            self._follow_snapshot(snapshot)
        width, height = self._screen.size
        rows, _ = split(height, len(self._table.items))
        self._selected = self._table.position(self._key, self._selected)
        self._top = scrolled(self._top, self._selected, len(self._table.items), rows)
        shown = Shown(
            lab=self._lab.name, target=self._target, overview=self._overview, table=self._table, events=self._events,
            selected=self._selected, top=self._top, message=self._message, help=self._help,
        )  # fmt: skip
        return self._screen.draw(screen_lines(shown, width, height, time.time()), width)

    def _say(self, text: str) -> None:
        self._message = text
        self._terminal.wake()

    # keys

    def _press(self, key: str) -> bool:
        """Do what a key says; False if it ends the screen."""
        if self._asked:
            self._answer(key)
        elif self._help:
            self._help = False
        elif key == "q":
            return False
        elif key == "?":
            self._help = True
        elif key in MOVES:
            self._move(MOVES[key])
        elif key in ACTS and self._table.items:
            self._act(key)
        return True

    def _move(self, step: int) -> None:
        if not self._table.items:
            return
        at = self._table.position(self._key, self._selected) + step
        self._selected = max(min(at, len(self._table.items) - 1), 0)
        self._key, self._message = self._table.items[self._selected].key, ""

    def _act(self, key: str) -> None:
        found = action(key, self._table.items[self._table.position(self._key, self._selected)], self._lab, tuple(VERBS))
        if found.refusal:
            self._message = found.refusal
        elif not found.question:
            self._hand_over(found.words)
        elif self._background.is_running:
            self._message = "The command before hasn't ended yet"
        else:
            self._asked, self._message = found, f"{found.question} y/n"

    def _answer(self, key: str) -> None:
        asked, self._asked, self._message = self._asked, None, ""
        if asked and key in ("y", "Y"):
            what = " ".join(asked.words)
            self._message = f"{what} …"
            self._background.start(command_line(asked.words, settings()), what)

    def _hand_over(self, words: Sequence[str]) -> None:
        """Give the terminal to a command until it ends."""
        with self._own_screen():
            click.echo(f"$ ecsconsul {' '.join(words)}")
            with ignoring_interrupts():
                code = subprocess.run(command_line(words, settings()), check=False).returncode
            if code not in (0, ExitCode.INTERRUPTED):
                click.echo(f"It exited with {code}. Press Enter to go on.", nl=False)
                sys.stdin.readline()

    def _stop(self) -> None:
        """Ctrl-Z: the shell has the terminal until `fg`."""
        self._terminal.stop_requested = False
        with self._own_screen():
            os.kill(os.getpid(), signal.SIGSTOP)

    @contextmanager
    def _own_screen(self) -> Iterator[None]:
        """The terminal as it was before, for as long as the context lasts."""
        self._screen.hide()
        self._terminal.restore()
        try:
            yield
        finally:
            self._terminal.listen()
            self._terminal.drop_keys()
            self._screen.show()
