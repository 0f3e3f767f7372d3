"""Reads config.yaml into a frozen Lab and reports every mistake at once; YAML itself is yamlnodes.py's work.

The built-in lab is a config text too, the one that `ecsconsul init` writes, and goes the same way.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import NODEFAULT, Struct, structs
from yaml.nodes import Node, ScalarNode, SequenceNode

from .. import errors, paths
from .lab import (
    AwsSpec,
    Check,
    ConsulSpec,
    EnvName,
    HttpPath,
    Lab,
    Name,
    RegistratorSpec,
    ServiceSpec,
    SshSpec,
    SubnetId,
    Tag,
)
from .yaml_reader import MAX_BYTES, MISSING, Mistake, Reader, Stop, closest, compose, join, shown

BUILT_IN = "built-in config"
SHIPPED = "lab:"
"""Begins the `path` of a service whose folder ships with ecsconsul."""

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
_NEEDED = {"services": "a lab needs at least one service", "path": "the folder that holds the Dockerfile"}
_RESERVED_NAMES = {"consul"}
# ECS's own reserved ports are those of its API reference (PortMapping, hostPort).
_RESERVED_PORTS = {
    **dict.fromkeys((22, 2375, 2376, 51678, 51679, 51680), "reserved by ECS"),
    **dict.fromkeys((53, 8300, 8301, 8302, 8500, 8600), "by the Consul agent"),
}

Values = dict[str, Any]
FieldReader = Callable[[Node, str], Any]


class ConfigMistakes(errors.ConfigInvalid):
    """A config with mistakes; `mistakes` holds them as data, sorted by line."""

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


def load(path: Path | None, *, sources: bool = True) -> Lab:
    """The lab of a config file, or the built-in lab for None.

    Raises:
        errors.ConfigInvalid: the file cannot be read, or (ConfigMistakes) holds mistakes.
    """
    if path is None:
        return parse(init_text(None).encode(), BUILT_IN, Path.cwd(), sources=sources)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        hint = "`ecsconsul init` writes one" if isinstance(error, FileNotFoundError) else ""
        why = error.strerror or str(error)
        raise errors.ConfigInvalid("the config cannot be read", where=str(path), why=why, hint=hint) from error
    return parse(data, str(path), path.parent, sources=sources)


def parse(data: bytes, name: str, folder: Path, *, sources: bool = True) -> Lab:
    """The lab of a config text; `name` stands in messages, `folder` is what paths are relative to.

    Without `sources` nothing is said of a folder that cannot be a service's source.

    Raises:
        ConfigMistakes: with every mistake that was found.
    """
    found: list[Mistake] = []
    try:
        root = compose(data)
        config = _Config(root, folder, sources=sources)
        found = config.reader.mistakes
        values = config.lab(root)
    except Stop as stop:
        raise ConfigMistakes(name, [*found, stop.mistake]) from None
    if found:
        raise ConfigMistakes(name, found)
    return _lab(values)


class _Config:
    """The walk over the config's nodes: types from lab.py, and the forms that only the YAML has."""

    def __init__(self, root: Node, folder: Path, *, sources: bool) -> None:
        self.reader = Reader(root)
        self.folder = folder
        self.sources = sources

    def lab(self, root: Node) -> Values:
        special: dict[str, FieldReader] = {
            "consul": lambda node, path: self.part(node, path, ConsulSpec),
            "registrator": lambda node, path: self.part(node, path, RegistratorSpec),
            "aws": self.aws,
            "services": self.services,
        }
        values = self.struct(root, "", Lab, special)
        self.host_ports(values)
        return values

    def struct(
        self, node: Node, path: str, kind: type[Struct], special: dict[str, FieldReader], *, hidden: str = ""
    ) -> Values:
        """The fields of a struct, given or by default; wrong ones are left out.

        `special` reads the fields that are no leaves; `hidden` is the field that the config gives elsewhere.
        """
        fields = {field.encode_name: field for field in _fields(kind) if field.name != hidden}
        found = self.reader.mapping(node, path, f"a mapping with {', '.join(fields)}")
        if found is None:
            return {}
        meant = self.reader.unknown(found, fields, path, _COMPOSE_WORDS)
        values: Values = {}
        for key, field in fields.items():
            if key in found:
                value = self.field(found[key], join(path, key), field.type, special.get(key))
                if value is not MISSING:
                    values[key] = value
            elif key not in _NEEDED:
                values[key] = field.default if field.default is not NODEFAULT else field.default_factory()
            elif key not in meant:
                self.reader.wrong(path, f"{key} is missing: {_NEEDED[key]}")
        return values

    def field(self, node: Node, path: str, kind: Any, special: FieldReader | None) -> Any:
        if node.tag == "tag:yaml.org,2002:null":
            self.reader.wrong(path, "nothing is given; give a value, or leave the key out")
            return MISSING
        return special(node, path) if special else self.reader.leaf(node, kind, path)

    def part(self, node: Node, path: str, kind: type[Struct], special: dict[str, FieldReader] | None = None) -> Any:
        values = self.struct(node, path, kind, special or {})
        return kind(**values) if values else MISSING

    def aws(self, node: Node, path: str) -> Any:
        special: dict[str, FieldReader] = {"subnets": self.subnets, "ssh": self.ssh}
        return self.part(node, path, AwsSpec, special)

    def ssh(self, node: Node, path: str) -> Any:
        return self.part(node, path, SshSpec, {"key": self.key_file})

    def key_file(self, node: Node, path: str) -> Any:
        """The absolute file; whether it is there is asked when it is needed."""
        given = self.reader.leaf(node, str, path)
        if given is MISSING:
            return MISSING
        try:
            return str((self.folder / Path(given).expanduser()).absolute())
        except RuntimeError as error:  # no such ~user
            self.reader.wrong(path, f"the file cannot be looked at: {error}")
            return MISSING

    def subnets(self, node: Node, path: str) -> Any:
        return self.several(node, path, SubnetId, "subnet")

    def services(self, node: Node, path: str) -> Any:
        mistakes = len(self.reader.mistakes)
        found = self.reader.mapping(node, path, "a mapping from service names to services")
        if not found and len(self.reader.mistakes) == mistakes:
            self.reader.wrong(path, f"is empty: {_NEEDED['services']}")
        return {name: self.service(name, value, join(path, name)) for name, value in (found or {}).items()}

    def service(self, name: str, node: Node, path: str) -> Values:
        if self.reader.fits(name, Name, path, f"the name {name!r}") and name in _RESERVED_NAMES:
            self.reader.wrong(path, "is the name of Consul's own service; choose another")
        special: dict[str, FieldReader] = {
            "path": self.path,
            "environment": self.environment,
            "tags": self.tags,
            "check": self.check,
        }
        return self.struct(node, path, ServiceSpec, special, hidden="name")

    def path(self, node: Node, path: str) -> Any:
        """The absolute folder; `lab:NAME` is one of those that ship with ecsconsul."""
        given = self.reader.leaf(node, str, path)
        if given is MISSING:
            return MISSING
        if given.startswith(SHIPPED):
            return self.shipped(given.removeprefix(SHIPPED), path)
        try:
            folder = (self.folder / Path(given).expanduser()).resolve()
            problem = _no_source(folder) if self.sources else ""
        except (OSError, RuntimeError) as error:  # no permission, too long, a loop of links, no such ~user
            problem = f"the folder cannot be looked at: {error}"
        if problem:
            self.reader.wrong(path, problem)
            return MISSING
        return str(folder)

    def shipped(self, name: str, path: str) -> Any:
        folders = {file.parent.name: str(file.parent) for file in paths.services_dir().glob("*/Dockerfile")}
        if name in folders:
            return folders[name]
        guess = closest(name, folders)
        hint = f"did you mean {SHIPPED}{guess}?" if guess else f"those are {', '.join(sorted(folders))}"
        self.reader.wrong(path, f"no service {name!r} ships with ecsconsul; {hint}")
        return MISSING

    def environment(self, node: Node, path: str) -> Any:
        found = self.reader.mapping(node, path, "a mapping from names to values") or {}
        for name in found:
            self.reader.fits(name, EnvName, join(path, name), f"the name {name!r}")
        return {name: self.reader.text(value, join(path, name)) for name, value in found.items()}

    def tags(self, node: Node, path: str) -> Any:
        return self.several(node, path, Tag, "tag")

    def several(self, node: Node, path: str, kind: Any, word: str) -> Any:
        """A list without doubles; one alone needs no list."""
        if isinstance(node, ScalarNode):
            one = self.reader.leaf(node, kind, path)
            if one is not MISSING and "," in one:
                self.reader.wrong(path, f"several {word}s are a list: [{one}]")
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
        """A check; a text alone is the path of an HTTP check."""
        if isinstance(node, ScalarNode):
            http = self.reader.leaf(node, HttpPath, path)
            return MISSING if http is MISSING else Check(http=http)
        mistakes = len(self.reader.mistakes)
        check = Check(**self.struct(node, path, Check, {}))
        if len(self.reader.mistakes) == mistakes:
            self.one_way(check, path)
        return check

    def one_way(self, check: Check, path: str) -> None:
        """A check asks in one way, and only a look has an interval: Consul itself waits for a TTL."""
        ways = [way for way in ("http", "tcp", "ttl") if getattr(check, way)]
        if len(ways) != 1:
            got = " and ".join(ways) or "none"
            self.reader.wrong(path, f"expected exactly one of http, tcp and ttl, got {got}")
        for key in ("interval", "timeout"):
            if ways == ["ttl"] and join(path, key) in self.reader:
                self.reader.wrong(join(path, key), "a ttl check has none: the task reports by itself")

    def host_ports(self, lab: Values) -> None:
        """A port of an instance is for one task, so it limits a service to one task per instance."""
        instances = lab.get("instances")
        taken: dict[int, str] = {}
        for name, service in lab.get("services", {}).items():
            path = f"services.{name}.host_port"
            port, count = service.get("host_port"), service.get("count")
            if port is None:
                continue
            if port in _RESERVED_PORTS:
                self.reader.wrong(path, f"{port} is in use on every instance, {_RESERVED_PORTS[port]}")
            if taken.setdefault(port, path) != path:
                first = taken[port]
                self.reader.wrong(path, f"{port} is also {first} on line {self.reader.line(first)}")
            if instances and count and count > instances:
                why = f"one task per instance can have {port}; count is {count}, instances {instances}"
                self.reader.wrong(path, f"{why}; leave host_port out for a dynamic port")


# Evaluating a struct's annotations costs more than reading a service.
_fields = functools.cache(structs.fields)


def _no_source(folder: Path) -> str:
    """Why a folder cannot be a service's source; nothing if it can."""
    if folder.is_file():
        return f"{folder} is a file; give the folder that holds the Dockerfile"
    if not folder.is_dir():
        return f"there is no folder {folder}"
    return "" if (folder / "Dockerfile").is_file() else f"there is no Dockerfile in {folder}"


def _lab(values: Values) -> Lab:
    services = tuple(ServiceSpec(name=name, **fields) for name, fields in values.pop("services").items())
    return Lab(name=values.pop("lab"), services=services, **values)


def init_text(folder: Path | None) -> str:
    """The commented config.yaml of the lab's three services.

    A service's path is its folder below `folder`/services when a Dockerfile is there, else the one that ships
    with ecsconsul.
    """
    text = _INIT
    for name in ("stock-price", "weather", "portal"):
        if folder is None or not (folder / "services" / name / "Dockerfile").is_file():
            text = text.replace(f"path: services/{name}", f"path: {SHIPPED}{name}")
    return text


_INIT = """\
# A lab for ecsconsul: services on Amazon ECS that find one another through Consul.
#   ecsconsul plan   shows what would change      ecsconsul up     makes it so
#   ecsconsul status shows what is there          ecsconsul down   takes it all away

lab: consul-lab   # every resource that is made carries this name
target: local     # local: this machine; aws: your AWS account
runtime: auto     # docker: real containers; processes; auto: containers where Docker is ready for them
instances: 2      # ECS instances, each with a Consul agent; they run the tasks

consul:
  servers: 1      # 1 is enough to learn; 3 survive the loss of one, 5 of two

# Each service is a folder with a Dockerfile. Consul knows it by its name here,
# so others find it as NAME.service.consul. Add your own below the three.
services:
  stock-price:
    path: services/stock-price  # relative to this file; lab:NAME is one that ships with ecsconsul
    port: 4567          # where the container listens; another one is told in PORT
    # host_port: 8081   # a fixed port on the instance; without it each task gets a free one
    count: 1            # how many tasks run; change it and `ecsconsul up`
    cpu: 100            # CPU units; 1024 are one vCPU
    memory: 200         # MiB
    environment:
      PROVIDER: auto    # live prices, or demo ones (labelled so) where there is no internet
    tags: [http]        # Consul tags: `ecsconsul dig stock-price --tag http`
    check:              # only a task that passes is found
      http: /health     # or `tcp: true`, or `ttl: 30s`
      interval: 10s

  weather:
    path: services/weather
    port: 4567
    # host_port: 8082
    count: 1
    cpu: 100
    memory: 200
    environment:
      PROVIDER: auto
      TEMP_SCALE: C     # or F
    tags: [http]
    check:
      http: /health
      interval: 10s

  portal:               # the page that asks Consul for the other two
    path: services/portal
    port: 4567
    host_port: 8080     # the port that you open in the browser
    count: 1
    cpu: 100
    memory: 200
    environment: {}
    tags: [http]
    check:
      http: /health
      interval: 10s
"""
