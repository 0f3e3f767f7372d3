"""Reads config.yaml into a frozen Lab, and reports every mistake at once.

The built-in lab is a config too: default.yaml, which `ecsconsul init` writes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import NODEFAULT, Struct, structs
from yaml.nodes import Node, ScalarNode, SequenceNode

from .. import errors, paths
from .aws_settings import AlarmsSpec, AwsSpec, LoadBalancerSpec, LogsSpec, RegistratorSpec, SshSpec
from .lab import Check, ConsulSpec, InstanceRange, Lab, ServiceSpec, SnapshotSpec
from .scalars import EnvName, HttpPath, InstanceCount, Name, SubnetId, Tag, seconds_of
from .warnings import warnings
from .yaml_reader import MAX_BYTES, MISSING, Mistake, Reader, Stop, closest, compose, join, shown

BUILT_IN = "built-in config"
SHIPPED = "lab:"
"""Prefix of a `path` that names a folder shipped with ecsconsul."""

_COMPOSE_WORDS = {
    "replicas": "count",
    "desired_count": "count",
    "env": "environment",
    "build": "path",
    "context": "path",
    "healthcheck": "check",
    "health_check": "check",
    "container_port": "port",
    "name": "lab",
}
_REQUIRED = {
    "services": "a lab needs at least one service",
    "path": "the folder with the Dockerfile",
    "certificate": "HTTPS needs one; ACM issues it",
    "min": "the fewest ECS instances",
    "max": "the most ECS instances",
}
# keys that used to stand beside `aws`; the schema marks them as deprecated
MOVED_TO_AWS = ("registry", "registrator")
LEAST_BETWEEN_SNAPSHOTS = 60.0
_RESERVED_NAMES = {"consul"}
# ECS reserves these: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_PortMapping.html (hostPort)
_RESERVED_PORTS = {
    **dict.fromkeys((22, 2375, 2376, 51678, 51679, 51680), "ECS reserves it"),
    **dict.fromkeys((53, 8300, 8301, 8302, 8500, 8501, 8600), "the Consul agent uses it"),
}

Values = dict[str, Any]
FieldReader = Callable[[Node, str], Any]
Warn = Callable[[str], object]


class ConfigMistakes(errors.ConfigInvalid):
    """A config with mistakes, sorted by line."""

    def __init__(self, name: str, mistakes: list[Mistake]) -> None:
        self.mistakes = tuple(sorted(mistakes))
        lines = (f"{name}:{m.line}: {m.path + ': ' if m.path else ''}{m.message}" for m in self.mistakes)
        count = len(self.mistakes)
        super().__init__(
            f"the config has {count} mistake{'s' if count > 1 else ''}",
            where=f"{name}:{self.mistakes[0].line}",
            why="\n".join(lines),
            hint="`ecsconsul init` in an empty folder writes a complete example to compare with",
        )


def load(path: Path | None, *, sources: bool = True, warn: Warn | None = None) -> Lab:
    """The lab that a config file describes, or the built-in lab for None.

    `warn` is called for each warning: about deprecated keys, and about an image of another version of Consul.

    Raises:
        errors.ConfigInvalid: the file can't be read, or (ConfigMistakes) has mistakes.
    """
    if path is None:
        return parse(init_text(None).encode(), BUILT_IN, Path.cwd(), sources=sources)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        hint = "`ecsconsul init` writes one" if isinstance(error, FileNotFoundError) else ""
        why = error.strerror or str(error)
        raise errors.ConfigInvalid("the config can't be read", where=str(path), why=why, hint=hint) from error
    return parse(data, str(path), path.parent, sources=sources, warn=warn)


def parse(data: bytes, name: str, folder: Path, *, sources: bool = True, warn: Warn | None = None) -> Lab:
    """The lab that a config text describes. Messages call it `name`; paths are relative to `folder`.

    Without `sources`, a service's folder doesn't have to exist.

    Raises:
        ConfigMistakes: lists every mistake.
    """
    mistakes: list[Mistake] = []
    try:
        root = compose(data)
        config = _Config(root, folder, sources=sources)
        mistakes = config.reader.mistakes
        values = config.lab(root)
    except Stop as stop:
        raise ConfigMistakes(name, [*mistakes, stop.mistake]) from None
    if mistakes:
        raise ConfigMistakes(name, mistakes)
    if warn:
        for text in warnings(name, config.reader, config.deprecated, values):
            warn(text)
    services = tuple(ServiceSpec(name=service, **fields) for service, fields in values.pop("services").items())
    return Lab(name=values.pop("lab"), services=services, **values)


class _Config:
    """Converts the config's nodes to the types of lab.py, including the short forms that only YAML has."""

    def __init__(self, root: Node, folder: Path, *, sources: bool) -> None:
        self.reader = Reader(root)
        self.folder = folder
        self.sources = sources
        self.deprecated: list[str] = []
        self.aws_special: dict[str, FieldReader] = {
            "subnets": self.subnets,
            "ssh": self.ssh,
            "registrator": lambda node, path: self.part(node, path, RegistratorSpec),
            "load_balancer": lambda node, path: self.part(node, path, LoadBalancerSpec, {"subnets": self.subnets}),
            "alarms": lambda node, path: self.part(node, path, AlarmsSpec),
            "logs": lambda node, path: self.part(node, path, LogsSpec, {"options": self.environment}),
        }

    def lab(self, root: Node) -> Values:
        special: dict[str, FieldReader] = {
            "instances": self.instances,
            "consul": lambda node, path: self.part(node, path, ConsulSpec, {"snapshots": self.snapshots}),
            "aws": lambda node, path: self.part(node, path, AwsSpec, self.aws_special),
            "services": self.services,
        }
        moved: dict[str, Node] = {}
        values = self.struct(root, "", Lab, special, moved=moved)
        for key, node in moved.items():
            self.move_to_aws(values, key, node)
        self.host_ports(values)
        return values

    def move_to_aws(self, values: Values, key: str, node: Node) -> None:
        """Reads a key from its deprecated place beside `aws`."""
        kind = next(field.type for field in _fields(AwsSpec) if field.name == key)
        value = self.field(node, key, kind, self.aws_special.get(key))
        aws, new = values.get("aws"), f"aws.{key}"
        if value is MISSING or aws is None or any(mistake.path.startswith(new) for mistake in self.reader.mistakes):
            return
        if new in self.reader and getattr(aws, key) != value:
            self.reader.wrong(key, f"differs from {new} on line {self.reader.line(new)}; keep only {new}")
        values["aws"] = structs.replace(aws, **{key: value})
        self.deprecated.append(key)

    def struct(
        self,
        node: Node,
        path: str,
        kind: type[Struct],
        special: dict[str, FieldReader],
        *,
        hidden: str = "",
        moved: dict[str, Node] | None = None,
    ) -> Values:
        """The values of a struct's fields, or their defaults; invalid ones are left out.

        `special` reads the fields that aren't scalars, `hidden` is a field that isn't a key, and `moved` takes the
        deprecated keys.
        """
        fields = {field.encode_name: field for field in _fields(kind) if field.name != hidden}
        found = self.reader.mapping(node, path, f"a mapping with {', '.join(fields)}")
        if found is None:
            return {}
        if moved is not None:
            moved.update({key: found.pop(key) for key in MOVED_TO_AWS if key in found})
        meant = self.reader.unknown(found, fields, path, _COMPOSE_WORDS)
        values: Values = {}
        for key, field in fields.items():
            if key in found:
                value = self.field(found[key], join(path, key), field.type, special.get(key))
                if value is not MISSING:
                    values[key] = value
            elif key not in _REQUIRED:
                values[key] = field.default if field.default is not NODEFAULT else field.default_factory()
            elif key not in meant:
                self.reader.wrong(path, f"{key} is missing: {_REQUIRED[key]}")
        return values

    def field(self, node: Node, path: str, kind: Any, special: FieldReader | None) -> Any:
        if node.tag == "tag:yaml.org,2002:null":
            self.reader.wrong(path, "the value is missing; add one, or remove the key")
            return MISSING
        return special(node, path) if special else self.reader.leaf(node, kind, path)

    def part(self, node: Node, path: str, kind: type[Struct], special: dict[str, FieldReader] | None = None) -> Any:
        values = self.struct(node, path, kind, special or {})
        required = {field.name for field in _fields(kind) if field.required}
        return kind(**values) if values and values.keys() >= required else MISSING

    def instances(self, node: Node, path: str) -> Any:
        """A number, or the fewest and the most."""
        if isinstance(node, ScalarNode):
            return self.reader.leaf(node, InstanceCount, path)
        found = self.part(node, path, InstanceRange)
        if found is not MISSING and found.min > found.max:
            self.reader.wrong(join(path, "min"), f"{found.min} is more than max, which is {found.max}")
            return MISSING
        return found

    def snapshots(self, node: Node, path: str) -> Any:
        found = self.part(node, path, SnapshotSpec, {"folder": self.own_path})
        if found is not MISSING and seconds_of(found.every) < LEAST_BETWEEN_SNAPSHOTS:
            self.reader.wrong(join(path, "every"), f"{found.every} is less than 1m")
            return MISSING
        return found

    def ssh(self, node: Node, path: str) -> Any:
        return self.part(node, path, SshSpec, {"key": self.own_path})

    def own_path(self, node: Node, path: str) -> Any:
        """The absolute path of a file or folder of the user's; it needn't exist before it's used."""
        given = self.reader.leaf(node, str, path)
        if given is MISSING:
            return MISSING
        try:
            return str((self.folder / Path(given).expanduser()).absolute())
        except RuntimeError as error:  # no such ~user
            self.reader.wrong(path, f"can't find it: {error}")
            return MISSING

    def subnets(self, node: Node, path: str) -> Any:
        return self.several(node, path, SubnetId, "subnet")

    def services(self, node: Node, path: str) -> Any:
        mistakes = len(self.reader.mistakes)
        found = self.reader.mapping(node, path, "a mapping from service names to services")
        if not found and len(self.reader.mistakes) == mistakes:
            self.reader.wrong(path, f"is empty: {_REQUIRED['services']}")
        return {name: self.service(name, value, join(path, name)) for name, value in (found or {}).items()}

    def service(self, name: str, node: Node, path: str) -> Values:
        if self.reader.fits(name, Name, path, f"the name {name!r}") and name in _RESERVED_NAMES:
            self.reader.wrong(path, "the name is taken by Consul's own service; choose another")
        special: dict[str, FieldReader] = {
            "path": self.path,
            "environment": self.environment,
            "tags": self.tags,
            "check": self.check,
        }
        return self.struct(node, path, ServiceSpec, special, hidden="name")

    def path(self, node: Node, path: str) -> Any:
        """The absolute folder of a service; `lab:NAME` ships with ecsconsul."""
        given = self.reader.leaf(node, str, path)
        if given is MISSING:
            return MISSING
        if given.startswith(SHIPPED):
            return self.shipped(given.removeprefix(SHIPPED), path)
        try:
            folder = (self.folder / Path(given).expanduser()).resolve()
            problem = _no_source(folder) if self.sources else ""
        except (OSError, RuntimeError) as error:  # no permission, too long, a symlink loop, no such ~user
            problem = f"can't read the folder: {error}"
        if problem:
            self.reader.wrong(path, problem)
            return MISSING
        return str(folder)

    def shipped(self, name: str, path: str) -> Any:
        folders = {file.parent.name: str(file.parent) for file in paths.services_dir().glob("*/Dockerfile")}
        if name in folders:
            return folders[name]
        guess = closest(name, folders)
        hint = f"did you mean {SHIPPED}{guess}?" if guess else f"choose one of {', '.join(sorted(folders))}"
        self.reader.wrong(path, f"ecsconsul ships no service {name!r}; {hint}")
        return MISSING

    def environment(self, node: Node, path: str) -> Any:
        found = self.reader.mapping(node, path, "a mapping from names to values") or {}
        for name in found:
            self.reader.fits(name, EnvName, join(path, name), f"the name {name!r}")
        return {name: self.reader.text(value, join(path, name)) for name, value in found.items()}

    def tags(self, node: Node, path: str) -> Any:
        return self.several(node, path, Tag, "tag")

    def several(self, node: Node, path: str, kind: Any, word: str) -> Any:
        """A list without duplicates; a single value needs no list."""
        if isinstance(node, ScalarNode):
            one = self.reader.leaf(node, kind, path)
            if one is not MISSING and "," in one:
                self.reader.wrong(path, f"write several {word}s as a list: [{one}]")
            return (one,)
        if not isinstance(node, SequenceNode):
            self.reader.wrong(path, f"expected a list of {word}s, got {shown(node)}")
            return MISSING
        found: dict[Any, str] = {}
        for at, item in self.reader.items(node, path):
            one = self.reader.leaf(item, kind, at)
            if one is not MISSING and found.setdefault(one, at) != at:
                self.reader.wrong(at, f"the {word} {one} is given twice, first as {found[one]}")
        return tuple(found)

    def check(self, node: Node, path: str) -> Any:
        """A check; plain text is short for the path of an HTTP check."""
        if isinstance(node, ScalarNode):
            http = self.reader.leaf(node, HttpPath, path)
            return MISSING if http is MISSING else Check(http=http)
        mistakes = len(self.reader.mistakes)
        check = Check(**self.struct(node, path, Check, {}))
        if len(self.reader.mistakes) == mistakes:
            self.check_kind(check, path)
        return check

    def check_kind(self, check: Check, path: str) -> None:
        """A check has exactly one kind, and a TTL check neither interval nor timeout."""
        kinds = [kind for kind in ("http", "tcp", "ttl") if getattr(check, kind)]
        if len(kinds) != 1:
            got = " and ".join(kinds) or "none"
            self.reader.wrong(path, f"expected exactly one of http, tcp and ttl, got {got}")
        for key in ("interval", "timeout", "container"):
            if kinds == ["ttl"] and join(path, key) in self.reader:
                self.reader.wrong(join(path, key), "not allowed with ttl, where the task itself reports to Consul")

    def host_ports(self, lab: Values) -> None:
        """A host port serves one task per instance, so no two services can share it."""
        instances = lab.get("instances")
        most = instances.max if isinstance(instances, InstanceRange) else instances
        taken: dict[int, str] = {}
        for name, service in lab.get("services", {}).items():
            path = f"services.{name}.host_port"
            port, count = service.get("host_port"), service.get("count")
            if port is None:
                continue
            if port in _RESERVED_PORTS:
                self.reader.wrong(path, f"{port} is taken on every instance: {_RESERVED_PORTS[port]}")
            if taken.setdefault(port, path) != path:
                first = taken[port]
                self.reader.wrong(path, f"{port} is also {first} on line {self.reader.line(first)}")
            if most and count and count > most:
                why = f"only one task per instance can use {port}; count is {count}, instances is {most}"
                self.reader.wrong(path, f"{why}; remove host_port for dynamic ports")


# evaluating a struct's annotations takes longer than reading a service
_fields = functools.cache(structs.fields)


def _no_source(folder: Path) -> str:
    """Why a folder can't be a service's source; empty if it can."""
    if folder.is_file():
        return f"{folder} is a file; name the folder with the Dockerfile"
    if not folder.is_dir():
        return f"there is no folder {folder}"
    return "" if (folder / "Dockerfile").is_file() else f"there is no Dockerfile in {folder}"


def init_text(folder: Path | None) -> str:
    """The commented config.yaml of the built-in lab.

    A service whose Dockerfile lies in `folder`/services is used from there, any other as shipped with ecsconsul.
    """
    text = (Path(__file__).parent / "default.yaml").read_text(encoding="utf-8")
    for name in ("stock-price", "weather", "portal"):
        if folder is None or not (folder / "services" / name / "Dockerfile").is_file():
            text = text.replace(f"path: services/{name}", f"path: {SHIPPED}{name}")
    return text
