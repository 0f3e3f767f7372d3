"""Errors and warnings as annotations of a GitHub workflow, when one runs this command.

https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from ..config.loader import ConfigMistakes
from ..errors import LabError


def wanted() -> bool:
    """Whether a GitHub workflow runs this command."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def annotate(error: LabError) -> None:
    """Print an error for GitHub's page of the run: each mistake of a config at its line."""
    for line in commands_for(error):
        sys.stderr.write(line + "\n")


def warn(text: str) -> None:
    """Print a warning for GitHub's page of the run."""
    sys.stderr.write(_command("warning", text, title="ecsconsul") + "\n")


def commands_for(error: LabError) -> Iterator[str]:
    """The workflow commands for an error."""
    if isinstance(error, ConfigMistakes):
        file = error.where.rpartition(":")[0]
        for mistake in error.mistakes:
            yield _command("error", mistake.message, title=mistake.path or error.what, file=file, line=mistake.line)
        return
    text = "\n".join(filter(None, (error.where, error.why, error.hint)))
    yield _command("error", text or error.what, title=error.what)


def _command(kind: str, text: str, **properties: str | int) -> str:
    given = ",".join(f"{name}={_escaped(str(value), also=':,')}" for name, value in properties.items())
    return f"::{kind} {given}::{_escaped(text)}"


def _escaped(text: str, also: str = "") -> str:
    for character in "%\r\n" + also:
        text = text.replace(character, f"%{ord(character):02X}")
    return text
