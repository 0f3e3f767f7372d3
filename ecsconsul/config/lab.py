"""The model of a lab: frozen types that hold what config.yaml describes.

Their descriptions feed the JSON Schema (json_schema.py); their constraints (scalars.py) also the loader's validation.
"""

# without `from __future__ import annotations`: msgspec would have to evaluate them as text at every start

from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from .aws_settings import AwsSpec
from .container_spec import Check, ContainerKeys, ContainerSpec, PortSpec
from .scalars import (
    CONSUL_REPOSITORY,
    CONSUL_VERSION,
    LAB_PORT,
    MAX_INSTANCES,
    MAX_TASKS,
    Bucket,
    ConsulVersion,
    Duration,
    ImageName,
    InstanceCount,
    Name,
    Port,
    Role,
    RuntimeName,
    Schedule,
    Tag,
    TargetName,
)


class ServiceSpec(ContainerKeys, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One service of the lab: its main container, which has the service's name, those beside it, and how many run.

    With `ports`, the loader gives `port`, `host_port`, `tags` and `check` the values of the first one.
    """

    port: Annotated[Port, Meta(description="port that the container listens on; passed in PORT unless it's 4567")] = (
        LAB_PORT
    )
    host_port: Annotated[
        Port | None, Meta(description="fixed port on the instance; by default each task gets a free one (dynamic)")
    ] = None
    count: Annotated[int, Meta(ge=0, le=MAX_TASKS, description="number of tasks")] = 1
    tags: Annotated[tuple[Tag, ...], Meta(description="Consul tags: a list, or one tag")] = ()
    check: Annotated[
        Check | None, Meta(description='health check, by default none; "/health" is short for {http: /health}')
    ] = None
    schedule: Annotated[
        Schedule, Meta(description="replica (count tasks) or daemon (one task on each ECS instance)")
    ] = "replica"
    task_role: Annotated[Role | None, Meta(description="IAM role of the task's programs in AWS: a name or an ARN")] = (
        None
    )
    containers: Annotated[tuple[ContainerSpec, ...], Meta(description="more containers in the same task, by name")] = ()

    def image_name(self, container: str) -> str:
        """The name of the image of a container that is built: the service's or SERVICE-CONTAINER."""
        return self.name if container == self.name else f"{self.name}-{container}"

    @property
    def is_daemon(self) -> bool:
        """Whether each ECS instance runs one task of it."""
        return self.schedule == "daemon"

    @property
    def bindings(self) -> tuple[PortSpec, ...]:
        """The ports of the main container with their names in Consul; one for the short form."""
        if self.ports is None:
            own = PortSpec(port=self.port, host_port=self.host_port, tags=self.tags, check=self.check)
            return _named((own,), self.name, first=self.name)
        return _named(self.ports, self.name, first=self.name)

    @property
    def all_containers(self) -> tuple[ContainerSpec, ...]:
        """The containers of a task, the main one first, each with its ports and their names in Consul."""
        common = {field: getattr(self, field) for field in ContainerKeys.__struct_fields__}
        main = ContainerSpec(**{**common, "ports": self.bindings})
        return (main, *(replace(one, ports=_named(one.ports or (), one.name)) for one in self.containers))

    @property
    def host_ports(self) -> tuple[PortSpec, ...]:
        """The ports of all containers that have a fixed port on the instance."""
        return tuple(port for one in self.all_containers for port in one.ports or () if port.host_port)

    @property
    def registered(self) -> tuple[PortSpec, ...]:
        """The ports of all containers that are registered in Consul, each under its name."""
        return tuple(port for one in self.all_containers for port in one.ports or () if port.register)

    @property
    def registered_names(self) -> tuple[str, ...]:
        """The names that Consul knows it by; none for a service whose ports aren't registered."""
        return tuple(dict.fromkeys(str(port.name) for port in self.registered))

    @property
    def reports_itself(self) -> bool:
        """Whether a task reports to Consul itself, which needs a token."""
        return any(port.check and port.check.ttl for port in self.registered)


def _named(ports: tuple[PortSpec, ...], container: str, first: str | None = None) -> tuple[PortSpec, ...]:
    """The ports, each with a name."""
    return tuple(
        one if one.name else replace(one, name=first if first and index == 0 else f"{container}-{one.port}")
        for index, one in enumerate(ports)
    )


class SnapshotSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Scheduled snapshots of Consul's data. The loader makes `folder` absolute."""

    every: Annotated[Duration, Meta(description="time between two snapshots, at least 1m")] = "1h"
    keep: Annotated[Duration, Meta(description="how long to keep a snapshot; the newest one is always kept")] = "168h"
    folder: Annotated[
        str | None,
        Meta(description="folder for the snapshots of a lab on this machine; by default one that `down` keeps"),
    ] = None
    bucket: Annotated[
        Bucket | None, Meta(description="your S3 bucket for the snapshots of a lab in AWS; without it there are none")
    ] = None


class ConsulSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The Consul servers of the lab, and the version that its servers and agents run."""

    servers: Annotated[
        Literal[1, 3, 5], Meta(description="number of servers; 3 survive the loss of one, 5 the loss of two")
    ] = 1
    version: Annotated[
        ConsulVersion,
        Meta(description="version of Consul, on this machine and in AWS; under the free licence MPL up to 1.16.6"),
    ] = CONSUL_VERSION
    snapshots: Annotated[
        SnapshotSpec | None, Meta(description="scheduled snapshots of Consul's data, by default none")
    ] = None


class InstanceRange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many ECS instances there may be: as many as the tasks need."""

    min: Annotated[int, Meta(ge=1, le=MAX_INSTANCES, description="fewest ECS instances")]
    max: Annotated[int, Meta(ge=1, le=MAX_INSTANCES, description="most ECS instances")]


class LocalSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a lab on this machine. The loader makes `secrets` absolute."""

    secrets: Annotated[
        str | None,
        Meta(
            description="file of NAME=VALUE lines with the values of the services' secrets, readable by its owner"
            " alone; by default they are read from the environment of `up`"
        ),
    ] = None


class Lab(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"name": "lab"}):
    """Everything the config describes; `services` keep the config's order."""

    name: Annotated[Name, Meta(description="name of the lab, which every resource carries")] = "consul-lab"
    target: Annotated[
        TargetName,
        Meta(description="where the lab runs: local (this machine) or aws (your account); --target overrides it"),
    ] = "local"
    runtime: Annotated[
        RuntimeName,
        Meta(
            description="how tasks run on this machine: docker (containers), processes, or auto (containers when a"
            " Docker engine answers and has the base images, or a container has an image); --runtime overrides it"
        ),
    ] = "auto"
    base_image: Annotated[
        ImageName | None, Meta(description="base image that replaces the Dockerfiles' own: the build argument BASE")
    ] = None
    instances: Annotated[
        InstanceCount | InstanceRange,
        Meta(description="ECS instances that run the tasks: a number, or {min, max} for as many as the tasks need"),
    ] = 2
    keep: Annotated[
        int, Meta(ge=1, le=100, description="how many revisions of each service are kept, for `rollback`")
    ] = 10
    consul: Annotated[ConsulSpec, Meta(description="the Consul servers")] = ConsulSpec()
    local: Annotated[LocalSpec, Meta(description="settings of a lab on this machine")] = LocalSpec()
    aws: Annotated[AwsSpec, Meta(description="settings of the AWS target")] = AwsSpec()
    services: Annotated[tuple[ServiceSpec, ...], Meta(description="the services by name")] = ()

    def service(self, name: str) -> ServiceSpec | None:
        """The service of that name, or None."""
        return next((service for service in self.services if service.name == name), None)

    @property
    def min_instances(self) -> int:
        """The fewest ECS instances, with which a lab starts."""
        return self.instances if isinstance(self.instances, int) else self.instances.min

    @property
    def max_instances(self) -> int:
        """The most ECS instances; more than `min_instances` if their number follows the tasks."""
        return self.instances if isinstance(self.instances, int) else self.instances.max

    @property
    def consul_image(self) -> str:
        """The image of Consul's servers and agents in AWS."""
        return self.aws.consul_image or f"{CONSUL_REPOSITORY}:{self.consul.version}"

    @property
    def image_names(self) -> list[str]:
        """The names of all images that are built."""
        pairs = ((service, container) for service in self.services for container in service.all_containers)
        return [service.image_name(container.name) for service, container in pairs if container.path]

    @property
    def portal(self) -> ServiceSpec | None:
        """The service to open in a browser: with a fixed host port, and called portal or else the first one."""
        fixed = [service for service in self.services if service.host_port and service.bindings[0].protocol == "tcp"]
        return next((service for service in fixed if service.name == "portal"), fixed[0] if fixed else None)

    def family(self, service: str) -> str:
        """The family of a service's task definitions. Families are the account's, so it bears the lab's name too.

        Both names have the characters that ECS allows, and at most 32 of its 255.
        """
        return f"{self.name}-{service}"

    def with_daemons(self) -> "Lab":
        """The lab with the number of instances as the count of each daemon; the fewest, if it follows the tasks."""
        return self.with_counts({service.name: self.min_instances for service in self.services if service.is_daemon})

    def with_counts(self, counts: dict[str, int]) -> "Lab":
        """The lab with the task counts of some services replaced."""
        services = tuple(replace(service, count=counts.get(service.name, service.count)) for service in self.services)
        return replace(self, services=services)


def capacity_provider_of(lab: str) -> str:
    """The name of a lab's ECS capacity provider. ECS refuses those that begin with aws, ecs or fargate; a lab's may.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CreateCapacityProvider.html
    """
    return f"lab-{lab}"
