"""Derives a container's Consul services from its ports and metadata, by gliderlabs/registrator's rules.

docs/registrator.md lists the rules, and where they differ from the original's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from .checks import CHECK_KEYS, Check, CheckUnusable, Endpoint, Probe, Status, check_of, probe_of
from .metadata import Metadata, Note, read_metadata, split_tags, valid_meta

_EVERY_ADDRESS = frozenset({"0.0.0.0", "::", "[::]"})
_SERVICE_KEYS = frozenset({"name", "id", "tags", "ignore"})


@dataclass(frozen=True)
class PortBinding:
    """One exposed port of a container; with `host_port` None or 0 it isn't published."""

    container_port: int
    protocol: str = "tcp"
    host_port: int | None = None
    host_ip: str = ""

    def __str__(self) -> str:
        return f"{self.container_port}/{self.protocol}"


@dataclass(frozen=True)
class Container:
    """A container, as described by Docker's inspect or an ECS task.

    `environment` holds KEY=value items; `name` may have Docker's leading slash. `ip` is the container's own
    address; in network mode container:<id> it is the address of the container whose network it shares.
    """

    id: str
    name: str
    image: str
    environment: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[PortBinding, ...] = ()
    ip: str = ""
    network_mode: str = "bridge"

    @property
    def shares_network(self) -> bool:
        """Whether it uses another container's network."""
        return self.network_mode.startswith("container:")

    @property
    def maps_ports(self) -> bool:
        """Whether ports are mapped. If not, each exposed port is reached at its own number."""
        return not self.shares_network and self.network_mode not in ("host", "none")


@dataclass(frozen=True)
class Options:
    """Registrator's flags, and the host's name and address.

    `hostname` is the prefix of each ID. `host_address` is registered where a port is published on every address;
    if it is "", Consul answers with its node's address.
    """

    hostname: str
    host_address: str = ""
    ip: str = ""
    internal: bool = False
    explicit: bool = False
    use_ip_from_label: str = ""
    tags: str = ""


@dataclass(frozen=True)
class Registration:
    """One service to register."""

    id: str
    name: str
    address: str
    port: int
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    check: Check | None = None
    # where the container itself listens, if the address above is a TCP port mapping
    behind: Endpoint | None = field(default=None, compare=False)

    def payload(self, status: Status | None = None) -> dict[str, object]:
        """The body of PUT /v1/agent/service/register (Consul 1.8 and newer).

        `status` is the result of a probe; it replaces the check's initial status, and is ignored without a check.
        """
        body: dict[str, object] = {
            "ID": self.id,
            "Name": self.name,
            "Address": self.address,
            "Port": self.port,
            "Tags": list(self.tags),
            "Meta": dict(self.meta),
        }
        if self.check is not None:
            body["Check"] = self.check.payload() | ({"Status": status} if status else {})
        return body


class Decision(NamedTuple):
    """A container's services in the order of its ports, and what was left out."""

    registrations: tuple[Registration, ...]
    notes: tuple[Note, ...]


class _LeftOut(Exception):
    """A port isn't registered; carries the note that says why."""

    def __init__(self, note: Note) -> None:
        super().__init__(str(note))
        self.note = note


def registrations(container: Container, options: Options) -> Decision:
    """A container's Consul services, in the order of its ports. No metadata makes this raise."""
    ports, notes = _service_ports(container, options)
    found: dict[str, Registration] = {}
    for binding in ports:
        try:
            service, remarks = _service(container, binding, options, in_group=len(ports) > 1)
            if service.id in found:
                raise _LeftOut(Note(str(binding), "not registered", f"the ID {service.id!r} is taken"))
        except _LeftOut as left_out:
            notes.append(left_out.note)
        else:
            notes += remarks
            found[service.id] = service
    return Decision(tuple(found.values()), tuple(notes))


def initial_probe(registration: Registration) -> Probe | None:
    """The probe to run before registering, so that a healthy service is passing from the start.

    Consul first runs a check at a random time within its interval. None if the check can't be probed from here.
    """
    return probe_of(registration.check) if registration.check else None


def default_name(image: str) -> str:
    """An image's base name, without registry, path, tag and digest."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]


def _service_ports(container: Container, options: Options) -> tuple[list[PortBinding], list[Note]]:
    """One binding per reachable port, sorted by port, and a note for each unreachable one."""
    reachable = []
    notes = []
    for binding in _first_bindings(container):
        if options.internal or binding.host_port:
            reachable.append(binding)
        else:
            notes.append(Note(str(binding), "not registered", "not published on the host", mistake=False))
    return reachable, notes


def _first_bindings(container: Container) -> list[PortBinding]:
    """The first published binding of each port; if there is none, the bare exposed port."""
    first: dict[tuple[int, str], PortBinding] = {}
    for binding in container.ports:
        key = (binding.container_port, binding.protocol)
        if key not in first or (binding.host_port and not first[key].host_port):
            first[key] = binding
    return [_as_reached(container, first[key]) for key in sorted(first)]


def _as_reached(container: Container, binding: PortBinding) -> PortBinding:
    if binding.host_port or container.maps_ports:
        return binding
    return PortBinding(binding.container_port, binding.protocol, binding.container_port)


def _service(
    container: Container, binding: PortBinding, options: Options, *, in_group: bool
) -> tuple[Registration, list[Note]]:
    """The service on one port, and what was left out of it. Raises _LeftOut if the port isn't registered."""
    metadata = read_metadata(container.environment, container.labels, binding.container_port)
    port = str(binding)
    name = _name(container, binding, options, metadata, in_group=in_group)
    address, notes = _address(container, binding, options)
    endpoint = Endpoint(address, _port(binding, options))
    try:
        check, check_notes = check_of(metadata, endpoint, port)
    except CheckUnusable as error:
        raise _LeftOut(Note(port, "not registered", str(error))) from error
    meta, meta_notes = valid_meta(metadata, _SERVICE_KEYS | CHECK_KEYS, port)
    service = Registration(
        id=metadata.get("id") or _default_id(container, binding, options),
        name=name,
        address=address,
        port=endpoint.port,
        tags=_tags(metadata, binding, options),
        meta=meta,
        check=check,
        behind=_behind(container, binding, options),
    )
    return service, notes + check_notes + meta_notes


def _name(container: Container, binding: PortBinding, options: Options, metadata: Metadata, *, in_group: bool) -> str:
    """The service's name. Raises _LeftOut if the port is ignored or has no name."""
    port = str(binding)
    if metadata.get("ignore"):
        raise _LeftOut(Note(port, "not registered", "SERVICE_IGNORE is set", mistake=False))
    name = metadata.get("name")
    if not name and options.explicit:
        raise _LeftOut(Note(port, "not registered", "it has no name in its metadata (-explicit)", mistake=False))
    name = name or default_name(container.image)
    if not name:
        raise _LeftOut(Note(port, "not registered", f"no name can be derived from image {container.image!r}"))
    is_bare = not in_group or "name" in metadata.port_specific
    return name if is_bare else f"{name}-{binding.container_port}"


def _default_id(container: Container, binding: PortBinding, options: Options) -> str:
    suffix = ":udp" if binding.protocol == "udp" else ""
    return f"{options.hostname}:{container.name.removeprefix('/')}:{binding.container_port}{suffix}"


def _tags(metadata: Metadata, binding: PortBinding, options: Options) -> tuple[str, ...]:
    protocol = ("udp",) if binding.protocol == "udp" else ()
    return split_tags(metadata.get("tags")) + split_tags(options.tags) + protocol


def _port(binding: PortBinding, options: Options) -> int:
    if options.internal or not binding.host_port:
        return binding.container_port
    return binding.host_port


def _address(container: Container, binding: PortBinding, options: Options) -> tuple[str, list[Note]]:
    """The address to register, with a note if the label is missing or no address is known."""
    port = str(binding)
    notes = []
    labelled = _labelled_address(container, options)
    if options.use_ip_from_label and not labelled:
        notes.append(Note(port, "address not taken from the label", f"no address in {options.use_ip_from_label!r}"))
    shared = container.ip if container.shares_network else ""
    address = shared or labelled or _plain_address(container, binding, options)
    if address in _EVERY_ADDRESS:  # Consul refuses to register it
        address = options.host_address
    if not address:
        notes.append(Note(port, "registered without an address", "none is known, so Consul uses its node's"))
    return address.removeprefix("[").removesuffix("]"), notes


def _behind(container: Container, binding: PortBinding, options: Options) -> Endpoint | None:
    is_mapped = container.maps_ports and not options.internal and binding.protocol == "tcp"
    return Endpoint(container.ip, binding.container_port) if is_mapped and container.ip else None


def _labelled_address(container: Container, options: Options) -> str:
    if not options.use_ip_from_label:
        return ""
    address = container.labels.get(options.use_ip_from_label, "")
    return address.rpartition("/")[0] if "/" in address else address


def _plain_address(container: Container, binding: PortBinding, options: Options) -> str:
    if not options.internal:
        return options.ip or binding.host_ip or options.host_address
    is_on_host = container.network_mode == "host"
    return container.ip or (options.host_address if is_on_host else "")
