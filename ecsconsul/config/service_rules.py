"""What the services of a config must agree on: ports, names, and how the containers of a task depend on one another.

Each mistake stands at the key that causes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple

from .container_spec import ContainerSpec, PortSpec, VolumeSpec
from .lab import InstanceRange, ServiceSpec
from .yaml_reader import Reader, join

# ECS reserves these: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_PortMapping.html (hostPort)
RESERVED_PORTS = {
    **dict.fromkeys((22, 2375, 2376, 51678, 51679, 51680), "ECS reserves it"),
    **dict.fromkeys((53, 8300, 8301, 8302, 8500, 8501, 8600), "the Consul agent uses it"),
}


class _Placed(NamedTuple):
    """A container or a port, and its path in the config."""

    path: str
    spec: Any


def check_services(reader: Reader, lab: Mapping[str, Any]) -> None:
    """Records the mistakes that only several keys together show. Fields that are invalid have their defaults."""
    services: tuple[ServiceSpec, ...] = lab.get("services", ())
    rules = _Rules(reader)
    for service in services:
        rules.service(service)
    instances = lab.get("instances")
    rules.host_ports(services, instances.max if isinstance(instances, InstanceRange) else instances)
    rules.consul_names(services)
    rules.image_names(services)


class _Rules:
    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    def wrong(self, path: str, message: str) -> None:
        """Records a mistake at a path, or at the nearest one above it that the config has."""
        while path not in self.reader:
            path = path.rpartition("[" if path.endswith("]") else ".")[0]
        self.reader.wrong(path, message)

    def service(self, service: ServiceSpec) -> None:
        path = f"services.{service.name}"
        if join(path, "ports") in self.reader:
            for key in ("port", "host_port", "tags", "check"):
                if join(path, key) in self.reader:
                    self.reader.wrong(join(path, key), f"not allowed with ports; move it to the entry {path}.ports[0]")
        if service.is_daemon and join(path, "count") in self.reader:
            self.reader.wrong(join(path, "count"), "not allowed with schedule: daemon, one task on each instance")
        containers = list(_containers(service))
        for placed in containers:
            self.container(placed, service.name)
        for placed in containers[1:]:
            if placed.spec.name == service.name:
                self.reader.wrong(
                    placed.path, "the main container has this name, which is the service's; choose another"
                )
        self.dependencies(containers)
        self.volumes(containers)

    def container(self, placed: _Placed, service: str) -> None:
        path, spec = placed
        for name in spec.secrets:
            if name in spec.environment:
                self.wrong(f"{path}.secrets.{name}", "also set by environment or env_file; ECS takes only one of them")
        taken: dict[tuple[int, str], str] = {}
        for at, port in self.ports(placed):
            if taken.setdefault((port.port, port.protocol), at) != at:
                self.wrong(
                    at, f"{port.port}/{port.protocol} is given twice, first as {taken[port.port, port.protocol]}"
                )
            if port.register and port.check and port.check.ttl and port.name != service:
                self.wrong(
                    f"{at}.check", f"a ttl needs the name {service}, which is all that the task's token may report"
                )
            if port.protocol == "udp" and port.check and not port.check.ttl:
                self.wrong(f"{at}.check", "Consul can't check a UDP port; use ttl, or remove the check")
        folders: dict[str, str] = {}
        for index, volume in enumerate(spec.volumes):
            at = f"{path}.volumes[{index}]"
            if folders.setdefault(volume.path.rstrip("/") or "/", at) != at:
                self.wrong(at, f"{volume.path} is given twice, first as {folders[volume.path.rstrip('/') or '/']}")

    def ports(self, placed: _Placed) -> Iterator[tuple[str, PortSpec]]:
        """The ports of a container with their paths; the short form's stands beside the container's other keys."""
        spec: ContainerSpec = placed.spec
        listed = join(placed.path, "ports") in self.reader
        for index, port in enumerate(spec.ports or ()):
            yield f"{placed.path}.ports[{index}]" if listed else placed.path, port

    def dependencies(self, containers: list[_Placed]) -> None:
        """Those that a container names exist, can fulfil the condition, and don't wait for one another."""
        specs = {placed.spec.name: placed for placed in containers}
        graph: dict[str, list[str]] = {}
        for path, spec in containers:
            named = [(name, f"{path}.depends_on.{name}", "depends_on") for name in spec.depends_on]
            named += [(link.partition(":")[0], f"{path}.links", "links") for link in spec.links]
            for name, at, key in named:
                if name == spec.name:
                    self.wrong(at, f"{key} names the container itself")
                elif name not in specs:
                    self.wrong(at, f"the task has no container {name}; it has {', '.join(specs)}")
                else:
                    graph.setdefault(spec.name, []).append(name)
            for name, condition in spec.depends_on.items():
                if name in specs and name != spec.name:
                    self.condition(specs[name], condition, f"{path}.depends_on.{name}")
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            circle = [str(name) for name in error.args[1]]
            path = specs[circle[0]].path
            self.wrong(f"{path}.depends_on", f"these containers wait for one another: {' → '.join(reversed(circle))}")

    def condition(self, other: _Placed, condition: str, path: str) -> None:
        """What ECS refuses: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDependency.html"""
        name = other.spec.name
        if condition in ("COMPLETE", "SUCCESS") and other.spec.essential:
            self.wrong(path, f"{condition} waits for the end of {name}, which is essential; set its essential to false")
        if condition == "HEALTHY" and not self.has_health_check(other):
            self.wrong(path, f"HEALTHY needs a health check: give {name} a health_check")

    def has_health_check(self, placed: _Placed) -> bool:
        if join(placed.path, "health_check") in self.reader:
            return True
        checks = [port.check for port in placed.spec.ports or () if port.check]
        return any(check.container and not check.ttl for check in checks)

    def volumes(self, containers: list[_Placed]) -> None:
        """A volume is one thing for the whole task, whoever says what it is."""
        sources: dict[str, tuple[str, tuple[str | None, ...]]] = {}
        for placed in containers:
            for index, volume in enumerate(placed.spec.volumes):
                at = f"{placed.path}.volumes[{index}]"
                self.volume(volume, at)
                source = (volume.host, volume.efs, volume.root, volume.access_point)
                if not any(source):
                    continue
                first, known = sources.setdefault(volume.name, (at, source))
                if known != source:
                    self.wrong(at, f"the volume {volume.name} is something else in {first}")

    def volume(self, volume: VolumeSpec, path: str) -> None:
        """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_EFSVolumeConfiguration.html"""
        if volume.host and volume.efs:
            self.wrong(f"{path}.efs", "not allowed with host; a volume is either on the instance or in EFS")
        for key in ("root", "access_point"):
            if getattr(volume, key) and not volume.efs:
                self.wrong(f"{path}.{key}", "only for a volume in EFS; add efs")
        if volume.access_point and (volume.root or "/") != "/":
            self.wrong(f"{path}.root", "not allowed with access_point, which has a root of its own")

    def host_ports(self, services: tuple[ServiceSpec, ...], most: int | None) -> None:
        """A host port serves one task per instance, so no two containers can share it."""
        taken: dict[tuple[int, str], str] = {}
        for service in services:
            for at, port in (pair for placed in _containers(service) for pair in self.ports(placed)):
                if port.host_port is not None:
                    self.host_port(service, port, f"{at}.host_port", taken, most)

    def host_port(
        self, service: ServiceSpec, spec: PortSpec, path: str, taken: dict[tuple[int, str], str], most: int | None
    ) -> None:
        port, count = spec.host_port, service.count
        if port in RESERVED_PORTS:
            self.wrong(path, f"{port} is taken on every instance: {RESERVED_PORTS[port]}")
        key = (int(port or 0), spec.protocol)
        if taken.setdefault(key, path) != path:
            first = taken[key]
            self.wrong(path, f"{port} is also {first} on line {self.reader.line(first)}")
        if most and not service.is_daemon and count > most:
            why = f"only one task per instance can use {port}; count is {count}, instances is {most}"
            self.wrong(path, f"{why}; remove host_port for dynamic ports")

    def consul_names(self, services: tuple[ServiceSpec, ...]) -> None:
        """Whoever asks Consul for a name gets the tasks of one service."""
        owners = {service.name: service.name for service in services}
        for service in services:
            for at, port in (pair for placed in _containers(service) for pair in self.ports(placed)):
                if not port.register:
                    continue
                if port.name == "consul" != service.name:
                    self.wrong(f"{at}.name", "the name is taken by Consul's own service; choose another")
                owner = owners.setdefault(str(port.name), service.name)
                if owner != service.name:
                    self.wrong(
                        f"{at}.name", f"{port.name} is a name of the service {owner}; give the port another name"
                    )

    def image_names(self, services: tuple[ServiceSpec, ...]) -> None:
        """The image of a container beside the main one is called SERVICE-CONTAINER."""
        names = {service.name for service in services}
        for service in services:
            for path, spec in list(_containers(service))[1:]:
                name = f"{service.name}-{spec.name}"
                if spec.path and name in names:
                    self.wrong(path, f"its image would be called {name}, as the service's is; choose another name")
                names.add(name)


def _containers(service: ServiceSpec) -> Iterator[_Placed]:
    """The containers of a service with their paths, the main one first."""
    main, *others = service.all_containers
    path = f"services.{service.name}"
    yield _Placed(path, main)
    yield from (_Placed(f"{path}.containers.{one.name}", one) for one in others)
