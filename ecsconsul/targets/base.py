"""What a target offers to the steps and the commands: AWS clients, ground to stand on, images, Consul, logs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from ..config.lab import Lab
    from ..errors import LabError

Say = Callable[[str], None]


@dataclass(frozen=True)
class PollingPolicy:
    """How long to wait for something: `attempts` looks, `delay` seconds apart."""

    delay: float
    attempts: int

    @property
    def seconds(self) -> float:
        """How long that is, the looks themselves taken for nothing."""
        return self.delay * self.attempts

    def at_most(self, seconds: float | None) -> PollingPolicy:
        """The same delay, and no more attempts than there is time for."""
        if seconds is None or seconds >= self.seconds:
            return self
        return PollingPolicy(self.delay, max(1, round(seconds / self.delay)))


@dataclass(frozen=True)
class ConsulAddress:
    """Where the lab's Consul answers, as seen from here."""

    http_host: str
    http_port: int
    dns_host: str
    dns_port: int
    # a tunnel carries no UDP
    dns_tcp_only: bool = False

    @property
    def http(self) -> str:
        return f"http://{self.http_host}:{self.http_port}"

    @property
    def dns(self) -> str:
        return f"{self.dns_host}:{self.dns_port}"


@dataclass(frozen=True)
class RuntimeInfo:
    """What the tasks that are there run as (docker or processes), and why so."""

    runtime: str
    why: str


@dataclass(frozen=True)
class LogLine:
    """One line that a task wrote."""

    task: str
    text: str


@dataclass(frozen=True)
class Finding:
    """What a look at one thing brought, before anything is made.

    `error` is what speaks against beginning where the state is failed; a warning or an unknown only has a hint.
    """

    name: str
    state: Literal["ok", "warning", "unknown", "failed"]
    detail: str
    hint: str = ""
    error: LabError | None = None


def failed(name: str, error: LabError) -> Finding:
    """The finding of something that speaks against beginning."""
    return Finding(name, "failed", str(error), error.hint, error)


def findings(name: str, errors: Sequence[LabError], well: str) -> list[Finding]:
    """What was found of one thing: all that speaks against it, or that it is well."""
    return [failed(name, error) for error in errors] or [Finding(name, "ok", well)]


class Images(Protocol):
    """Where the images of the lab are published."""

    def reference(self, service: str, tag: str) -> str:
        """The name under which a task definition asks for the image."""

    def tags(self, service: str) -> list[str]:
        """The tags published for a service, oldest first where the registry tells their age."""

    def publish(self, service: str, tag: str, source: Path, build_args: Mapping[str, str], say: Say) -> None:
        """Build the image from its folder and publish it. Raises LabError."""

    def delete(self, service: str) -> None:
        """Remove all images of a service; none is fine."""


class Target(Protocol):
    """One world in which a lab can live."""

    @property
    def name(self) -> str:
        """local or aws."""

    @property
    def region(self) -> str:
        """The AWS region."""

    @property
    def endpoint(self) -> str | None:
        """The URL of the AWS API, where it is not AWS's own."""

    @property
    def runtime_info(self) -> RuntimeInfo | None:
        """What tasks run as; None where nothing runs yet."""

    @property
    def patience(self) -> PollingPolicy:
        """How often to look while something is made, and for how long."""

    @property
    def images(self) -> Images:
        """Where the images are published."""

    @property
    def system_services(self) -> tuple[str, ...]:
        """The ECS services that the target runs besides the lab's own."""

    @property
    def registers_itself(self) -> bool:
        """Whether tasks get into Consul without a Registrator that the lab runs."""

    def client(self, service: str) -> Any:
        """A boto3 client. Raises TargetAbsent when this world does not exist (yet)."""

    def blockers(self, lab: Lab) -> list[LabError]:
        """Whatever speaks against beginning at all, found without changing anything."""

    def diagnostics(self, lab: Lab) -> list[Finding]:
        """All that is looked at before beginning, well or not; `objections` are those that failed."""

    def confirmation(self, lab: Lab) -> str | None:
        """What `up` would make and where, to be confirmed once; None when there is nothing to ask."""

    def exclusive(self) -> AbstractContextManager[None]:
        """For as long as it lasts nobody else changes the lab. Raises LabError when somebody does."""

    def ground(self) -> str | None:
        """What the lab stands on, in a few words; None when it must be made first."""

    def prepare(self, lab: Lab, say: Say) -> str:
        """Make the ground; what it is then, in a few words. Raises LabError."""

    def release(self, say: Say) -> None:
        """Take away what `prepare` made; fine when there is nothing."""

    def stack_parameters(self, lab: Lab) -> dict[str, str]:
        """The template's parameters that only this world knows; not part of the stack's fingerprint."""

    def log_configuration(self, lab: Lab, service_name: str) -> dict[str, Any] | None:
        """A container definition's logConfiguration; None where this world keeps logs by itself."""

    def boot_log(self, instance_id: str, lines: int) -> list[str]:
        """The last lines that an instance wrote while it booted; none when they are not known."""

    def consul(self) -> AbstractContextManager[ConsulAddress]:
        """A way to Consul, for as long as the context lasts. Raises TargetAbsent."""

    def last_lines(self, service: str, lines: int, task: str | None = None) -> list[LogLine]:
        """The last lines of each of a service's tasks (or of one), oldest task first."""

    def follow(self, service: str, lines: int) -> Iterator[LogLine]:
        """The last lines, and then each new one; ends only with the caller."""

    def execute(self, service: str, argv: Sequence[str], *, task: str | None) -> int:
        """Run a command in a running task of a service, joined to this terminal; its exit code.

        `task` are the first digits of the task's id; without it the newest one is taken. Raises LabError.
        """

    def portal_url(self, lab: Lab) -> str | None:
        """Where a browser finds the service that has a fixed host port."""

    def environment(self) -> Mapping[str, str]:
        """What another AWS or Consul client needs to know to use this lab. Raises TargetAbsent."""

    def leftovers(self, lab: Lab) -> list[str]:
        """What of the lab is still there, a line each."""

    def kept(self) -> list[str]:
        """What `down` leaves on purpose, a line each."""
