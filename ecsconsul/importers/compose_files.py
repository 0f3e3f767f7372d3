"""Compose files become one document: variables are substituted, `include` and `extends` are followed, files merged.

https://docs.docker.com/reference/compose-file/merge/
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import LabError
from .compose_values import pairs
from .document import Node, from_yaml
from .draft import Draft
from .files import Files
from .interpolation import Variables

# replaced as a whole by a later file: https://docs.docker.com/reference/compose-file/merge/#exceptions
_REPLACED = ("command", "entrypoint", "test")
# a mapping or a list of NAME=VALUE
_PAIRS = ("environment", "labels", "args", "sysctls", "annotations", "extra_hosts")
_CONDITION = Node("map", {"condition": Node("str", "service_started", "", "")}, "", "")
_MOST_DEEP = 20
_MOST_FILES, _MOST_EXTENDED = 200, 100


@dataclass(frozen=True)
class ComposeReader:
    """Reads compose files. What can't be followed is recorded in `head`."""

    files: Files
    variables: Variables
    head: Draft
    # by the file's name, and by that and the service's
    _read: dict[str, Node] = field(default_factory=dict)
    _whole: dict[tuple[str, str], Node] = field(default_factory=dict)

    def read(self, names: list[str]) -> Node:
        """The document of one file, or of several where a later one overrides. Raises LabError."""
        found = self._file(names[0], 0)
        for name in names[1:]:
            found = merged(found, self._file(name, 0))
        services = {name: self._extended(found, ("", name), one, ()) for name, one in self._services(found).items()}
        return replace(found, value={**found.fields(), "services": replace(found, kind="map", value=services)})

    def _services(self, node: Node) -> dict[str, Node]:
        services = node.fields().get("services")
        if services is None or services.kind != "map":
            if services is not None and services.kind != "null":
                raise services.wrong("a mapping from names to services")
            return {}
        return services.fields()

    def _file(self, name: str, depth: int) -> Node:
        """A file with what it includes; each file is read once."""
        if name not in self._read:
            found = self._composed(name, depth)
            if len(self._read) >= _MOST_FILES:
                raise LabError(f"{name} can't be read", where=name, why=f"more than {_MOST_FILES} files are read")
            self._read[name] = found
        return self._read[name]

    def _composed(self, name: str, depth: int) -> Node:
        data = self.files.read(self.files.absolute(name))
        if data is None:
            raise LabError(f"{name} can't be read", where=name, why="there is no such file")
        if depth > _MOST_DEEP:
            raise LabError(f"{name} can't be read", where=name, why="files include or extend each other in a circle")
        found = self.variables.substitute(from_yaml(data, name))
        include = found.fields().get("include")
        for item in include.items() if include and include.kind == "list" else ():
            found = self._included(found, item, Path(name).parent, depth)
        return replace(found, value={key: one for key, one in found.fields().items() if key != "include"})

    def _included(self, node: Node, item: Node, folder: Path, depth: int) -> Node:
        """The document with an included file below it, if its paths mean the same here."""
        given = item.fields().get("path", item) if item.kind == "map" else item
        names = given.texts() if given.kind in ("list", "str") else []
        if not names or any(_is_elsewhere(name) for name in names):
            self.head.lose(item, "its paths are relative to another folder: import it there, into a config of its own")
            return node
        if item.kind == "map" and len(item.fields()) > 1:
            self.head.lose(item, "only its `path` is followed")
        for name in names:
            node = merged(self._file(os.path.normpath(folder / name), depth + 1), node)
        return node

    def _extended(self, document: Node, at: tuple[str, str], node: Node, seen: tuple[str, ...]) -> Node:
        """A service with what it extends below it; `at` is its file, "" for the document's own, and its name."""
        if at not in self._whole:
            self._whole[at] = self._extend(document, at, node, seen)
        return self._whole[at]

    def _extend(self, document: Node, at: tuple[str, str], node: Node, seen: tuple[str, ...]) -> Node:
        own_file, name = at
        extends = node.fields().get("extends") if node.kind == "map" else None
        if extends is None:
            return node
        own = replace(node, value={key: one for key, one in node.fields().items() if key != "extends"})
        file, service = self._base(extends)
        file = os.path.normpath(file) if file else ""
        base_at = (file or own_file, service)
        here = ":".join(base_at)
        if len(seen) > _MOST_EXTENDED:
            why = f"more than {_MOST_EXTENDED} services extend each other in a row"
            raise LabError(f"{name} can't be read", where=extends.where, why=why)
        if here in seen:
            raise LabError("Services extend each other in a circle", where=extends.where, why=" → ".join([*seen, here]))
        source = self._file(file, 0) if file else document
        base = self._services(source).get(service)
        if base is None:
            why = f"{file or 'the file'} has no such service"
            raise LabError(f"{name} extends {service}, which doesn't exist", where=extends.where, why=why)
        if file and _is_elsewhere(file):
            self.head.note(
                "", f"{name} extends a service of {file}: check its paths, which are relative to that folder"
            )
        base = self._extended(source, base_at, base, (*seen, here))
        # https://docs.docker.com/reference/compose-file/services/#extends
        return merged(base, own)

    def _base(self, extends: Node) -> tuple[str, str]:
        if extends.kind != "map":
            return "", extends.text()
        fields = extends.fields()
        if "service" not in fields:
            raise extends.wrong("`service`, and `file` if it's in another one")
        return fields["file"].text() if "file" in fields else "", fields["service"].text()


def _is_elsewhere(name: str) -> bool:
    """Whether a file lies in another folder."""
    return Path(os.path.normpath(name)).parent != Path()


def merged(base: Node, over: Node, key: str = "") -> Node:
    """A node with another one laid over it, as compose merges files."""
    if over.kind == "null":
        return over if over.value == "!reset" else base
    if key in _PAIRS and {base.kind, over.kind} <= {"map", "list"} and key != "extra_hosts":
        return replace(over, kind="map", value={**pairs(base), **pairs(over)})
    if key == "depends_on" and {base.kind, over.kind} == {"map", "list"}:
        return replace(over, kind="map", value={**_conditions(base), **_conditions(over)})
    if base.kind == over.kind == "map":
        return replace(over, value={**base.value, **{k: _over(base, k, one) for k, one in over.value.items()}})
    if base.kind == over.kind == "list" and key not in _REPLACED:
        return replace(over, value=_joined(base, over, key))
    return over


def _over(base: Node, key: str, node: Node) -> Node:
    return merged(base.value[key], node, key) if key in base.value else node


def _conditions(node: Node) -> dict[str, Node]:
    if node.kind == "map":
        return node.fields()
    return {one.text(): replace(_CONDITION, path=one.path, file=one.file, line=one.line) for one in node.items()}


def _joined(base: Node, over: Node, key: str) -> list[Node]:
    """Both lists, without what is given twice; of volumes, the later of two at the same path."""
    identity = _target if key == "volumes" else Node.plain
    taken = {repr(identity(one)) for one in over.value}
    return [one for one in base.value if repr(identity(one)) not in taken] + list(over.value)


def _target(node: Node) -> object:
    if node.kind == "map":
        target = node.value.get("target")
        return target.plain() if target else node.plain()
    parts = str(node.value).split(":")
    return parts[min(1, len(parts) - 1)]
