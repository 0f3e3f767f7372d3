"""The files that an import may ask for: compose's env files, Dockerfiles, and paths as the config writes them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_EXPOSE = re.compile(r"^\s*EXPOSE\s+(.+)$", re.IGNORECASE | re.MULTILINE)
_FROM = re.compile(r"^\s*FROM\s", re.IGNORECASE | re.MULTILINE)
_LITERAL_PORT = re.compile(r"([0-9]{1,5})(?:/(tcp|udp))?", re.IGNORECASE)


@dataclass(frozen=True)
class Files:
    """The folder of the input, the folder of the config, and how a file is read (None: there is none)."""

    folder: Path
    config_folder: Path
    read: Callable[[Path], bytes | None]

    def text(self, path: str) -> str | None:
        """A file of the input's, or None. Bytes that aren't UTF-8 are replaced."""
        data = self.read(self.absolute(path))
        return None if data is None else data.decode("utf-8-sig", "replace")

    def absolute(self, path: str) -> Path:
        """A path of the input, made absolute."""
        try:
            given = Path(path).expanduser()
        except RuntimeError:  # no such ~user
            given = Path(path)
        return Path(os.path.normpath(self.folder.absolute() / given))

    def for_config(self, path: str) -> str:
        """A path of the input as the config writes it: relative to the config if it was relative."""
        if Path(path).is_absolute() or path.startswith("~"):
            return path
        return os.path.relpath(self.absolute(path), self.config_folder.absolute())

    def exposed(self, dockerfile: str) -> list[tuple[int, str]]:
        """The ports and protocols that the last stage of a Dockerfile exposes, as far as they're plain numbers."""
        text = self.text(dockerfile) or ""
        stages = _FROM.split(text.replace("\\\n", " "))
        words = " ".join(_EXPOSE.findall(stages[-1])).split()
        found = (_LITERAL_PORT.fullmatch(word) for word in words)
        return [(int(one[1]), (one[2] or "tcp").lower()) for one in found if one and 0 < int(one[1]) <= 65535]
