"""The target protocol: what the steps need from the place where a lab runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..errors import LabError
from ..polling import PollingPolicy

if TYPE_CHECKING:
    from ..consul.catalog import Consul

Say = Callable[[str], None]


class ConsulAddress(NamedTuple):
    """Where this machine reaches the lab's Consul: over TLS if `ca_file` is set, and then under that server name."""

    http_host: str
    http_port: int
    dns_host: str
    dns_port: int
    # a tunnel carries no UDP
    dns_tcp_only: bool = False
    ca_file: str = ""
    server_name: str = ""

    @property
    def http(self) -> str:
        return f"{'https' if self.ca_file else 'http'}://{self.http_host}:{self.http_port}"

    def client(self, token: str = "") -> Consul:
        """A client of its HTTP API."""
        from ..consul.catalog import Consul

        ca_file, server_name = self.ca_file, self.server_name
        return Consul(self.http_host, self.http_port, token=token, ca_file=ca_file, server_name=server_name)

    @property
    def dns(self) -> str:
        return f"{self.dns_host}:{self.dns_port}"


class TaskSecrets(NamedTuple):
    """The variables with which a task reports to its Consul agent.

    `secrets` are names of parameters, whose values ECS puts into the variables when it starts the task.
    """

    secrets: Mapping[str, str]
    environment: Mapping[str, str]


NO_SECRETS = TaskSecrets({}, {})


class LogLine(NamedTuple):
    """One line of a task's log; `at` is when it was written, in seconds since the epoch, as far as that is known."""

    task: str
    text: str
    at: float | None = None


class ResourceDrift(NamedTuple):
    """A property of a stack's resource that isn't as its template says; None where it is absent."""

    resource: str
    name: str
    expected: str | None
    actual: str | None


def no_detection(stack: str) -> list[ResourceDrift]:
    """The drift of a stack where CloudFormation detects none."""
    return []


class Images(Protocol):
    """The registry or engine that holds the lab's images."""

    def reference(self, service: str, tag: str) -> str:
        """The image reference that a task definition uses."""

    def tags(self, service: str) -> list[str]:
        """A service's published tags, oldest first where the registry knows their age."""

    def source(self, service: str, tag: str) -> Mapping[str, str] | None:
        """What a published image was built from, by `files/PATH`; None if nothing has kept that. Raises LabError."""

    def exists(self, service: str, reference: str) -> bool:
        """Whether tasks of the service can start from the image; also True where nobody can tell before they do."""

    def publish(self, service: str, tag: str, source: Path, build_args: Mapping[str, str], say: Say) -> None:
        """Build the image from its folder and publish it. Raises LabError."""

    def delete(self, service: str) -> None:
        """Delete all images of a service; having none is fine."""


class Target(Protocol):
    """The place where one lab runs, as its steps see it."""

    @property
    def name(self) -> str:
        """local or aws."""

    @property
    def polling(self) -> PollingPolicy:
        """How often to poll a resource that isn't ready, and for how long."""

    @property
    def images(self) -> Images:
        """Where images are published."""

    @property
    def system_services(self) -> tuple[str, ...]:
        """The services that this target needs besides those of the config, such as the Registrator."""

    def client(self, service: str) -> Any:
        """A boto3 client. Raises TargetAbsent when the target doesn't exist yet."""

    def blockers(self) -> list[LabError]:
        """Everything that prevents `up` from starting. Read-only."""

    def prerequisites(self) -> str | None:
        """What the lab is built on, in a few words; None when `bootstrap` has to create it."""

    def bootstrap(self, say: Say) -> str:
        """Create the prerequisites; returns what they are, in a few words. Raises LabError."""

    def teardown(self, say: Say) -> None:
        """Delete what `bootstrap` created; safe to repeat."""

    @property
    def template_parts(self) -> tuple[str, ...]:
        """The parts that the stack's template has besides its own resources: names of files in templates/parts."""

    def stack_parameters(self) -> dict[str, str]:
        """The template parameters that only the target knows; not part of the stack's fingerprint."""

    def renewed_parameters(self) -> dict[str, str]:
        """Those of an existing stack that this command was asked to renew, such as its AMIs; usually none."""

    def instances_of(self, groups: Sequence[str]) -> dict[str, int]:
        """By the name of its Auto Scaling group, how many instances an update of the stack may replace."""

    def pinned_image(self, image: str, say: Say) -> str:
        """Consul's image for the stack, with the digest that it has or gets; not part of the stack's fingerprint."""

    def task_secrets(self, service: str) -> TaskSecrets:
        """What the task definition of a service adds so that its tasks may write to Consul. Does no I/O."""

    def execution_role(self) -> str | None:
        """The role with which ECS reads the secrets of tasks; None when there is none."""

    def has_execution_role(self) -> bool:
        """Whether the stack has such a role, which must be allowed to read the secrets of tasks. Does no I/O."""

    def target_group(self, service: str) -> str | None:
        """The stack's output with the load balancer's target group for the service's tasks; None if there is none.

        Does no I/O.
        """

    def stack_output(self, name: str) -> str | None:
        """The value of an output of the stack; None while the stack doesn't have it."""

    def log_configuration(self, service: str) -> dict[str, Any] | None:
        """The logConfiguration of a service's container definition; None to use the default."""

    def stack_drift(self, stack: str) -> list[ResourceDrift]:
        """What CloudFormation finds changed in the resources of a stack; none where there is no such detection.

        Raises LabError, such as for a missing permission.
        """

    def boot_log(self, instance_id: str, lines: int) -> list[str]:
        """The last lines that an instance wrote while it booted; empty when they aren't available."""

    def consul(self) -> AbstractContextManager[ConsulAddress]:
        """Access to Consul for as long as the context lasts. Raises TargetAbsent."""

    def last_lines(
        self, service: str, lines: int, task: str | None = None, since: float | None = None
    ) -> list[LogLine]:
        """The last log lines of each task of a service (or of one task), oldest task first.

        With `since`, none that was written before that (seconds since the epoch). Raises LabError if the tasks log to
        where they can't be read.
        """
