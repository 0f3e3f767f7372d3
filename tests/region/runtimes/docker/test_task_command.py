"""The terminal of `exec`, with a client whose requests take a lock, as the Docker SDK's do."""

from __future__ import annotations

import subprocess
import sys

RESIZED = """
import os, pty, signal, threading
from ecsconsul.region.runtimes.docker import task_command as terminal

class Engine:
    def __init__(self):
        self.lock, self.sizes, self.twice = threading.Lock(), 0, threading.Event()

    def exec_resize(self, exec_id, height, width):
        with self.lock:
            self.sizes += 1
            if self.sizes == 1:
                # The user keeps dragging the window.
                os.kill(os.getpid(), signal.SIGWINCH)
        if self.sizes == 2:
            self.twice.set()

os.dup2(pty.openpty()[1], 0)
engine = Engine()
with terminal._raw_terminal(engine, "x"):
    signal.raise_signal(signal.SIGWINCH)
    assert engine.twice.wait(60)
"""


def test_resize_during_a_resize_does_not_deadlock() -> None:
    subprocess.run([sys.executable, "-c", RESIZED], check=True, timeout=120)
