"""A program that lives as long as its context and no longer, even when this process is killed; what it says is kept."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from ...errors import LabError

# The shell waits for the end of its input, which comes when we close it and when we are killed, or for a Ctrl-C. That
# ends cat or, when it comes before cat is there, the input that cat would read; and then it ends the program. It lets
# go of our pipe, so that the pipe ends with the program. SIGTERM has no trap: the program, just forked, would have it
# too, and might not heed that it is to end.
_WATCH = 'trap "exec <&-" INT HUP; "$@" </dev/null & exec >/dev/null 2>&1; cat; kill $!; wait $!'
# ssh misses a SIGTERM that comes just before it begins to wait for its server, until it has waited
NUDGE_SECONDS, END_SECONDS = 0.5, 5.0
# what was killed is gone at once, but on a machine that has no time for it
KILLED_SECONDS = 10.0
LINES_KEPT = 20


class HelperProcess:
    """One program; a Ctrl-C at the terminal ends it as well, so that nobody waits for it any more. Raises LabError."""

    def __init__(
        self, argv: Sequence[str], is_ready: Callable[[str], bool], variables: Mapping[str, str] | None = None
    ) -> None:
        self._is_ready = is_ready
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._decided = threading.Event()
        self._ended = threading.Event()
        self._ready = False
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _WATCH, "ecsconsul-watch", *argv],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(variables or {})},
                text=True,
                errors="replace",
            )
        except OSError as error:
            raise LabError("A program cannot be started", where=argv[0], why=str(error)) from error
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> HelperProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def await_ready(self, seconds: float) -> bool:
        """Wait until it says that it is ready; False when it has ended before, or the time is over."""
        self._decided.wait(seconds)
        return self._ready

    def ended(self, within: float = 0.0) -> bool:
        """Whether it has ended by itself, or does so within so many seconds."""
        return self._ended.wait(within)

    def said(self) -> list[str]:
        """Its last lines, but for those that told that it is ready; all of them once it is closed."""
        return list(self._lines)

    def close(self) -> None:
        """End it, and wait until it has."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin and stdout
        with contextlib.suppress(BrokenPipeError):
            stdin.close()
        for patience, number in ((NUDGE_SECONDS, signal.SIGTERM), (END_SECONDS, signal.SIGKILL)):
            try:
                self._process.wait(patience)
                break
            except subprocess.TimeoutExpired:
                self._send(number)
        self._process.wait(KILLED_SECONDS)
        self._reader.join(KILLED_SECONDS)

    def _send(self, number: signal.Signals) -> None:
        """To the program and its own children, but not to the shell, which ends with it."""
        import psutil

        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self._process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.send_signal(number)

    def _read(self) -> None:
        stream = self._process.stdout
        assert stream
        with stream:
            for line in stream:
                text = line.strip()
                if self._is_ready(text):
                    self._ready = True
                    self._decided.set()
                elif text:
                    self._lines.append(text)
        self._ended.set()
        self._decided.set()
