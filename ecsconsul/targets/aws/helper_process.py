"""Runs a program for as long as a context lasts; it ends even if this process is killed. Keeps its last output."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from ...errors import LabError

# The shell waits until its stdin closes, which happens when we close it and when we are killed, or until a Ctrl-C. The
# Ctrl-C kills cat or, if cat has not started yet, closes the stdin that cat would read. Then the shell kills the
# program. It redirects its own output so that our pipe closes when the program exits. It does not trap SIGTERM: the
# program would inherit the trap between fork and exec, and might ignore the signal that is to end it.
_WATCHDOG = 'trap "exec <&-" INT HUP; "$@" </dev/null & exec >/dev/null 2>&1; cat; kill $!; wait $!'
# ssh misses a SIGTERM that arrives just before it starts to wait for its server, so it gets a second one
TERM_SECONDS, KILL_SECONDS = 0.5, 5.0
# a killed program is gone at once, except on an overloaded machine
REAP_SECONDS = 10.0
LINES_KEPT = 20


class HelperProcess:
    """One running program. A Ctrl-C at the terminal ends it too. Raises LabError if it can't be started."""

    def __init__(
        self,
        argv: Sequence[str],
        is_ready: Callable[[str], bool],
        variables: Mapping[str, str] | None = None,
        *,
        kill_seconds: float = KILL_SECONDS,
        watchdog: str = _WATCHDOG,
    ) -> None:
        """`is_ready` recognizes the output line that says the program is ready."""
        self._is_ready = is_ready
        self._kill_seconds = kill_seconds
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._decided = threading.Event()
        self._ended = threading.Event()
        self._ready = False
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", watchdog, "ecsconsul-watch", *argv],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(variables or {})},
                text=True,
                errors="replace",
            )
        except OSError as error:
            raise LabError(
                "A helper program can't be started",
                where=argv[0],
                why=str(error),
                hint="check that /bin/sh works and that this user may start more processes (`ulimit -u`)",
            ) from error
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> HelperProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def await_ready(self, seconds: float) -> bool:
        """Wait until the program is ready. False if it exits first or the time runs out."""
        self._decided.wait(seconds)
        return self._ready

    def ended(self, within: float = 0.0) -> bool:
        """Whether the program has exited by itself, or does so within that many seconds."""
        return self._ended.wait(within)

    def output(self) -> list[str]:
        """The last lines of its output, without the one that said it was ready. Complete once it is closed."""
        return list(self._lines)

    def close(self) -> None:
        """End the program and wait until it is gone."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin and stdout
        with contextlib.suppress(BrokenPipeError):
            stdin.close()
        for seconds, number in ((TERM_SECONDS, signal.SIGTERM), (self._kill_seconds, signal.SIGKILL)):
            try:
                self._process.wait(seconds)
                break
            except subprocess.TimeoutExpired:
                self._send(number)
        self._process.wait(REAP_SECONDS)
        self._reader.join(REAP_SECONDS)

    def _send(self, number: signal.Signals) -> None:
        """Signal the program and its children, but not the shell, which exits with it."""
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
