"""Decides which Consul services a container is, by Registrator's rules; telling Consul is left to others.

The rules as a table, with each deviation from gliderlabs/registrator: docs/registrator.md.
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
    """One exposed port of a container; `host_port` None (or 0): not published."""

    container_port: int
    protocol: str = "tcp"
    host_port: int | None = None
    host_ip: str = ""

    def __str__(self) -> str:
        return f"{self.container_port}/{self.protocol}"


@dataclass(frozen=True)
class Container:
    """A container as Docker's inspect (or an ECS task) tells it.

    `environment` holds KEY=value items; `name` may have Docker's leading slash. `ip` is the container's own
    address; in network mode container:<id> it is that of the container whose network is shared.
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
        """Does it live in another container's network?"""
        return self.network_mode.startswith("container:")

    @property
    def maps_ports(self) -> bool:
        """Has it port mappings? Without them each exposed port is reached at its own number."""
        return not self.shares_network and self.network_mode not in ("host", "none")


@dataclass(frozen=True)
class Options:
    """Registrator's flags, and the two facts about the host that the rules need.

    `hostname` begins each ID. `host_address` is the host's own address, registered where a port is published
    on every address; "" leaves it to Consul, which then answers with its node's.
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
    """One service as Consul is to know it."""

    id: str
    name: str
    address: str
    port: int
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    check: Check | None = None
    # where the container itself listens, when the address above leads there through a TCP port mapping
    behind: Endpoint | None = field(default=None, compare=False)

    def payload(self, status: Status | None = None) -> dict[str, object]:
        """The body of PUT /v1/agent/service/register (Consul 1.8 and newer).

        `status` is what a first look saw; it replaces the check's initial status, and without a check it
        has nothing to say.
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
    """The services of a container, by port, and what was left out of them."""

    registrations: tuple[Registration, ...]
    notes: tuple[Note, ...]


class _LeftOut(Exception):
    """A port is not registered; carries the note that says why."""

    def __init__(self, note: Note) -> None:
        super().__init__(str(note))
        self.note = note


def registrations(container: Container, options: Options) -> Decision:
    """The Consul services that a container is, in the order of its ports. Never raises for any metadata."""
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


def first_look(registration: Registration) -> Probe | None:
    """What to request once, so that a healthy service is registered as passing and need not wait for Consul.

    Consul first runs a check at a random moment within its interval. None: nothing to look at by oneself.
    """
    return probe_of(registration.check) if registration.check else None


def default_name(image: str) -> str:
    """The base name of an image: without registry, path, tag and digest."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]


def _service_ports(container: Container, options: Options) -> tuple[list[PortBinding], list[Note]]:
    """One binding per port that can be reached, sorted by port, and a note for each that cannot."""
    reachable = []
    notes = []
    for binding in _first_bindings(container):
        if options.internal or binding.host_port:
            reachable.append(binding)
        else:
            notes.append(Note(str(binding), "not registered", "not published on the host", mistake=False))
    return reachable, notes


def _first_bindings(container: Container) -> list[PortBinding]:
    """The first published binding of each port, else that it is exposed."""
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
    """The service on one port, and what was left out of it; raises _LeftOut when there is none."""
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
    """The service's name; raises _LeftOut when the port is ignored or has none."""
    port = str(binding)
    if metadata.get("ignore"):
        raise _LeftOut(Note(port, "not registered", "SERVICE_IGNORE", mistake=False))
    name = metadata.get("name")
    if not name and options.explicit:
        raise _LeftOut(Note(port, "not registered", "no name in its metadata (-explicit)", mistake=False))
    name = name or default_name(container.image)
    if not name:
        raise _LeftOut(Note(port, "not registered", f"the image {container.image!r} gives no name"))
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
    """The address to register; a note where the label is missing or no address is known."""
    port = str(binding)
    notes = []
    labelled = _labelled_address(container, options)
    if options.use_ip_from_label and not labelled:
        notes.append(Note(port, "address not from the label", f"no address in {options.use_ip_from_label!r}"))
    shared = container.ip if container.shares_network else ""
    address = shared or labelled or _plain_address(container, binding, options)
    if address in _EVERY_ADDRESS:  # Consul refuses to register it
        address = options.host_address
    if not address:
        notes.append(Note(port, "registered without an address", "none is known; Consul uses its node's"))
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
