"""Reads the services of the config and their containers, with the short forms that only YAML has."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import structs
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from .. import paths
from .container_spec import Check, ContainerSpec, HealthCheckSpec, LogSpec, PortSpec, UlimitSpec, VolumeSpec
from .env_file import read_env_file
from .lab import ServiceSpec
from .scalars import (
    Condition,
    EnvName,
    HttpPath,
    LabelName,
    LinkText,
    Name,
    Port,
    S3File,
    SecretSource,
    Tag,
    UlimitName,
    UlimitValue,
    seconds_of,
)
from .struct_reader import REQUIRED, FieldReader, StructReader, Values
from .yaml_reader import MISSING, closest, join, shown

SHIPPED = "lab:"
"""Prefix of a `path` that names a folder shipped with ecsconsul."""

_RESERVED_NAMES = {"consul"}
# seconds: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_HealthCheck.html
_HEALTH_LIMITS = {"interval": (5, 300), "timeout": (2, 60), "start_period": (0, 300)}


class ServiceReader:
    """Reads services. Without `sources`, the folders and files that they name don't have to exist."""

    def __init__(self, structs_: StructReader, *, sources: bool) -> None:
        self.structs = structs_
        self.reader = structs_.reader
        self.sources = sources

    def services(self, node: Node, path: str) -> Any:
        mistakes = len(self.reader.mistakes)
        found = self.reader.mapping(node, path, "a mapping from service names to services")
        if not found and len(self.reader.mistakes) == mistakes:
            self.reader.wrong(path, f"is empty: {REQUIRED['services']}")
        return tuple(self.service(name, value, join(path, name)) for name, value in (found or {}).items())

    def service(self, name: str, node: Node, path: str) -> ServiceSpec:
        """A service; a field that is invalid has its default."""
        if self.reader.fits(name, Name, path, f"the name {name!r}") and name in _RESERVED_NAMES:
            self.reader.wrong(path, "the name is taken by Consul's own service; choose another")
        special = {**self.container_fields(), "tags": self.tags, "check": self.check, "containers": self.containers}
        spec = ServiceSpec(name=name, **self.container_values(node, path, ServiceSpec, special))
        if not spec.ports:
            return spec
        first = spec.ports[0]
        same = {key: getattr(first, key) for key in ("port", "host_port", "tags", "check")}
        return structs.replace(spec, **same)

    def containers(self, node: Node, path: str) -> Any:
        found = self.reader.mapping(node, path, "a mapping from container names to containers") or {}
        return tuple(self.container(name, value, join(path, name)) for name, value in found.items())

    def container(self, name: str, node: Node, path: str) -> ContainerSpec:
        self.reader.fits(name, Name, path, f"the name {name!r}")
        return ContainerSpec(name=name, **self.container_values(node, path, ContainerSpec, self.container_fields()))

    def container_fields(self) -> dict[str, FieldReader]:
        return {
            "path": self.path,
            "command": self.words,
            "entry_point": self.words,
            "environment": self.structs.texts,
            "env_file": self.env_file,
            "secrets": self.secrets,
            "ports": self.ports,
            "volumes": self.volumes,
            "depends_on": self.depends_on,
            "links": self.links,
            "health_check": self.health_check,
            "ulimits": self.ulimits,
            "labels": lambda node, path: self.structs.texts(node, path, LabelName),
            "log": lambda node, path: self.structs.part(node, path, LogSpec, {"options": self.structs.texts}),
        }

    def container_values(self, node: Node, path: str, kind: Any, special: dict[str, FieldReader]) -> Values:
        """The fields of a container, with the variables of its files among those of its environment."""
        before = len(self.reader.mistakes)
        values = self.structs.struct(node, path, kind, special, hidden="name")
        self.source(values, path, before)
        if files := values.pop("env_file", ()):
            own = {} if values.get("environment") is None else values["environment"]
            values["environment"] = {**files[0], **own}
            values["env_file"] = files[1]
        return values

    def source(self, values: Values, path: str, before: int) -> None:
        """A container has exactly one of path and image; an unknown key that meant one of them is mistake enough."""
        both = [key for key in ("path", "image") if join(path, key) in self.reader]
        if len(both) == 2:
            self.reader.wrong(join(path, "image"), "not allowed with path, which is built; keep one of them")
        elif not both and values and not _meant_path(self.reader.mistakes[before:], path):
            self.reader.wrong(path, "path is missing: the folder with the Dockerfile; or image: one that exists")

    def path(self, node: Node, path: str) -> Any:
        """The absolute folder of a service; `lab:NAME` ships with ecsconsul."""
        given = self.reader.leaf(node, str, path)
        if given is MISSING:
            return MISSING
        if given.startswith(SHIPPED):
            return self.shipped(given.removeprefix(SHIPPED), path)
        try:
            folder = (self.structs.folder / Path(given).expanduser()).resolve()
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

    def tags(self, node: Node, path: str) -> Any:
        return self.structs.several(node, path, Tag, "tag")

    def check(self, node: Node, path: str) -> Any:
        """A check; plain text is short for the path of an HTTP check."""
        if isinstance(node, ScalarNode):
            http = self.reader.leaf(node, HttpPath, path)
            return MISSING if http is MISSING else Check(http=http)
        mistakes = len(self.reader.mistakes)
        check = Check(**self.structs.struct(node, path, Check, {}))
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

    def words(self, node: Node, path: str) -> Any:
        """A list of words, or a text that is split as a shell does."""
        if isinstance(node, SequenceNode):
            found = [self.reader.text(item, at) for at, item in self.reader.items(node, path)]
            return MISSING if MISSING in found else tuple(found)
        if not isinstance(node, ScalarNode):
            self.reader.wrong(path, f"expected a list of words, or a text, got {shown(node)}")
            return MISSING
        text = self.reader.text(node, path)
        try:
            return MISSING if text is MISSING else tuple(shlex.split(text))
        except ValueError as error:
            self.reader.wrong(path, f"can't split the text into words: {error}; write a list of words")
            return MISSING

    def env_file(self, node: Node, path: str) -> Any:
        """The variables of the files, the last one first, and the ARNs of those in S3."""
        entries = self.reader.items(node, path) if isinstance(node, SequenceNode) else [(path, node)]
        values: dict[str, str] = {}
        in_s3 = []
        for at, item in entries:
            given = self.reader.leaf(item, str, at)
            if given is MISSING:
                continue
            if given.startswith("arn:"):
                if self.reader.fits(given, S3File, at, shown(item)):
                    in_s3.append(given)
            elif (file := self.structs.own_path(item, at)) is not MISSING:
                values |= self.variables(Path(file), at)
        return values, tuple(in_s3)

    def variables(self, file: Path, path: str) -> dict[str, str]:
        if not self.sources and not file.exists():
            return {}
        found = read_env_file(file)
        for problem in found.problems:
            self.reader.wrong(path, problem)
        return found.values

    def secrets(self, node: Node, path: str) -> Any:
        found = self.reader.mapping(node, path, "a mapping from names to SSM parameters or secrets") or {}
        for name in found:
            self.reader.fits(name, EnvName, join(path, name), f"the name {name!r}")
        return self.valid(
            {name: self.reader.leaf(value, SecretSource, join(path, name)) for name, value in found.items()}
        )

    def ports(self, node: Node, path: str) -> Any:
        if not isinstance(node, SequenceNode):
            self.reader.wrong(path, f"expected a list of ports, got {shown(node)}")
            return MISSING
        found = [self.port(item, at) for at, item in self.reader.items(node, path)]
        return MISSING if MISSING in found else tuple(found)

    def port(self, node: Node, path: str) -> Any:
        """A port; a number alone is a TCP port with a dynamic host port."""
        if isinstance(node, MappingNode):
            return self.structs.part(node, path, PortSpec, {"tags": self.tags, "check": self.check})
        port = self.reader.leaf(node, Port, path)
        return MISSING if port is MISSING else PortSpec(port=port)

    def volumes(self, node: Node, path: str) -> Any:
        if not isinstance(node, SequenceNode):
            self.reader.wrong(path, f"expected a list of volumes, got {shown(node)}")
            return MISSING
        found = [self.volume(item, at) for at, item in self.reader.items(node, path)]
        return MISSING if MISSING in found else tuple(found)

    def volume(self, node: Node, path: str) -> Any:
        """A volume; NAME:/path or NAME:/path:ro is short for a folder that the task's containers share."""
        if isinstance(node, MappingNode):
            return self.structs.part(node, path, VolumeSpec)
        given = self.reader.leaf(node, str, path)
        if given is MISSING:
            return MISSING
        name, _, rest = given.partition(":")
        folder, _, mode = rest.partition(":")
        fields = {field.name: field.type for field in structs.fields(VolumeSpec)}
        got = f'"{given}"'
        if not rest or mode not in ("", "ro", "rw"):
            self.reader.wrong(path, f"expected NAME:/path, NAME:/path:ro or a mapping, got {got}")
            return MISSING
        if name.startswith(("/", ".", "~")):
            hint = f"{{name: data, host: {name}, path: {folder}}}"
            self.reader.wrong(path, f"a folder on the instance is written as a mapping: {hint}")
            return MISSING
        right = self.reader.fits(name, fields["name"], path, got) and self.reader.fits(
            folder, fields["path"], path, got
        )
        return VolumeSpec(name=name, path=folder, read_only=mode == "ro") if right else MISSING

    def depends_on(self, node: Node, path: str) -> Any:
        """A list of containers, which means START, or a mapping from containers to conditions."""
        if not isinstance(node, MappingNode):
            names = self.structs.several(node, path, Name, "container")
            return MISSING if names is MISSING or MISSING in names else dict.fromkeys(names, "START")
        found = self.reader.mapping(node, path, "a mapping from containers to conditions") or {}
        return self.valid({name: self.reader.leaf(value, Condition, join(path, name)) for name, value in found.items()})

    def links(self, node: Node, path: str) -> Any:
        found = self.structs.several(node, path, LinkText, "link")
        return MISSING if found is MISSING or MISSING in found else found

    def health_check(self, node: Node, path: str) -> Any:
        found = self.structs.part(node, path, HealthCheckSpec, {"command": self.health_command})
        for key, (least, most) in _HEALTH_LIMITS.items() if found is not MISSING else ():
            text = getattr(found, key)
            if text and not least <= seconds_of(text) <= most:
                self.reader.wrong(join(path, key), f"expected {least}s to {most}s, got {text}")
        return found

    def health_command(self, node: Node, path: str) -> Any:
        """Text for the container's shell, or a list of words, which may begin with ECS's CMD or CMD-SHELL."""
        if not isinstance(node, SequenceNode):
            text = self.reader.text(node, path)
            return text if text is MISSING else ("CMD-SHELL", text)
        words = self.words(node, path)
        if words is MISSING or words[:1] in (("CMD",), ("CMD-SHELL",)):
            return words
        if not words:
            self.reader.wrong(path, "is empty: what ECS runs in the container")
        return ("CMD", *words)

    def ulimits(self, node: Node, path: str) -> Any:
        found = self.reader.mapping(node, path, "a mapping from limits to numbers") or {}
        for name in found:
            self.reader.fits(name, UlimitName, join(path, name), f"the name {name!r}")
        return self.valid({name: self.ulimit(value, join(path, name)) for name, value in found.items()})

    def ulimit(self, node: Node, path: str) -> Any:
        if not isinstance(node, MappingNode):
            both = self.reader.leaf(node, UlimitValue, path)
            return both if both is MISSING else UlimitSpec(soft=both, hard=both)
        found = self.structs.part(node, path, UlimitSpec)
        if found is not MISSING and found.hard != -1 and (found.soft > found.hard or found.soft == -1):
            self.reader.wrong(join(path, "soft"), f"{found.soft} is more than hard, which is {found.hard}")
        return found

    def valid(self, found: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in found.items() if value is not MISSING}


def _meant_path(mistakes: list[Any], path: str) -> bool:
    guessed = ("did you mean path?", "did you mean image?")
    return any(one.path.startswith(f"{path}.") and one.message.endswith(guessed) for one in mistakes)


def _no_source(folder: Path) -> str:
    """Why a folder can't be a service's source; empty if it can."""
    if folder.is_file():
        return f"{folder} is a file; name the folder with the Dockerfile"
    if not folder.is_dir():
        return f"there is no folder {folder}"
    return "" if (folder / "Dockerfile").is_file() else f"there is no Dockerfile in {folder}"
