"""Reads files of NAME=VALUE lines, as Docker's --env-file does. Messages never show a value, which may be a secret.

https://docs.docker.com/reference/cli/docker/container/run/#env
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

MAX_BYTES = 1 << 20
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


class EnvFile(NamedTuple):
    """What a file says, and what is wrong with it, each with the file's name and line."""

    values: dict[str, str]
    problems: tuple[str, ...]


def read_env_file(path: Path) -> EnvFile:
    """The variables of a file; of a name that is given twice, the last one counts. Nothing raises."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        return EnvFile({}, (f"can't read {path}: {error.strerror or error}",))
    if len(data) > MAX_BYTES:
        return EnvFile({}, (f"{path} is larger than {MAX_BYTES >> 20} MiB",))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        return EnvFile({}, (f"{path}:{line}: not UTF-8",))
    return _parse(text, str(path))


def _parse(text: str, name: str) -> EnvFile:
    """Blank lines and those that begin with # are skipped. A value is what follows the first =, quotes included."""
    values: dict[str, str] = {}
    problems = []
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.removesuffix("\r").lstrip()
        if not line or line.startswith("#"):
            continue
        variable, equals, value = line.partition("=")
        if not equals:
            # Docker takes a bare name's value from the shell; a config must not depend on it
            problems.append(f"{name}:{number}: expected NAME=VALUE")
        elif not _NAME.fullmatch(variable):
            words = "letters, digits, _ . and -, not starting with a digit"
            problems.append(f"{name}:{number}: the name before = must be {words}")
        elif "\0" in value:
            problems.append(f"{name}:{number}: contains a character that environment variables can't hold")
        else:
            values[variable] = value
    return EnvFile(values, tuple(problems))
