"""A process started as root switches users and can still use Docker's socket."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.require import require

SCRIPT = """
import os, socket, sys
from ecsconsul.registrator.privileges import drop_privileges
drop_privileges("nobody", [sys.argv[1]])
with socket.socket(socket.AF_UNIX) as one:
    one.connect(sys.argv[1])
print(os.geteuid(), os.getgroups())
"""
GROUP = 54321


@pytest.fixture
def path(tmp_path: Path) -> Path:
    require("root", os.geteuid() == 0, "only root can switch users")
    for folder in (tmp_path, *tmp_path.parents[:3]):
        if folder.owner() == "root" and folder != Path("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o011)
    return tmp_path / "docker.sock"


@pytest.mark.parametrize(("mode", "output"), [(0o660, f"65534 [{GROUP}]"), (0o600, "0 ")])
def test_privileges_drop_if_the_sockets_group_has_access(path: Path, mode: int, output: str) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as server:
        server.bind(str(path))
        server.listen()
        os.chown(path, 0, GROUP)
        path.chmod(mode)
        argv = [sys.executable, "-c", SCRIPT, str(path)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30)
    assert done.stdout.startswith(output), done.stderr


def test_missing_user_and_missing_socket(path: Path) -> None:
    script = f"from ecsconsul.registrator.privileges import drop_privileges; drop_privileges({{!r}}, [{str(path)!r}])"
    for name, why in (("nobody-of-this-name", "No such user"), ("nobody", "No such socket")):
        argv = [sys.executable, "-c", script.format(name)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30)
        assert why in done.stderr
