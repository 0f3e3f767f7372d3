"""Errors as the user reads them: what failed, where, why, and what to do about it.

Imported by all, imports nothing. Rendered once, by the view.

    LabError                 exit 1
    ├── WrongUsage           exit 2   the command line asks for something that is not there
    ├── ConfigInvalid        exit 3   one or more mistakes in config.yaml, each with its line
    ├── TargetAbsent         exit 1   the world that was asked does not exist (yet): it holds nothing
    ├── StepFailed           exit 1   a step could not be made so; carries the root cause
    ├── NameNotFound         exit 1   a name that DNS or the lab does not know
    └── Unreachable          exit 1   a server that should answer does not

    Interrupted              exit 130 the user pressed Ctrl-C; not an error, so not a LabError
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The contract of exit codes (docs/cli.md)."""

    DONE = 0
    FAILED = 1
    WRONG_USAGE = 2
    CONFIG_INVALID = 3
    UNHEALTHY = 4
    CHANGES_PENDING = 5
    INTERRUPTED = 130


class LabError(Exception):
    """What failed, where, why, and a hint that can be acted on."""

    exit_code = ExitCode.FAILED

    def __init__(self, what: str, *, where: str = "", why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        where = f" ({self.where})" if self.where else ""
        return f"{self.what}{where}: {self.why}" if self.why else f"{self.what}{where}"


class WrongUsage(LabError):
    """The command line names something that the lab does not have."""

    exit_code = ExitCode.WRONG_USAGE


class ConfigInvalid(LabError):
    """The mistakes of a config file; `where` is file:line of the first, `why` lists all of them."""

    exit_code = ExitCode.CONFIG_INVALID


class TargetAbsent(LabError):
    """The world that was asked does not exist yet, so nothing can be in it."""


class StepFailed(LabError):
    """A step could not be made so; `why` is the root cause in AWS's or Consul's own words."""


class NameNotFound(LabError):
    """A name that is not there; the hint lists those that are."""


class Unreachable(LabError):
    """A server that should answer does not."""


class Interrupted(Exception):
    """The user asked to stop. Whatever was started in AWS keeps running, and the next command picks it up."""
