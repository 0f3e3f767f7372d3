"""The console script. Handles Ctrl-C from the start, even while the rest is being imported."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130


def main() -> NoReturn:
    """Runs `ecsconsul`."""
    before = signal.getsignal(signal.SIGINT)
    # a script's background jobs ignore SIGINT, and must go on ignoring it
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _exit)
    from .app import main as run

    signal.signal(signal.SIGINT, before)
    run()


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    """Exits silently: the command hasn't started yet."""
    os._exit(INTERRUPTED)
