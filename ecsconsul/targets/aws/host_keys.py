"""Keeps the SSH host keys of a lab's servers in its own known_hosts file: EC2's, or those trusted on first use."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from ...paths import state_folder
from .lock import FOLDER


class HostKeys:
    """The keys of one server, recorded under its instance id, which no other server has."""

    def __init__(self, lab: str, instance_id: str) -> None:
        self.path = _file(lab)
        self._name = instance_id

    def known(self) -> list[str]:
        """The server's recorded keys, each as `<type> <key>`."""
        lines = self._lines()
        return [line.partition(" ")[2] for line in lines if line.split(" ")[0] == self._name]

    def record(self, keys: Sequence[str]) -> None:
        """Record the keys that EC2 published, which replace any trusted on first use; without keys, change nothing."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not keys or sorted(keys) == sorted(self.known()):
            return
        others = [line for line in self._lines() if line.split(" ")[0] != self._name]
        # another thread or process may be writing too
        draft = self.path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
        draft.write_text("".join(f"{line}\n" for line in [*others, *(f"{self._name} {key}" for key in keys)]))
        draft.replace(self.path)

    def fingerprints(self) -> list[str]:
        """The fingerprints of the keys, as `ssh-keygen -l` prints them."""
        return [_fingerprint(key) for key in self.known()]

    def _lines(self) -> list[str]:
        return self.path.read_text().splitlines() if self.path.exists() else []


def forget(lab: str) -> None:
    """Remove the recorded keys of all the lab's servers, if there are any."""
    _file(lab).unlink(missing_ok=True)


def _file(lab: str) -> Path:
    return state_folder() / FOLDER / f"{lab}.known_hosts"


def _fingerprint(key: str) -> str:
    kind, _, text = key.partition(" ")
    try:
        digest = hashlib.sha256(base64.b64decode(text.split(" ")[0])).digest()
    except binascii.Error:
        return key
    return f"{kind} SHA256:{base64.b64encode(digest).decode().rstrip('=')}"
