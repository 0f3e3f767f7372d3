"""Watch's screen in a real terminal: its size, its keys, what it costs, and how it leaves the terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

TIMEOUT = 60.0
PROGRAM = Path(__file__).with_name("watch_program.py")
HOME, SHOWN, HIDDEN = "\x1b[H", "\x1b[?1049h", "\x1b[?1049l"
IDLE_SECONDS = 3.0


class Pty:
    """A program in a terminal of some size, and what is on its screen."""

    def __init__(self, tasks: int, width: int, height: int) -> None:
        self._master, self._slave = pty.openpty()
        self.resize(width, height)
        self.before = termios.tcgetattr(self._slave)
        reader, self._events = os.pipe()
        environment = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(PROGRAM.parents[2])}
        environment = {k: v for k, v in environment.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
        command = [sys.executable, str(PROGRAM), str(tasks), str(reader)]
        self.process = subprocess.Popen(
            command, stdin=self._slave, stdout=self._slave, stderr=self._slave, env=environment, pass_fds=(reader,),
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(reader)
        self.output = ""

    def resize(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def happen(self, text: str) -> None:
        os.write(self._events, f"{text}\n".encode())

    def read(self, seconds: float) -> bool:
        """Whether there was something to read."""
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        try:
            self.output += os.read(self._master, 65536).decode(errors="replace")
        except OSError:
            # the master of a terminal that nobody has open any more
            time.sleep(0.01)
            return False
        return True

    def until(self, text: str) -> list[str]:
        """The screen, once it has this text."""
        end = time.monotonic() + TIMEOUT
        while time.monotonic() < end:
            if any(text in line for line in self.screen()):
                return self.screen()
            self.read(0.5)
        raise AssertionError(f"{text!r} is not on the screen: {self.screen()}")

    def screen(self) -> list[str]:
        """The last whole screen: each is drawn from the top left corner on, with all its columns."""
        for drawn in reversed(self.output.split(HOME)[1:]):
            lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn).replace("\r", "").split("\n")
            if len(lines) == self.height and len(lines[-1]) >= self.width:
                return [line.rstrip() for line in lines]
        return []

    def ended(self) -> int:
        end = time.monotonic() + TIMEOUT
        while self.process.poll() is None and time.monotonic() < end:
            self.read(0.1)
        # a terminal gives about 4 KiB at a time
        while self.read(0.1):
            pass
        return self.process.wait(TIMEOUT)

    def is_restored(self) -> bool:
        return termios.tcgetattr(self._slave) == self.before and self.output.rstrip().rfind(HIDDEN) > self.output.rfind(
            SHOWN
        )

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for end in (self._master, self._slave, self._events):
            os.close(end)


@contextmanager
def watching(tasks: int = 3, width: int = 80, height: int = 24) -> Iterator[Pty]:
    found = Pty(tasks, width, height)
    try:
        found.until("q quit")
        yield found
    finally:
        found.close()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50)])
def test_screen_fits_its_terminal_and_shows_an_event(width: int, height: int) -> None:
    with watching(3, width, height) as screen:
        screen.happen("weather 00000002 left Consul")
        lines = screen.until("weather 00000002 left Consul")
        assert len(lines) == height
        assert all(len(line) <= width for line in lines)
        assert "2/2 running" in lines[0]
        screen.press("q")
        assert screen.ended() == 0
        assert screen.is_restored()


def test_keys_move_and_ask_and_help() -> None:
    with watching() as screen:
        screen.press("?")
        screen.until("Ctrl-C     quit")
        screen.press("x")
        screen.until("ENDPOINT")
        screen.press("jj+")
        screen.until("Scale weather from 3 to 4? y/n")
        screen.press("n")
        lines = screen.until("q quit")
        assert "Scale" not in "".join(lines)


def test_resized_screen_is_drawn_anew() -> None:
    with watching() as screen:
        screen.resize(100, 30)
        screen.until("q quit")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_terminal_is_restored_whatever_ends_the_screen(number: signal.Signals) -> None:
    with watching() as screen:
        assert not screen.is_restored()
        screen.process.send_signal(number)
        # Python's exit code for a KeyboardInterrupt that nobody catches
        assert screen.ended() in (-signal.SIGINT, 130)
        assert screen.is_restored()


def test_a_thousand_instances_that_do_nothing_take_little_cpu() -> None:
    with watching(1000) as screen:
        # the selected row is far down, so that scrolling counts too
        screen.press("G")
        screen.until("of 1001")
        process = psutil.Process(screen.process.pid)
        before, begun = process.cpu_times(), time.monotonic()
        while time.monotonic() - begun < IDLE_SECONDS:
            screen.read(IDLE_SECONDS - (time.monotonic() - begun))
        after, seconds = process.cpu_times(), time.monotonic() - begun
        used = (after.user + after.system) - (before.user + before.system)
        assert used / seconds < 0.1
        screen.happen("weather 000003e7 left Consul")
        screen.until("weather 000003e7 left Consul")
