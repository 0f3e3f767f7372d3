"""What the commands need from a target beyond what its steps use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from ..consul.lab_secrets import LabSecrets, Rotation
from ..consul.snapshot_file import SnapshotStore
from ..errors import LabError
from ..observe.states import Container, EcsState, Task
from ..observe.usage import Usage
from .base import LogLine, Say, Target
from .machine import Machine

# as AWS counts them
HOURS_A_MONTH = 730


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


class AmiInfo(NamedTuple):
    """An AMI that the lab's instances run, and the newer one that is current, if any.

    `age_days` is None if AWS doesn't say when it was created; no instance can start from one that is `gone`.
    """

    id: str
    used_by: tuple[str, ...]
    age_days: int | None
    deprecated: bool
    gone: bool
    newer: str

    def described(self) -> str:
        """The AMI in a few words."""
        age = "" if self.age_days is None else f"{self.age_days} days old" if self.age_days != 1 else "1 day old"
        states = [age, "deprecated" if self.deprecated else "", "no longer available" if self.gone else ""]
        newer = f"{self.newer} is current" if self.newer else ""
        return ", ".join(filter(None, [self.id, *states, newer]))


class Alarm(NamedTuple):
    """An alarm that has been raised: its name, what it means, and since when (ISO 8601)."""

    name: str
    text: str
    since: str


class TaskOutput(Protocol):
    """What one container of a task writes, as far as it hasn't been read yet."""

    @property
    def late_seconds(self) -> float:
        """How many seconds after the task has stopped its last lines may still arrive."""

    def read(self) -> list[str]:
        """The next lines; empty when there are none yet. What one call returns is bounded."""

    def rest(self) -> str:
        """What the container wrote last without a line break."""


def failed(name: str, error: LabError) -> Finding:
    """The finding for an error that blocks `up`."""
    return Finding(name, "failed", str(error), error.hint, error)


def findings(name: str, errors: Sequence[LabError], ok: str) -> list[Finding]:
    """One failed finding for each error, or a single `ok` one."""
    return [failed(name, error) for error in errors] or [Finding(name, "ok", ok)]


class CostLine(NamedTuple):
    """One line of an estimate: how many of it, with the fewest and with the most instances, and their price.

    `price` is for one of them `per` hour or month.
    """

    what: str
    fewest: float
    most: float
    per: str
    price: float

    @property
    def hour(self) -> float:
        """What the fewest cost an hour."""
        return self.fewest * self._an_hour

    @property
    def hour_max(self) -> float:
        """What the most cost an hour."""
        return self.most * self._an_hour

    @property
    def _an_hour(self) -> float:
        return self.price / (1 if self.per == "hour" else HOURS_A_MONTH)


class Estimate(NamedTuple):
    """What a lab costs, in lines; `unknown` names what it also has, and whose price isn't known."""

    currency: str
    lines: tuple[CostLine, ...]
    unknown: tuple[str, ...]

    @property
    def hour(self) -> float:
        """The known costs an hour, with the fewest instances."""
        return sum(line.hour for line in self.lines)

    @property
    def hour_max(self) -> float:
        """The known costs an hour, with the most instances."""
        return sum(line.hour_max for line in self.lines)

    @property
    def month(self) -> float:
        """`hour` for a month."""
        return self.hour * HOURS_A_MONTH

    @property
    def month_max(self) -> float:
        """`hour_max` for a month."""
        return self.hour_max * HOURS_A_MONTH

    @property
    def summary(self) -> str:
        """The totals in one line."""
        hour, month = _range(self.hour, self.hour_max), _range(self.month, self.month_max)
        more = f", and unknown prices: {', '.join(self.unknown)}" if self.unknown else ""
        return f"Estimated cost: {hour} {self.currency} an hour, {month} {self.currency} a month{more}"


def _range(fewest: float, most: float) -> str:
    one, other = f"{fewest:.2f}", f"{most:.2f}"
    return one if one == other else f"{one} to {other}"


# the host and port of an endpoint -> where this machine reaches it; raises Unreachable
Reach = Callable[[str, int], tuple[str, int]]


def directly() -> AbstractContextManager[Reach]:
    """The way to endpoints that are on this machine."""
    return nullcontext(lambda host, port: (host, port))


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

    def amis(self) -> list[AmiInfo]:
        """The AMIs that the lab's instances run; none where no instance boots. Raises LabError."""

    def confirmation(self, replaced: Callable[[], Sequence[str]] = tuple) -> str | None:
        """What `up` creates, replaces and where, for the user to confirm; None when there is nothing to confirm.

        `replaced` finds out which instances it replaces, a line for each group, where an update can do that.
        """

    def estimate(self) -> Estimate | None:
        """What the lab costs once it is as the config says; None where it costs nothing. Raises LabError."""

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

    def lock(self, command: str = "") -> AbstractContextManager[None]:
        """Keep other commands from changing the lab; they read which `command` is doing so.

        Raises LabError when one is already doing so.
        """

    def follow(self, service: str, lines: int, since: float | None = None) -> Iterator[LogLine]:
        """The last log lines of a service, then each new one as it is written; never ends by itself.

        With `since`, none that was written before that (seconds since the epoch).
        """

    def task_output(self, task: str, definition: Mapping[str, Any], container: str) -> TaskOutput | None:
        """What a container of the task with this id writes; None if its task definition logs to where nobody can read.

        `definition` is the task definition as ECS describes it. Does no I/O.
        """

    def execute(self, service: str, argv: Sequence[str], *, task: str | None) -> int:
        """Run a command in a running task, attached to this terminal; returns its exit code.

        `task` is the beginning of a task id; the default is the newest task. Raises LabError.
        """

    def reach(self) -> AbstractContextManager[Reach]:
        """A way to the tasks' endpoints, which ends with the context."""

    def alarms(self) -> list[Alarm] | None:
        """The alarms that have been raised; None if they are unknown."""

    def machine(self) -> Machine | None:
        """The machine on which tasks and agents run, for faults; None where it's another one. Raises LabError."""

    def portal_url(self) -> str | None:
        """Where a browser finds the service with a fixed host port."""

    def environment(self) -> Mapping[str, str]:
        """The variables that other AWS and Consul clients need to use this lab. Raises TargetAbsent."""

    def ecs_state(self, since: int, wait: float) -> tuple[EcsState, float]:
        """ECS's tasks and services, and the seconds until it makes sense to ask again.

        Where that is 0, the answer comes once the state is another than that of version `since`, or after `wait`
        seconds. Raises LabError.
        """

    def usage(self, containers: Sequence[tuple[Task, Container]], seconds: float) -> list[Usage]:
        """What running containers use, measured over about that many seconds. Raises LabError where nobody tells."""

    def labs_with(self, service: str) -> list[str]:
        """The other labs here that have a service of that name in their Consul, as far as they can be asked."""

    @property
    def is_here(self) -> bool:
        """Whether it runs on this machine: then its tasks can be reached from here, and nobody else needs them."""

    @property
    def records_itself(self) -> bool:
        """Whether the lab records its events all the time; where it doesn't, commands do while they observe it."""

    def journals(self) -> list[Path]:
        """The folders with the record of the lab's events, oldest first; the last is the one to write to."""

    def leftovers(self) -> list[str]:
        """What still exists of the lab, one line each."""

    def retained(self) -> list[str]:
        """What `down` keeps on purpose, one line each."""
