"""Starts, finds and stops a lab's processes, each in a process group of its own.

An ownership variable in the environment says which lab a process belongs to. It is set at exec and inherited, so no
process runs without it, and no file can be out of date after a crash.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

OWNER_VARIABLE = "ECSCONSUL_LAB_HOME"
# How long killed processes are waited for before the lab's processes are looked for again.
ROUND_SECONDS = 1.0
# What a child inherits: the search path, the user's locale, certificate authorities, and proxies.
_INHERITED = (
    "PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
)  # fmt: skip


def environment(root: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """A child's environment: a few inherited variables (never credentials), `extra`, and the ownership variable."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {**inherited, **extra, OWNER_VARIABLE: str(root)}


def start(
    argv: Sequence[str], *, root: Path, log: Path, env: Mapping[str, str], cwd: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start a process of the lab at `root` in a new session, with its output appended to `log`. Raises OSError."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            argv,
            cwd=cwd,
            env=environment(root, env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def signal_group(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process group created by `start`; does nothing when it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def stop(process: subprocess.Popen[bytes], timeout: float) -> int:
    """Send SIGTERM, and SIGKILL to the whole group after `timeout` seconds; the exit code (negative: a signal)."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout)
    signal_group(process.pid, signal.SIGKILL)
    return process.wait()


def find_leftovers(root: Path) -> list[psutil.Process]:
    """Every other process on this machine that belongs to the lab at `root`."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(OWNER_VARIABLE) == str(root):
                found.append(process)
        except psutil.Error:
            # Another user's process, or one that has just exited.
            continue
    return found


def kill_leftovers(root: Path, timeout: float = 30.0) -> list[str]:
    """SIGKILL every process of the lab, and any that they start meanwhile; returns "name (pid)" for each.

    Raises TimeoutError when some still run after `timeout` seconds.
    """
    killed: dict[int, str] = {}
    deadline = time.monotonic() + timeout
    while processes := find_leftovers(root):
        if time.monotonic() > deadline:
            raise TimeoutError(f"still running: {', '.join(str(process.pid) for process in processes)}")
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                # On a busy machine a killed process may take longer to end than one round, and is found again.
                killed.setdefault(process.pid, f"{process.name()} ({process.pid})")
                process.kill()
        psutil.wait_procs(processes, ROUND_SECONDS)
    return list(killed.values())


def send_input(process: subprocess.Popen[bytes], content: bytes) -> None:
    """Write `content` to a process's standard input, and close it."""
    assert process.stdin
    with process.stdin as pipe, contextlib.suppress(BrokenPipeError):
        pipe.write(content)


def await_line(process: subprocess.Popen[bytes], timeout: float) -> None:
    """Return when the process writes a line or exits, or after `timeout` seconds."""
    import select

    assert process.stdout
    with process.stdout as output:
        select.select([output], [], [], timeout)


def stop_process(pid: int, timeout: float, kill_timeout: float = 5.0) -> None:
    """Send SIGTERM, and SIGKILL after `timeout` seconds."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        process.terminate()
        try:
            process.wait(timeout)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(kill_timeout)
