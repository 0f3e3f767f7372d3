"""The types of a container as the config describes it: its image, program, ports, volumes, secrets and checks.

The keys have ECS's own meaning:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters.html
"""

# without `from __future__ import annotations`: msgspec would have to evaluate them as text at every start

from typing import Annotated

from msgspec import Meta, Struct

from .scalars import (
    AbsolutePath,
    AccessPointId,
    Condition,
    Duration,
    FileSystemId,
    HttpPath,
    ImageName,
    LinkText,
    LogDriver,
    Name,
    Port,
    Protocol,
    SecretSource,
    Tag,
    UlimitValue,
    UserName,
    VolumeName,
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


class PortSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A port of a container, and how Consul knows it. In `ServiceSpec.all_containers` each has its name."""

    port: Annotated[Port, Meta(description="port that the container listens on")]
    host_port: Annotated[
        Port | None, Meta(description="fixed port on the instance; by default each task gets a free one (dynamic)")
    ] = None
    protocol: Annotated[Protocol, Meta(description="tcp or udp")] = "tcp"
    name: Annotated[
        Name | None,
        Meta(description="name in Consul; by default the service's for its first port, and else NAME-PORT"),
    ] = None
    tags: Annotated[tuple[Tag, ...], Meta(description="Consul tags: a list, or one tag")] = ()
    check: Annotated[
        Check | None, Meta(description='health check, by default none; "/health" is short for {http: /health}')
    ] = None
    register: Annotated[bool, Meta(description="whether the port is registered in Consul")] = True


class VolumeSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A volume in a container. Without host and efs it's a folder that the task's containers share while it runs."""

    name: Annotated[VolumeName, Meta(description="name of the volume; the task's containers share it by its name")]
    path: Annotated[AbsolutePath, Meta(description="folder in the container")]
    read_only: Annotated[bool, Meta(description="whether the container may only read it")] = False
    host: Annotated[AbsolutePath | None, Meta(description="folder on the instance")] = None
    efs: Annotated[FileSystemId | None, Meta(description="ID of an EFS file system, encrypted in transit")] = None
    root: Annotated[AbsolutePath | None, Meta(description="folder in the EFS file system, by default its root")] = None
    access_point: Annotated[AccessPointId | None, Meta(description="access point of the EFS file system")] = None


class HealthCheckSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The health check that ECS makes in the container. Its command begins with CMD or CMD-SHELL once it's read."""

    command: Annotated[
        tuple[str, ...], Meta(description="a text for the container's shell, or a list of words to run without one")
    ]
    interval: Annotated[Duration, Meta(description="time between two checks, 5s to 300s")] = "30s"
    timeout: Annotated[Duration, Meta(description="time limit of one check, 2s to 60s")] = "5s"
    retries: Annotated[int, Meta(ge=1, le=10, description="failures in a row until it is unhealthy")] = 3
    start_period: Annotated[
        Duration | None, Meta(description="how long failures don't count after the start, up to 300s")
    ] = None


class UlimitSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A limit of the container's processes; a single number sets both."""

    soft: Annotated[UlimitValue, Meta(description="limit that a process may raise itself, up to the hard one")]
    hard: Annotated[UlimitValue, Meta(description="limit that only root may raise")]


class LogSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a container's log goes, instead of aws.logs."""

    driver: Annotated[LogDriver, Meta(description="log driver of the container")]
    options: Annotated[dict[str, str], Meta(description="options of the log driver")] = {}


class ContainerKeys(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the main container and the others have in common. The loader makes paths absolute."""

    name: Name
    path: Annotated[
        str | None,
        Meta(
            description="folder with the Dockerfile: relative to this file, absolute,"
            " or lab:NAME for a service that ships with ecsconsul",
            examples=["services/weather", "lab:weather"],
        ),
    ] = None
    image: Annotated[
        ImageName | None,
        Meta(description="image that exists and isn't built, instead of path", examples=["nginx:1.25"]),
    ] = None
    entry_point: Annotated[
        tuple[str, ...], Meta(description="replaces the image's ENTRYPOINT: a list of words, or a text")
    ] = ()
    command: Annotated[tuple[str, ...], Meta(description="replaces the image's CMD: a list of words, or a text")] = ()
    working_directory: Annotated[AbsolutePath | None, Meta(description="folder in which the program starts")] = None
    user: Annotated[UserName | None, Meta(description="user of the program: a name or an ID, with :GROUP or not")] = (
        None
    )
    # ECS's maximum for a task is 196608 CPU units (192 vCPUs), its minimum for a container 4 MiB
    cpu: Annotated[int, Meta(ge=1, le=196608, description="CPU units per task; 1024 units are one vCPU")] = 100
    memory: Annotated[int, Meta(ge=4, description="hard memory limit per task in MiB")] = 200
    environment: Annotated[
        dict[str, str], Meta(description="environment variables of the container; numbers and booleans become text")
    ] = {}
    env_file: Annotated[
        tuple[str, ...],
        Meta(
            description="files of NAME=VALUE lines: paths relative to this file, or ARNs of objects in S3;"
            " environment wins. Once read, only the ARNs are left here"
        ),
    ] = ()
    secrets: Annotated[
        dict[str, SecretSource],
        Meta(description="environment variables from SSM (name or ARN) or Secrets Manager (ARN)"),
    ] = {}
    ports: Annotated[
        tuple[PortSpec, ...] | None,
        Meta(description="ports instead of port, host_port, tags and check; [] for none"),
    ] = None
    volumes: Annotated[tuple[VolumeSpec, ...], Meta(description='volumes; "NAME:/path[:ro]" for a shared folder')] = ()
    depends_on: Annotated[
        dict[str, Condition],
        Meta(description="containers of the task to wait for: a list (START), or a mapping to conditions"),
    ] = {}
    links: Annotated[
        tuple[LinkText, ...],
        Meta(description="containers of the task that this one reaches by name: NAME or NAME:ALIAS"),
    ] = ()
    health_check: Annotated[
        HealthCheckSpec | None, Meta(description="ECS's check in the container, instead of the one made from check")
    ] = None
    ulimits: Annotated[
        dict[str, UlimitSpec], Meta(description="limits of its processes by name: a number, or {soft, hard}")
    ] = {}
    labels: Annotated[dict[str, str], Meta(description="Docker labels of the container")] = {}
    stop_timeout: Annotated[
        Duration | None, Meta(description="time between the stop signal and the kill, by default the agent's 30s")
    ] = None
    log: Annotated[LogSpec | None, Meta(description="where the container's log goes, instead of aws.logs")] = None


class ContainerSpec(ContainerKeys, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One container of a task; its ports are what it publishes, and without `ports` there are none."""

    essential: Annotated[bool, Meta(description="whether the task ends when this container does")] = True
