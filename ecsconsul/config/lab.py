"""The model of a lab: frozen types that hold what config.yaml describes.

Their descriptions feed the JSON Schema (json_schema.py); their constraints (scalars.py) also the loader's validation.
"""

# without `from __future__ import annotations`: msgspec would have to evaluate them as text at every start

from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from .aws_settings import AwsSpec
from .scalars import (
    CONSUL_REPOSITORY,
    CONSUL_VERSION,
    LAB_PORT,
    MAX_INSTANCES,
    MAX_TASKS,
    Bucket,
    ConsulVersion,
    Duration,
    HttpPath,
    ImageName,
    InstanceCount,
    Name,
    Port,
    RuntimeName,
    Tag,
    TargetName,
)


class Check(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Consul health check: exactly one of http, tcp and ttl."""

    http: Annotated[HttpPath | None, Meta(description="passes when a GET of this path returns 2xx")] = None
    tcp: Annotated[bool, Meta(description="passes when the port accepts a connection")] = False
    ttl: Annotated[Duration | None, Meta(description="passes while the task reports at least this often")] = None
    interval: Annotated[Duration, Meta(description="time between two checks; not for ttl")] = "10s"
    timeout: Annotated[
        Duration | None, Meta(description="time limit of one check, by default Consul's 10s; not for ttl")
    ] = None
    container: Annotated[
        bool,
        Meta(description="whether ECS makes the check too, in the container, so that deployments wait; not for ttl"),
    ] = True


class ServiceSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One service of the lab: a folder with a Dockerfile, and how to run it. The loader makes `path` absolute."""

    name: Name
    path: Annotated[
        str,
        Meta(
            description="folder with the Dockerfile: relative to this file, absolute,"
            " or lab:NAME for a service that ships with ecsconsul",
            examples=["services/weather", "lab:weather"],
        ),
    ]
    port: Annotated[Port, Meta(description="port that the container listens on; passed in PORT unless it's 4567")] = (
        LAB_PORT
    )
    host_port: Annotated[
        Port | None, Meta(description="fixed port on the instance; by default each task gets a free one (dynamic)")
    ] = None
    count: Annotated[int, Meta(ge=0, le=MAX_TASKS, description="number of tasks")] = 1
    # ECS's maximum for a task is 196608 CPU units (192 vCPUs), its minimum for a container 4 MiB
    cpu: Annotated[int, Meta(ge=1, le=196608, description="CPU units per task; 1024 units are one vCPU")] = 100
    memory: Annotated[int, Meta(ge=4, description="hard memory limit per task in MiB")] = 200
    environment: Annotated[
        dict[str, str], Meta(description="environment variables of the container; numbers and booleans become text")
    ] = {}
    tags: Annotated[tuple[Tag, ...], Meta(description="Consul tags: a list, or one tag")] = ()
    check: Annotated[
        Check | None, Meta(description='health check, by default none; "/health" is short for {http: /health}')
    ] = None


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
            " Docker engine answers and has the base images); --runtime overrides it"
        ),
    ] = "auto"
    base_image: Annotated[
        ImageName | None, Meta(description="base image that replaces the Dockerfiles' own: the build argument BASE")
    ] = None
    instances: Annotated[
        InstanceCount | InstanceRange,
        Meta(description="ECS instances that run the tasks: a number, or {min, max} for as many as the tasks need"),
    ] = 2
    consul: Annotated[ConsulSpec, Meta(description="the Consul servers")] = ConsulSpec()
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
    def portal(self) -> ServiceSpec | None:
        """The service to open in a browser: with a fixed host port, and called portal or else the first one."""
        fixed = [service for service in self.services if service.host_port]
        return next((service for service in fixed if service.name == "portal"), fixed[0] if fixed else None)

    def family(self, service: str) -> str:
        """The family of a service's task definitions. Families are the account's, so it bears the lab's name too.

        Both names have the characters that ECS allows, and at most 32 of its 255.
        """
        return f"{self.name}-{service}"

    def with_counts(self, counts: dict[str, int]) -> "Lab":
        """The lab with the task counts of some services replaced."""
        services = tuple(replace(service, count=counts.get(service.name, service.count)) for service in self.services)
        return replace(self, services=services)


def capacity_provider_of(lab: str) -> str:
    """The name of a lab's ECS capacity provider. ECS refuses those that begin with aws, ecs or fargate; a lab's may.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CreateCapacityProvider.html
    """
    return f"lab-{lab}"
