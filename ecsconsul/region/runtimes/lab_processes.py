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

OWNER_VARIABLE = "ECSCONSUL_LAB_HOME"
# What a child inherits: how to find programs, the user's locale, the machine's certificate authorities, proxies.
_INHERITED = (
    "PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
)  # fmt: skip


def environment(home: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """The variables of a child: a few inherited ones (never credentials), the ownership variable, and `extra`."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {**inherited, **extra, OWNER_VARIABLE: str(home)}


def start(
    argv: Sequence[str], *, home: Path, log: Path, env: Mapping[str, str], cwd: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, with its output appended to `log`. Raises OSError."""
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
    """Send a signal to the process group that `start` made; fine when it is gone."""
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


def find_leftovers(home: Path) -> list[psutil.Process]:
    """Every other process on this machine that belongs to the lab at `home`."""
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(OWNER_VARIABLE) == str(home):
                found.append(process)
        except psutil.Error:
            # Another user's process, or one that has just exited.
            continue
    return found


def kill_leftovers(home: Path, timeout: float = 5.0) -> list[str]:
    """SIGKILL every process of the lab, and those they start meanwhile; what was killed, as "name (pid)".

    Raises TimeoutError when some still run after `timeout` seconds.
    """
    import psutil

    killed: list[str] = []
    for _ in range(5):
        processes = find_leftovers(home)
        if not processes:
            return killed
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                killed.append(f"{process.name()} ({process.pid})")
                process.kill()
        psutil.wait_procs(processes, timeout / 5)
    left = find_leftovers(home)
    if left:
        raise TimeoutError(f"still running: {', '.join(str(process.pid) for process in left)}")
    return killed


def send_input(process: subprocess.Popen[bytes], text: str) -> None:
    """Write a process's whole standard input."""
    assert process.stdin
    with process.stdin as pipe, contextlib.suppress(BrokenPipeError):
        pipe.write(text.encode())


def await_line(process: subprocess.Popen[bytes], timeout: float) -> None:
    """Return when the process writes a line, when it exits, or after `timeout` seconds."""
    import select

    assert process.stdout
    with process.stdout as answer:
        select.select([answer], [], [], timeout)


def stop_process(pid: int, timeout: float, kill_timeout: float = 5.0) -> None:
    """SIGTERM, then SIGKILL after `timeout` seconds."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        process.terminate()
        try:
            process.wait(timeout)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(kill_timeout)
