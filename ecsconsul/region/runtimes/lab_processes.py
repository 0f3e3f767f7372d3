"""Processes of the lab: started in groups of their own, marked so that each can be found again, ended for sure.

The mark is an environment variable, set at exec: there is no moment at which a process runs and is not marked,
and no file that a crash could leave wrong.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

MARK = "ECSCONSUL_LAB_HOME"
# what a child may inherit: how to find programs, speak the user's language and trust the machine's authorities
_INHERITED = (
    "PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
)  # fmt: skip


def environment(home: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """The variables of a child: a few of ours (never credentials), the mark of the lab, and `extra`."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {**inherited, **extra, MARK: str(home)}


def start(
    argv: Sequence[str], *, home: Path, log: Path, env: Mapping[str, str], cwd: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own; its output is appended to `log`. Raises OSError."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            argv,
            cwd=cwd,
            env=environment(home, env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def signal_group(pid: int, number: signal.Signals) -> None:
    """Send a signal to the process group that `start` made; one that is gone is fine."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def stop(process: subprocess.Popen[bytes], timeout: float) -> int:
    """SIGTERM, then SIGKILL to the whole group after `timeout` seconds; the exit code (negative = signal)."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout)
    signal_group(process.pid, signal.SIGKILL)
    return process.wait()


def survivors(home: Path) -> list[psutil.Process]:
    """Every process on this machine that carries the mark of the lab at `home`, but for this one."""
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == str(home):
                found.append(process)
        except psutil.Error:
            # another user's process, or one that has just ended: not ours either way
            continue
    return found


def end_survivors(home: Path, timeout: float = 5.0) -> list[str]:
    """SIGKILL every marked process, and those they start meanwhile; what was killed, as "name (pid)".

    Raises TimeoutError when some are still there after `timeout` seconds.
    """
    import psutil

    killed: list[str] = []
    for _ in range(5):
        processes = survivors(home)
        if not processes:
            return killed
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                killed.append(f"{process.name()} ({process.pid})")
                process.kill()
        psutil.wait_procs(processes, timeout / 5)
    left = survivors(home)
    if left:
        raise TimeoutError(f"still running: {', '.join(str(process.pid) for process in left)}")
    return killed


def tell(process: subprocess.Popen[bytes], text: str) -> None:
    """Give the process all that it will ever read."""
    assert process.stdin
    with process.stdin as pipe, contextlib.suppress(BrokenPipeError):
        pipe.write(text.encode())


def await_line(process: subprocess.Popen[bytes], timeout: float) -> None:
    """Return when the process answers with a line, when it ends, or after `timeout` s."""
    import select

    assert process.stdout
    with process.stdout as answer:
        select.select([answer], [], [], timeout)


def end_process(pid: int, patience: float, last_patience: float = 5.0) -> None:
    """SIGTERM, and SIGKILL after `patience` seconds; its children are ended by their mark."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        process.terminate()
        try:
            process.wait(patience)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(last_patience)
