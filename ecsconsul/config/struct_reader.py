"""Reads mappings of the config into the fields of its types, and the short forms that several keys share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import NODEFAULT, Struct, structs
from yaml.nodes import Node, ScalarNode, SequenceNode

from .scalars import EnvName
from .yaml_reader import MISSING, Reader, join, shown

Values = dict[str, Any]
FieldReader = Callable[[Node, str], Any]

# other tools' words for our keys
_COMPOSE_WORDS = {
    "replicas": "count",
    "desired_count": "count",
    "env": "environment",
    "build": "path",
    "context": "path",
    "healthcheck": "health_check",
    "container_port": "port",
    "port_mappings": "ports",
    "entrypoint": "entry_point",
    "cmd": "command",
    "args": "command",
    "working_dir": "working_directory",
    "workdir": "working_directory",
    "stop_grace_period": "stop_timeout",
    "docker_labels": "labels",
    "logging": "log",
    "log_configuration": "log",
    "task_role_arn": "task_role",
    "scheduling_strategy": "schedule",
    "sidecars": "containers",
    "container_definitions": "containers",
    "mount_points": "volumes",
    "name": "lab",
}
REQUIRED = {
    "services": "a lab needs at least one service",
    "certificate": "HTTPS needs one; ACM issues it",
    "min": "the fewest ECS instances",
    "max": "the most ECS instances",
    "soft": "the limit that a process may raise itself",
    "hard": "the limit that only root may raise",
}
# what is required in some types only: `port` has a default in a service, and so has `path`
_REQUIRED_IN = {
    "PortSpec": {"port": "the port that the container listens on"},
    "VolumeSpec": {"name": "containers share a volume by its name", "path": "the folder in the container"},
    "LogSpec": {"driver": "the log driver of the container"},
    "HealthCheckSpec": {"command": "what ECS runs in the container"},
}


class StructReader:
    """Reads structs from nodes. Paths in the config are relative to `folder`."""

    def __init__(self, reader: Reader, folder: Path) -> None:
        self.reader = reader
        self.folder = folder

    def struct(
        self,
        node: Node,
        path: str,
        kind: type[Struct],
        special: dict[str, FieldReader],
        *,
        hidden: str = "",
        moved: dict[str, Node] | None = None,
        movable: tuple[str, ...] = (),
    ) -> Values:
        """The values of a struct's fields, or their defaults; invalid ones are left out.

        `special` reads the fields that aren't scalars, `hidden` is a field that isn't a key, and `moved` takes the
        `movable` keys, which are deprecated here.
        """
        fields = {field.encode_name: field for field in fields_of(kind) if field.name != hidden}
        required = REQUIRED | _REQUIRED_IN.get(kind.__name__, {})
        found = self.reader.mapping(node, path, f"a mapping with {', '.join(fields)}")
        if found is None:
            return {}
        if moved is not None:
            moved.update({key: found.pop(key) for key in movable if key in found})
        meant = self.reader.unknown(found, fields, path, _COMPOSE_WORDS)
        values: Values = {}
        for key, field in fields.items():
            if key in found:
                value = self.field(found[key], join(path, key), field.type, special.get(key))
                if value is not MISSING:
                    values[key] = value
            elif key not in required:
                values[key] = field.default if field.default is not NODEFAULT else field.default_factory()
            elif key not in meant:
                self.reader.wrong(path, f"{key} is missing: {required[key]}")
        return values

    def field(self, node: Node, path: str, kind: Any, special: FieldReader | None) -> Any:
        """The value of a key; MISSING if it is invalid."""
        if node.tag == "tag:yaml.org,2002:null":
            self.reader.wrong(path, "the value is missing; add one, or remove the key")
            return MISSING
        return special(node, path) if special else self.reader.leaf(node, kind, path)

    def part(self, node: Node, path: str, kind: type[Struct], special: dict[str, FieldReader] | None = None) -> Any:
        """A struct; MISSING if it lacks a required field."""
        values = self.struct(node, path, kind, special or {})
        required = {field.name for field in fields_of(kind) if field.required}
        return kind(**values) if values and values.keys() >= required else MISSING

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

    def texts(self, node: Node, path: str, names: Any = EnvName) -> Any:
        """A mapping from names to texts, such as environment variables and the options of a log driver."""
        found = self.reader.mapping(node, path, "a mapping from names to values") or {}
        for name in found:
            self.reader.fits(name, names, join(path, name), f"the name {name!r}")
        return {name: self.reader.text(value, join(path, name)) for name, value in found.items()}

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


# evaluating a struct's annotations takes longer than reading a service
fields_of = functools.cache(structs.fields)
