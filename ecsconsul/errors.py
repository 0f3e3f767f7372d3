"""The errors that users see: what failed, where, why, and what to do about it.

LabError                 exit 1
├── WrongUsage           exit 2   the command line names something that doesn't exist
├── ConfigInvalid        exit 3   one or more mistakes in config.yaml, each with its line
├── TargetAbsent         exit 1   the target doesn't exist (yet), so it contains nothing
├── StepFailed           exit 1   a step failed; has the root cause
├── NotOwned             exit 1   a resource of the lab's name that another one made, or that lost its tag
├── NameNotFound         exit 1   a name that neither DNS nor the lab knows
└── Unreachable          exit 1   a server doesn't answer
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes, which docs/cli.md guarantees."""

    DONE = 0
    FAILED = 1
    WRONG_USAGE = 2
    CONFIG_INVALID = 3
    UNHEALTHY = 4
    CHANGES_PENDING = 5
    INTERRUPTED = 130


class LabError(Exception):
    """What failed, where, why, and an actionable hint."""

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
    """The command line names something that doesn't exist."""

    exit_code = ExitCode.WRONG_USAGE


class ConfigInvalid(LabError):
    """A config has mistakes: `where` is file:line of the first, and `why` lists all of them."""

    exit_code = ExitCode.CONFIG_INVALID


class TargetAbsent(LabError):
    """The target doesn't exist (yet), so it contains nothing."""


class StepFailed(LabError):
    """A step failed; `why` is the root cause as reported by AWS or Consul."""


class NotOwned(LabError):
    """A resource has the name of one of the `lab`, and the tag of another `owner`, or none."""

    lab = ""
    owner: str | None = None


class NameNotFound(LabError):
    """A name isn't found; the hint lists known names."""


class Unreachable(LabError):
    """A server doesn't answer."""


class Interrupted(Exception):
    """The user interrupts a command. What it started may continue; the next `up` or `down` resumes from there."""
