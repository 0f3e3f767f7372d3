"""Reads what one container of a task writes, from where the last read ended."""

from __future__ import annotations

from pathlib import Path

# one read takes no more than this many bytes; a longer line is shown in parts
READ_BYTES = 262_144


class TaskLog:
    """The log file of a container, which may not exist yet."""

    # the file is complete when the task has stopped
    late_seconds = 0.0

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._partial = b""

    def read(self) -> list[str]:
        """The next complete lines, in bounded parts; empty when there are none."""
        while True:
            found = self._next_bytes()
            *lines, self._partial = (self._partial + found).split(b"\n")
            if len(self._partial) >= READ_BYTES:
                lines, self._partial = [*lines, self._partial], b""
            if lines or not found:
                return [_text(line) for line in lines]

    def rest(self) -> str:
        """The last line, if it doesn't end with a line break."""
        rest, self._partial = self._partial, b""
        return _text(rest)

    def _next_bytes(self) -> bytes:
        try:
            with self._path.open("rb") as log:
                log.seek(self._offset)
                found = log.read(READ_BYTES)
        except FileNotFoundError:
            return b""
        self._offset += len(found)
        return found


def _text(line: bytes) -> str:
    return line.decode(errors="replace").removesuffix("\r")
