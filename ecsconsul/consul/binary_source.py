"""What a source of consul binaries offers, and the failures after which no other source is tried."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from ..errors import LabError

Say = Callable[[str], None]


class Way(Protocol):
    """A source of consul binaries to download."""

    @property
    def source(self) -> str:
        """The name of the source."""

    @property
    def exact(self) -> bool:
        """Whether it has the very version that the config asks for; otherwise it's a last resort."""

    def fetch(self, folder: Path, say: Say) -> Path:
        """Downloads a verified, executable consul to `folder`. Raises LabError."""


class NoFallback(LabError):
    """A failure that the user must learn of, instead of getting another version from elsewhere."""


class Untrusted(NoFallback):
    """A download that can't be what the vendor published."""
