"""The terminal of `exec`, with an engine whose requests take a lock, as those of the Docker SDK do."""

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
                # the window is dragged on
                os.kill(os.getpid(), signal.SIGWINCH)
        if self.sizes == 2:
            self.twice.set()

os.dup2(pty.openpty()[1], 0)
engine = Engine()
with terminal._raw_terminal(engine, "x"):
    signal.raise_signal(signal.SIGWINCH)
    assert engine.twice.wait(60)
"""


def test_a_window_may_be_resized_while_it_is_resized() -> None:
    subprocess.run([sys.executable, "-c", RESIZED], check=True, timeout=120)
