"""Runs a health check's program where a task's process is.

A process has no network of its own, so it listens on another port than its container's: what a check says of
localhost and the container's port is said of the process's address and port, and variables tell both.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...ecs.model import Binding
from .. import lab_processes
from .task_files import TaskFiles, entering

# as much of what a failing check says as Docker keeps
OUTPUT = 4096
CHUNK = 65536
# for a killed program to be gone
KILL_SECONDS = 5.0
STARTING = "the container is still starting"
_LOOPBACK = r"(?<![\w.-])(?:localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1\])"


@dataclass(frozen=True)
class ProcessProbe:
    """Runs programs with a task's files, variables and ports."""

    files: TaskFiles
    environment: Mapping[str, str]
    folder: Path | None
    address: str

    def run(self, pid: int, bindings: Sequence[Binding], words: Sequence[str], timeout: float) -> str:
        """Run the words where the process `pid` is, for `timeout` seconds at most; "" if they exit with 0."""
        try:
            argv = self._command_line(pid, bindings, words)
            return (
                failure_of(argv, self.folder, {**self.environment, **self._variables(bindings)}, timeout)
                if argv
                else STARTING
            )
        except (OSError, ValueError) as error:
            # The task has just exited, or has no such program.
            return str(error)

    def _command_line(self, pid: int, bindings: Sequence[Binding], words: Sequence[str]) -> list[str] | None:
        """None while the process hasn't its root yet. Raises OSError."""
        inside = [with_real_ports(word, bindings, self.address) for word in words]
        if self.files.own_root:
            return entering(pid, inside)
        return [self.files.word(word) for word in inside]

    def _variables(self, bindings: Sequence[Binding]) -> dict[str, str]:
        """Where the container's ports are, in the forms of a URL and of /proc/net/tcp."""
        # all ports of a container are at one address
        address = next((one.host_ip for one in bindings if "." in one.host_ip), self.address)
        found = {"ECSCONSUL_HEX_ADDRESS": socket.inet_aton(address)[::-1].hex().upper()}
        for one in bindings:
            found[f"ECSCONSUL_PORT_{one.container_port}"] = str(one.host_port)
            found[f"ECSCONSUL_HEX_PORT_{one.container_port}"] = f"{one.host_port:04X}"
        return found


def with_real_ports(word: str, bindings: Sequence[Binding], address: str) -> str:
    """A check's word with the process's address and port in place of localhost and the container's port."""
    for one in bindings:
        pattern = rf"{_LOOPBACK}([:/ ]){one.container_port}(?!\d)"
        word = re.sub(pattern, rf"{one.host_ip or address}\g<1>{one.host_port}", word)
    return word


def failure_of(argv: Sequence[str], folder: Path | None, environment: Mapping[str, str], timeout: float) -> str:
    """Run a program for `timeout` seconds at most; why it failed, or "" if it exits with 0. Raises OSError.

    It may print without end, and leave a process behind that keeps its output open.
    """
    end = time.monotonic() + timeout
    process = subprocess.Popen(
        argv,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output = _last_output(process, end)
        process.wait(max(end - time.monotonic(), 0.0))
    except (TimeoutError, subprocess.TimeoutExpired):
        return f"it took longer than {timeout:g} s"
    finally:
        lab_processes.signal_group(process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(KILL_SECONDS)
    if process.returncode == 0:
        return ""
    text = output.decode(errors="replace").strip()
    return f"exit code {process.returncode}" + (f": {text}" if text else "")


def _last_output(process: subprocess.Popen[bytes], end: float) -> bytes:
    """The last of what a program prints until nobody can print any more. Raises TimeoutError after `end`."""
    assert process.stdout
    found = b""
    with process.stdout as pipe, selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while (left := end - time.monotonic()) > 0:
            if selector.select(left):
                chunk = os.read(pipe.fileno(), CHUNK)
                if not chunk:
                    return found
                found = (found + chunk)[-OUTPUT:]
    raise TimeoutError
