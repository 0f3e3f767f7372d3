"""The SSH host keys of a lab's servers, in a known_hosts file of the lab's own: told by EC2, or seen at first sight."""

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
    """The keys of one server, under a name that no other server has: its instance id."""

    def __init__(self, lab: str, instance_id: str) -> None:
        self.path = _file(lab)
        self._name = instance_id

    def known(self) -> list[str]:
        """The server's keys that are in the file: kind and key of each."""
        lines = self._lines()
        return [line.partition(" ")[2] for line in lines if line.split(" ")[0] == self._name]

    def tell(self, keys: Sequence[str]) -> None:
        """Keep what EC2 says that the keys are, which is better than a first sight; where it says nothing, what is."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not keys or sorted(keys) == sorted(self.known()):
            return
        others = [line for line in self._lines() if line.split(" ")[0] != self._name]
        # others may do the same now, in another thread or process
        draft = self.path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
        draft.write_text("".join(f"{line}\n" for line in [*others, *(f"{self._name} {key}" for key in keys)]))
        draft.replace(self.path)

    def fingerprints(self) -> list[str]:
        """The keys as `ssh-keygen -l` writes them."""
        return [_fingerprint(key) for key in self.known()]

    def _lines(self) -> list[str]:
        return self.path.read_text().splitlines() if self.path.exists() else []


def forget(lab: str) -> None:
    """The lab's servers are no more, and so are their keys; none is fine."""
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
