"""A real sshd on loopback for tests, with its own configuration, host key and port; the current user can log in."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.listening import await_listening, free_port
from tests.require import require

SSHD = "/usr/sbin/sshd"
TIMEOUT = 60.0
USER = getpass.getuser()


@dataclass(frozen=True)
class SshServer:
    """A running sshd at 127.0.0.1:port that accepts `key`."""

    port: int
    key: Path
    host_key: str
    process: subprocess.Popen[bytes]
    log: Path


def make_key(path: Path) -> str:
    """Create a key pair; returns the public key without its comment."""
    require("ssh", bool(shutil.which("ssh-keygen")), "OpenSSH's client is not installed")
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    subprocess.run(argv, check=True, timeout=TIMEOUT, capture_output=True)
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


@contextmanager
def ssh_server(folder: Path, *options: str, port: int | None = None) -> Iterator[SshServer]:
    """An sshd that ends with the context, along with all its sessions. `options` are lines of its configuration."""
    installed = bool(shutil.which("ssh")) and Path(SSHD).exists()
    require("ssh", installed, "OpenSSH's client or server is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        # where sshd confines its unprivileged process
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    key, host_key = folder / "user_key", folder / "host_key"
    if not key.exists():
        (folder / "authorized_keys").write_text(make_key(key) + "\n")
    public = make_key(host_key) if not host_key.exists() else host_key.with_suffix(".pub").read_text().strip()
    port = port or free_port()
    lines = (
        f"Port {port}", "ListenAddress 127.0.0.1", f"HostKey {host_key}", "PidFile none", "UsePAM no",
        f"AuthorizedKeysFile {folder / 'authorized_keys'}", "StrictModes no", "PasswordAuthentication no",
        "KbdInteractiveAuthentication no", "PermitRootLogin prohibit-password", *options,
    )  # fmt: skip
    (folder / "sshd_config").write_text("\n".join(lines) + "\n")
    log = folder / "sshd.log"
    with log.open("wb") as output:
        argv = [SSHD, "-D", "-e", "-f", str(folder / "sshd_config")]
        process = subprocess.Popen(argv, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        await_listening(port, process, log)
        yield SshServer(port, key, " ".join(public.split()[:2]), process, log)
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill an sshd and all its sessions."""
    import contextlib

    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
    process.kill()
    process.wait(TIMEOUT)
