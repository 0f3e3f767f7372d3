"""Reads config.yaml into a frozen Lab, and reports every mistake at once.

The built-in lab is a config too: default.yaml, which `ecsconsul init` writes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import structs
from yaml.nodes import Node, ScalarNode

from .. import errors
from .aws_settings import AlarmsSpec, AwsSpec, LoadBalancerSpec, LogsSpec, RegistratorSpec, SshSpec
from .lab import ConsulSpec, InstanceRange, Lab, LocalSpec, SnapshotSpec
from .scalars import InstanceCount, SubnetId, seconds_of
from .service_reader import SHIPPED, ServiceReader
from .service_rules import check_services
from .struct_reader import FieldReader, StructReader, Values, fields_of
from .warnings import warnings
from .yaml_reader import MAX_BYTES, MISSING, Mistake, Reader, Stop, compose, join

BUILT_IN = "built-in config"
# keys that used to stand beside `aws`; the schema marks them as deprecated
MOVED_TO_AWS = ("registry", "registrator")
LEAST_BETWEEN_SNAPSHOTS = 60.0
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
    return Lab(name=values.pop("lab"), **values).with_daemons()


class _Config:
    """Converts the config's nodes to the types of lab.py, including the short forms that only YAML has."""

    def __init__(self, root: Node, folder: Path, *, sources: bool) -> None:
        self.reader = Reader(root)
        self.structs = StructReader(self.reader, folder)
        self.sources = sources
        self.deprecated: list[str] = []
        self.aws_special: dict[str, FieldReader] = {
            "subnets": self.subnets,
            "ssh": self.ssh,
            "registrator": lambda node, path: self.structs.part(node, path, RegistratorSpec),
            "load_balancer": lambda node, path: self.structs.part(
                node, path, LoadBalancerSpec, {"subnets": self.subnets}
            ),
            "alarms": lambda node, path: self.structs.part(node, path, AlarmsSpec),
            "logs": lambda node, path: self.structs.part(node, path, LogsSpec, {"options": self.structs.texts}),
        }

    def lab(self, root: Node) -> Values:
        special: dict[str, FieldReader] = {
            "instances": self.instances,
            "consul": lambda node, path: self.structs.part(node, path, ConsulSpec, {"snapshots": self.snapshots}),
            "aws": lambda node, path: self.structs.part(node, path, AwsSpec, self.aws_special),
            "local": lambda node, path: self.structs.part(node, path, LocalSpec, {"secrets": self.structs.own_path}),
            "services": ServiceReader(self.structs, sources=self.sources).services,
        }
        moved: dict[str, Node] = {}
        values = self.structs.struct(root, "", Lab, special, moved=moved, movable=MOVED_TO_AWS)
        for key, node in moved.items():
            self.move_to_aws(values, key, node)
        check_services(self.reader, values)
        return values

    def move_to_aws(self, values: Values, key: str, node: Node) -> None:
        """Reads a key from its deprecated place beside `aws`."""
        kind = next(field.type for field in fields_of(AwsSpec) if field.name == key)
        value = self.structs.field(node, key, kind, self.aws_special.get(key))
        aws, new = values.get("aws"), f"aws.{key}"
        if value is MISSING or aws is None or any(mistake.path.startswith(new) for mistake in self.reader.mistakes):
            return
        if new in self.reader and getattr(aws, key) != value:
            self.reader.wrong(key, f"differs from {new} on line {self.reader.line(new)}; keep only {new}")
        values["aws"] = structs.replace(aws, **{key: value})
        self.deprecated.append(key)

    def instances(self, node: Node, path: str) -> Any:
        """A number, or the fewest and the most."""
        if isinstance(node, ScalarNode):
            return self.reader.leaf(node, InstanceCount, path)
        found = self.structs.part(node, path, InstanceRange)
        if found is not MISSING and found.min > found.max:
            self.reader.wrong(join(path, "min"), f"{found.min} is more than max, which is {found.max}")
            return MISSING
        return found

    def snapshots(self, node: Node, path: str) -> Any:
        found = self.structs.part(node, path, SnapshotSpec, {"folder": self.structs.own_path})
        if found is not MISSING and seconds_of(found.every) < LEAST_BETWEEN_SNAPSHOTS:
            self.reader.wrong(join(path, "every"), f"{found.every} is less than 1m")
            return MISSING
        return found

    def ssh(self, node: Node, path: str) -> Any:
        return self.structs.part(node, path, SshSpec, {"key": self.structs.own_path})

    def subnets(self, node: Node, path: str) -> Any:
        return self.structs.several(node, path, SubnetId, "subnet")


def init_text(folder: Path | None) -> str:
    """The commented config.yaml of the built-in lab.

    A service whose Dockerfile lies in `folder`/services is used from there, any other as shipped with ecsconsul.
    """
    text = (Path(__file__).parent / "default.yaml").read_text(encoding="utf-8")
    for name in ("stock-price", "weather", "portal"):
        if folder is None or not (folder / "services" / name / "Dockerfile").is_file():
            text = text.replace(f"path: services/{name}", f"path: {SHIPPED}{name}")
    return text
