"""Builds the container definitions and volumes of a service's task definition from the config. Pure.

What the config leaves out is left out here too, so that a service of a short config keeps its fingerprint.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..aws_tags import as_items
from ..config.container_spec import Check, ContainerSpec, HealthCheckSpec, PortSpec, VolumeSpec
from ..config.lab import ServiceSpec
from ..config.scalars import LAB_PORT
from .container_check import check_of_ports, seconds

TCP = "tcp"


def container_definitions(
    service: ServiceSpec, image_of: Callable[[ContainerSpec], str], logs: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """The container definitions of a service, the main one first; `logs` is for those without a log of their own."""
    return [
        container_definition(one, image_of(one), main=index == 0, logs=logs)
        for index, one in enumerate(service.all_containers)
    ]


def container_definition(
    spec: ContainerSpec, image: str, *, main: bool = True, logs: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A container definition, with the metadata from which Registrator registers the container.

    `spec` has the names of its ports, as in `ServiceSpec.all_containers`.
    """
    ports = spec.ports or ()
    environment = {**(_port_variable(ports) if main else {}), **spec.environment, **registrator_metadata(ports)}
    check = _health_check(spec.health_check) if spec.health_check else check_of_ports(ports)
    log = {"logDriver": spec.log.driver, "options": dict(spec.log.options)} if spec.log else logs
    return {
        "name": spec.name,
        "image": image,
        "cpu": spec.cpu,
        "memory": spec.memory,
        "essential": spec.essential,
        **({"portMappings": [_port_mapping(port) for port in ports]} if ports else {}),
        **({"environment": as_items(environment, key="name")} if environment else {}),
        **({"healthCheck": check} if check else {}),
        **_settings(spec),
        **({"logConfiguration": log} if log else {}),
    }


def task_settings(service: ServiceSpec) -> dict[str, Any]:
    """The settings of the whole task."""
    volumes = _volumes(service)
    return {
        "networkMode": "bridge",
        **({"volumes": volumes} if volumes else {}),
        **({"taskRoleArn": service.task_role} if service.task_role else {}),
    }


def needs_role(containers: list[dict[str, Any]]) -> bool:
    """Whether ECS needs a role to start the task: it reads the secrets and the files of variables with it."""
    return any(one.get("secrets") or one.get("environmentFiles") for one in containers)


def registrator_metadata(ports: tuple[PortSpec, ...]) -> dict[str, str]:
    """The SERVICE_* variables: name, tags and check of each port, or that it is ignored (docs/registrator.md).

    A port on which both protocols are published needs keys for each; the original Registrator doesn't know those.
    """
    numbers = [port.port for port in ports]
    metadata: dict[str, str] = {}
    for port in ports:
        protocol = f"{port.protocol.upper()}_" if numbers.count(port.port) > 1 else ""
        prefix = f"SERVICE_{port.port}_{protocol}"
        if not port.register:
            metadata[f"{prefix}IGNORE"] = "true"
            continue
        metadata[f"{prefix}NAME"] = str(port.name)
        if port.tags:
            key = "SERVICE_TAGS" if len(ports) == 1 else f"{prefix}TAGS"
            metadata[key] = ",".join(tag.replace(",", r"\,") for tag in port.tags)
        if port.check:
            metadata |= {f"{prefix}CHECK_{key}": value for key, value in _check(port.check).items()}
    return metadata


def _check(check: Check) -> dict[str, str]:
    if check.ttl:
        return {"TTL": check.ttl}
    kind = {"HTTP": check.http} if check.http else {"TCP": "true"}
    timeout = {"TIMEOUT": check.timeout} if check.timeout else {}
    return {**kind, "INTERVAL": check.interval, **timeout}


def _port_variable(ports: tuple[PortSpec, ...]) -> dict[str, str]:
    """PORT, for a service that listens elsewhere than the lab's text assumes."""
    first = next(iter(ports), None)
    return {"PORT": str(first.port)} if first and first.protocol == TCP and first.port != LAB_PORT else {}


def _port_mapping(port: PortSpec) -> dict[str, Any]:
    mapping: dict[str, Any] = {"containerPort": port.port, "protocol": port.protocol}
    return {**mapping, "hostPort": port.host_port} if port.host_port else mapping


def _settings(spec: ContainerSpec) -> dict[str, Any]:
    """The settings that are absent unless the config has them."""
    limits = [{"name": name, "softLimit": one.soft, "hardLimit": one.hard} for name, one in spec.ulimits.items()]
    found: dict[str, Any] = {
        "entryPoint": list(spec.entry_point),
        "command": list(spec.command),
        "workingDirectory": spec.working_directory,
        "user": spec.user,
        "environmentFiles": [{"value": arn, "type": "s3"} for arn in spec.env_file],
        "secrets": as_items(spec.secrets, key="name", value="valueFrom"),
        "mountPoints": [_mount_point(volume) for volume in spec.volumes],
        "dependsOn": [{"containerName": name, "condition": condition} for name, condition in spec.depends_on.items()],
        "links": list(spec.links),
        "ulimits": limits,
        "dockerLabels": dict(spec.labels),
        "stopTimeout": seconds(spec.stop_timeout) if spec.stop_timeout else None,
    }
    return {key: value for key, value in found.items() if value}


def _health_check(spec: HealthCheckSpec) -> dict[str, Any]:
    start = {"startPeriod": seconds(spec.start_period)} if spec.start_period else {}
    return {
        "command": list(spec.command),
        "interval": seconds(spec.interval),
        "timeout": seconds(spec.timeout),
        "retries": spec.retries,
        **start,
    }


def _mount_point(volume: VolumeSpec) -> dict[str, Any]:
    return {"sourceVolume": volume.name, "containerPath": volume.path, "readOnly": volume.read_only}


def _volumes(service: ServiceSpec) -> list[dict[str, Any]]:
    """The volumes of the task, in the order in which its containers name them first."""
    found: dict[str, dict[str, Any]] = {}
    for container in service.all_containers:
        for volume in container.volumes:
            source = _source(volume)
            if source != _UNNAMED_FOLDER or volume.name not in found:
                found[volume.name] = {"name": volume.name, **source}
    return list(found.values())


# without a path on the instance, Docker makes a folder that lives as long as the task:
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/bind-mounts.html
_UNNAMED_FOLDER: dict[str, Any] = {"host": {}}


def _source(volume: VolumeSpec) -> dict[str, Any]:
    if volume.host:
        return {"host": {"sourcePath": volume.host}}
    if not volume.efs:
        return _UNNAMED_FOLDER
    root = {"rootDirectory": volume.root} if volume.root else {}
    access = {"authorizationConfig": {"accessPointId": volume.access_point}} if volume.access_point else {}
    efs = {"fileSystemId": volume.efs, **root, "transitEncryption": "ENABLED", **access}
    return {"efsVolumeConfiguration": efs}
