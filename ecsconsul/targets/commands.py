"""What the commands need from a target beyond what its steps use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Literal, NamedTuple, Protocol

from ..consul.lab_secrets import LabSecrets, Rotation
from ..consul.snapshot_file import SnapshotStore
from ..errors import LabError
from .base import LogLine, Say, Target


class RuntimeInfo(NamedTuple):
    """What the lab's tasks run as (docker or processes), and why."""

    runtime: str
    why: str


class Finding(NamedTuple):
    """The result of one diagnostic. A `failed` one carries the error that blocks `up`; others have only a hint."""

    name: str
    state: Literal["ok", "warning", "unknown", "failed"]
    detail: str
    hint: str = ""
    error: LabError | None = None


def failed(name: str, error: LabError) -> Finding:
    """The finding for an error that blocks `up`."""
    return Finding(name, "failed", str(error), error.hint, error)


def findings(name: str, errors: Sequence[LabError], ok: str) -> list[Finding]:
    """One failed finding for each error, or a single `ok` one."""
    return [failed(name, error) for error in errors] or [Finding(name, "ok", ok)]


class CommandTarget(Target, Protocol):
    """A target with all that the command line asks of it."""

    @property
    def region(self) -> str:
        """The AWS region."""

    @property
    def endpoint(self) -> str | None:
        """The URL of the AWS API when it isn't AWS's own."""

    @property
    def runtime_info(self) -> RuntimeInfo | None:
        """What the lab's tasks run as; None when no lab runs here, or in AWS."""

    def diagnostics(self) -> list[Finding]:
        """Everything that `doctor` checks; the failed findings are the `blockers`."""

    def confirmation(self) -> str | None:
        """What `up` creates and where, for the user to confirm; None when there is nothing to confirm."""

    def consul_secrets(self) -> LabSecrets:
        """The secrets of the lab's Consul. Raises TargetAbsent, and LabError when the caller may not read them."""

    def rotation(self) -> Rotation | None:
        """The rotation of these secrets that has begun and not ended."""

    def keep_rotation(self, rotation: Rotation | None) -> None:
        """Keep a rotation that begins, in case this command is killed, or forget one that has ended."""

    def adopt_secrets(self, lab_secrets: LabSecrets, say: Say) -> dict[str, str]:
        """Give these secrets to all agents and Registrators; returns when all use them. Raises LabError.

        Where instances read them only when they boot, returns the stack parameters that replace the instances.
        """

    def rotation_cost(self) -> str | None:
        """What `rotate` does to what runs, for the user to confirm; None when it replaces nothing."""

    def snapshots(self) -> SnapshotStore:
        """Where the lab keeps its snapshots. Raises LabError where there is no place for them."""

    def after_restore(self, say: Say) -> None:
        """Let Consul's servers and agents get over data that were restored, as far as it takes more than waiting.

        Afterwards a leader makes the management token that it was configured with, if the data lack it.
        """

    def lock(self) -> AbstractContextManager[None]:
        """Keep other commands from changing the lab. Raises LabError when one is already doing so."""

    def follow(self, service: str, lines: int) -> Iterator[LogLine]:
        """The last log lines of a service, then each new one as it is written; never ends by itself."""

    def execute(self, service: str, argv: Sequence[str], *, task: str | None) -> int:
        """Run a command in a running task, attached to this terminal; returns its exit code.

        `task` is the beginning of a task id; the default is the newest task. Raises LabError.
        """

    def portal_url(self) -> str | None:
        """Where a browser finds the service with a fixed host port."""

    def environment(self) -> Mapping[str, str]:
        """The variables that other AWS and Consul clients need to use this lab. Raises TargetAbsent."""

    def leftovers(self) -> list[str]:
        """What still exists of the lab, one line each."""

    def retained(self) -> list[str]:
        """What `down` keeps on purpose, one line each."""
