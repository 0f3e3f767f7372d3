"""Derives a container's Consul services from its ports and metadata, by gliderlabs/registrator's rules.

docs/registrator.md lists the rules, and where they differ from the original's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import quote

from .checks import CHECK_KEYS, Check, CheckUnusable, Endpoint, Probe, Status, UdpProbe, check_of, probe_of
from .metadata import Metadata, Note, read_metadata, split_tags, valid_meta
from .tag_templates import TemplateInvalid, render

_EVERY_ADDRESS = frozenset({"0.0.0.0", "::", "[::]"})
_SERVICE_KEYS = frozenset({"name", "id", "tags", "ignore", "enable_tag_override"})
# what Go's strconv.ParseBool takes for true and false
_TRUE, _FALSE = frozenset({"1", "t", "true"}), frozenset({"", "0", "f", "false"})
COMPOSE_SERVICE = "com.docker.compose.service"
# What Consul's DNS answers. It warns of an underscore, but finds the name.
_DNS_LABEL = re.compile(r"[A-Za-z0-9_-]{1,63}")


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
    hostname: str = ""
    process: int = 0  # its main process on this machine; 0 if that is unknown

    @property
    def shares_network(self) -> bool:
        """Whether it uses another container's network."""
        return self.network_mode.startswith("container:")

    def fields(self) -> dict[str, Any]:
        """What the templates of tags may use, by the names that Docker's inspection has."""
        config = {"Hostname": self.hostname, "Image": self.image, "Env": list(self.environment), "Labels": self.labels}
        network = {"IPAddress": self.ip}
        return {"ID": self.id, "Name": self.name, "Image": self.image, "Config": config, "NetworkSettings": network}

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
    ip_from_container: bool = False
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
    enable_tag_override: bool = False
    # where the container itself listens, if the address above is a TCP port mapping
    behind: Endpoint | None = field(default=None, compare=False)
    # where the socket of a UDP port is to be seen
    socket: UdpProbe | None = field(default=None, compare=False)

    def payload(self, status: Status | None = None, *, replaces: str = "") -> dict[str, object]:
        """The body of PUT /v1/agent/service/register (Consul 1.8 and newer).

        `status` is the result of a probe; it replaces the check's initial status, and is ignored without a check.
        `replaces`: the ID of a check that the service has, and that this one's must not be.
        """
        body: dict[str, object] = {
            "ID": self.id,
            "Name": self.name,
            "Address": self.address,
            "Port": self.port,
            "Tags": list(self.tags),
            "Meta": dict(self.meta),
        }
        if self.enable_tag_override:
            body["EnableTagOverride"] = True
        if self.check is not None:
            # without an ID it gets this one of Consul's own
            other = {"CheckID": f"{replaces}:2"} if replaces == f"service:{self.id}" else {}
            body["Check"] = self.check.payload() | ({"Status": status} if status else {}) | other
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
    metadata = read_metadata(container.environment, container.labels, binding.container_port, binding.protocol)
    port = str(binding)
    name, name_notes = _name(container, binding, options, metadata, in_group=in_group)
    address, notes = _address(container, binding, options)
    endpoint = Endpoint(address, _port(binding, options))
    try:
        check, check_notes = check_of(metadata, endpoint, port, is_tcp=_answers_by_tcp(container, binding))
    except CheckUnusable as error:
        raise _LeftOut(Note(port, "not registered", str(error))) from error
    meta, meta_notes = valid_meta(metadata, _SERVICE_KEYS | CHECK_KEYS, port)
    tags, tag_notes = _tags(container, metadata, binding, options)
    override, override_notes = _tag_override(metadata, port)
    service = Registration(
        id=metadata.get("id") or _default_id(container, binding, options),
        name=name,
        address=address,
        port=endpoint.port,
        tags=tags,
        meta=meta,
        check=check,
        enable_tag_override=override,
        behind=_behind(container, binding, options),
        socket=_socket(container, binding, address, endpoint.port),
    )
    return service, name_notes + notes + check_notes + meta_notes + tag_notes + override_notes


def _answers_by_tcp(container: Container, binding: PortBinding) -> bool:
    """Whether a TCP connection to the service's port reaches it. UDP doesn't answer one, but a DNS server has both."""
    return any(
        one.protocol == "tcp" and (one.container_port, one.host_port) == (binding.container_port, binding.host_port)
        for one in _first_bindings(container)
    )


def _name(
    container: Container, binding: PortBinding, options: Options, metadata: Metadata, *, in_group: bool
) -> tuple[str, list[Note]]:
    """The service's name, and a note if DNS can't ask for it. Raises _LeftOut if the port is ignored or has no name."""
    port = str(binding)
    if metadata.get("ignore"):
        raise _LeftOut(Note(port, "not registered", "SERVICE_IGNORE is set", mistake=False))
    name = metadata.get("name")
    if not name and options.explicit:
        raise _LeftOut(Note(port, "not registered", "it has no name in its metadata (-explicit)", mistake=False))
    name = name or _own_name(container)
    if not name:
        raise _LeftOut(Note(port, "not registered", f"no name can be derived from image {container.image!r}"))
    is_bare = not in_group or "name" in metadata.port_specific
    name = name if is_bare else f"{name}-{binding.container_port}"
    return name, _dns_notes(name, port)


def _own_name(container: Container) -> str:
    """The name of a service that has none in its metadata. An image known by its ID alone has no name to give."""
    return (
        default_name(container.image) or container.labels.get(COMPOSE_SERVICE, "") or container.name.removeprefix("/")
    )


def _dns_notes(name: str, port: str) -> list[Note]:
    if _DNS_LABEL.fullmatch(name):
        return []
    fitting = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:63].strip("-")
    why = "it answers names of at most 63 letters, digits and hyphens"
    advice = (
        f"set SERVICE_NAME to one such as {fitting!r}, or ask Consul's API: /v1/health/service/{quote(name, safe='')}"
    )
    return [Note(port, f"DNS can't ask for {name!r}", f"{why}; {advice}")]


def _default_id(container: Container, binding: PortBinding, options: Options) -> str:
    suffix = ":udp" if binding.protocol == "udp" else ""
    return f"{options.hostname}:{container.name.removeprefix('/')}:{binding.container_port}{suffix}"


def _tags(
    container: Container, metadata: Metadata, binding: PortBinding, options: Options
) -> tuple[tuple[str, ...], list[Note]]:
    """The tags, and a note for each list whose template can't be carried out, which is left out."""
    tags: tuple[str, ...] = ()
    notes = []
    for given in (metadata.get("tags"), options.tags):
        try:
            tags += split_tags(render(given, container.fields()))
        except TemplateInvalid as error:
            notes.append(Note(str(binding), f"tags {given!r} left out", str(error)))
    return tags + (("udp",) if binding.protocol == "udp" else ()), notes


def _tag_override(metadata: Metadata, port: str) -> tuple[bool, list[Note]]:
    """Whether others may change the tags in the catalog, and a note if the value says neither yes nor no."""
    value = metadata.get("enable_tag_override")
    if value.lower() in _TRUE | _FALSE:
        return value.lower() in _TRUE, []
    return False, [Note(port, f"enable_tag_override {value!r} ignored", "must be true or false")]


def _port(binding: PortBinding, options: Options) -> int:
    if options.internal or options.ip_from_container or not binding.host_port:
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
    is_own = options.internal or options.ip_from_container
    is_mapped = container.maps_ports and not is_own and binding.protocol == "tcp"
    return Endpoint(container.ip, binding.container_port) if is_mapped and container.ip else None


def _socket(container: Container, binding: PortBinding, address: str, port: int) -> UdpProbe | None:
    """A container has a network of its own; a process has its host's, where others have the same port elsewhere."""
    if binding.protocol != "udp" or not container.process:
        return None
    if container.ip:
        return UdpProbe(container.process, binding.container_port)
    return UdpProbe(container.process, port, address)


def _labelled_address(container: Container, options: Options) -> str:
    if not options.use_ip_from_label:
        return ""
    address = container.labels.get(options.use_ip_from_label, "")
    return address.rpartition("/")[0] if "/" in address else address


def _plain_address(container: Container, binding: PortBinding, options: Options) -> str:
    if not (options.internal or options.ip_from_container):
        return options.ip or binding.host_ip or options.host_address
    is_on_host = container.network_mode == "host"
    return container.ip or (options.host_address if is_on_host else "")
