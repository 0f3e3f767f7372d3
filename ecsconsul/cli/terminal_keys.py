"""Reads single keys from a terminal, and what else wakes a screen; restores the terminal in any case."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import signal
import termios
import tty
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

# https://invisible-island.net/xterm/ctlseqs/ctlseqs.html
SEQUENCES = {
    "\x1b[A": "up", "\x1b[B": "down", "\x1bOA": "up", "\x1bOB": "down", "\x1b[5~": "pageup", "\x1b[6~": "pagedown",
    "\x1b[H": "home", "\x1b[F": "end", "\x1b[1~": "home", "\x1b[4~": "end", "\x1bOH": "home", "\x1bOF": "end",
}  # fmt: skip
_KEY = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1bO.|.", re.DOTALL)


def parse(data: bytes) -> list[str]:
    """The keys in what a terminal has sent: characters as they are, others by name; unknown sequences are left out.

    >>> parse(b"j+\\x1b[A")
    ['j', '+', 'up']
    """
    found = _KEY.findall(data.decode(errors="ignore"))
    return [SEQUENCES.get(key, key) for key in found if len(key) == 1 or key in SEQUENCES]


class Terminal:
    """A terminal whose keys are read one by one while the context lasts.

    `wake` may be called from any thread. SIGTERM and SIGHUP end the context as Ctrl-C does, so that the terminal is
    restored.
    """

    def __init__(self, keyboard: int) -> None:
        self._keyboard = keyboard
        self._read, self._write = os.pipe()
        self._before: list[Any] = []
        self._handlers: dict[int, Any] = {}
        self._open = False
        self.stop_requested = False

    def __enter__(self) -> Terminal:
        for end in (self._read, self._write):
            fcntl.fcntl(end, fcntl.F_SETFL, os.O_NONBLOCK)
        self._before = termios.tcgetattr(self._keyboard)
        self._open = True
        for number, handler in (
            (signal.SIGTERM, _interrupt),
            (signal.SIGHUP, _interrupt),
            (signal.SIGWINCH, self._on_resize),
            (signal.SIGTSTP, self._on_stop),
        ):
            self._handlers[number] = signal.signal(number, handler)
        self.listen()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.restore()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._open = False
        os.close(self._write)
        os.close(self._read)

    def listen(self) -> None:
        """Read keys without Enter, and without showing them; Ctrl-C and Ctrl-Z stay signals."""
        tty.setcbreak(self._keyboard, termios.TCSANOW)

    def restore(self) -> None:
        """Let the terminal be as it was."""
        # a terminal that has been closed has nothing to restore
        with contextlib.suppress(termios.error):
            termios.tcsetattr(self._keyboard, termios.TCSADRAIN, self._before)

    def wake(self) -> None:
        """End a wait."""
        # a full pipe wakes already, and a closed one has nobody to wake
        with contextlib.suppress(OSError):
            if self._open:
                os.write(self._write, b".")

    def keys(self, timeout: float) -> list[str] | None:
        """The keys that were pressed; [] after `timeout` seconds or a `wake`; None once the terminal has gone."""
        ready, _, _ = select.select([self._keyboard, self._read], [], [], timeout)
        if self._read in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._read, 4096)
        if self._keyboard not in ready:
            return []
        try:
            data = os.read(self._keyboard, 1024)
        except OSError:
            return None
        return parse(data) if data else None

    def drop_keys(self) -> None:
        """Forget what was typed meanwhile."""
        with contextlib.suppress(termios.error):
            termios.tcflush(self._keyboard, termios.TCIFLUSH)

    def _on_resize(self, number: int, frame: FrameType | None) -> None:
        self.wake()

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self.stop_requested = True
        self.wake()


@contextlib.contextmanager
def ignoring_interrupts() -> Iterator[None]:
    """Leave Ctrl-C to a program that has the terminal meanwhile."""
    # no SIG_IGN, which the program would inherit
    before = signal.signal(signal.SIGINT, _pass_over)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _pass_over(number: int, frame: FrameType | None) -> None:
    """The program that has the terminal gets the signal too."""
