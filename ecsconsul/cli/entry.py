"""The console script: a Ctrl-C is heeded from the first moment on, also while all else is still being imported."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130


def main() -> NoReturn:
    """`ecsconsul`."""
    before = signal.getsignal(signal.SIGINT)
    # whoever starts us in the background of a script has it ignored
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _end)
    from .app import main as run

    signal.signal(signal.SIGINT, before)
    run()


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """Nothing has been begun, and there is nothing to tell."""
    os._exit(INTERRUPTED)
