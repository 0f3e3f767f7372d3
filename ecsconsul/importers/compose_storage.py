"""What a compose service mounts: volumes, folders of this machine, secrets and configs.

https://docs.docker.com/reference/compose-file/volumes/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .document import Fields, Node
from .draft import Draft
from .files import Files

_MODES = {"rw": False, "ro": True}
_HARMLESS = {"z", "Z", "cached", "delegated", "consistent", "nocopy", "rprivate", "private"}
_ENDS_WITH_TASK = (
    "a named volume lives as long as the task here, and each task has its own; to keep it, use `efs` or `host`"
)
_HERE_ONLY = "of this machine: in AWS the instances don't have it, so copy it into an image, or use `efs`"


@dataclass(frozen=True)
class Storage:
    """The top-level volumes, secrets and configs of a compose file, and its files."""

    files: Files
    volumes: Mapping[str, Node]
    secrets: Mapping[str, Node]
    configs: Mapping[str, Node]


@dataclass(frozen=True)
class _Mount:
    source: str
    path: str
    read_only: bool = False

    @property
    def is_folder(self) -> bool:
        """Whether the source is a path: https://docs.docker.com/reference/compose-file/services/#volumes."""
        return self.source.startswith(("/", ".", "~"))


def put_volumes(draft: Draft, fields: Fields, storage: Storage) -> None:
    """Takes volumes, tmpfs, secrets and configs of a service."""
    found: list[dict[str, Any]] = []
    volumes, tmpfs = fields.take("volumes"), fields.take("tmpfs")
    for node in volumes.items() if volumes else ():
        mount = _long(draft, node) if node.kind == "map" else _short(draft, node)
        if mount is not None:
            found.append(_volume(draft, mount, storage))
    for text in tmpfs.texts() if tmpfs else ():
        path, _, options = text.partition(":")
        found.append(_volume(draft, _Mount("", path), storage))
        draft.note(
            "volumes",
            f"tmpfs {path}: a folder on the instance's disk here" + (f", without {options}" if options else ""),
        )
    found += _files(draft, fields.take("secrets"), storage.secrets, "/run/secrets/", storage)
    found += _files(draft, fields.take("configs"), storage.configs, "/", storage)
    fields.lose(
        "volumes_from", "volumes are shared within a task only: put both containers into one, under `containers`"
    )
    names: dict[str, int] = {}
    for one in found:  # two mounts of one volume are fine if they are the same folder
        number = names[one["name"]] = names.get(one["name"], 0) + 1
        if number > 1 and "host" in one:
            one["name"] = f"{one['name']}-{number}"
    draft.put("volumes", found)


def _short(draft: Draft, node: Node) -> _Mount | None:
    parts = node.text().split(":")
    if len(parts) == 1:
        return _Mount("", parts[0])
    if len(parts) > 3:
        draft.lose(node, "its form isn't SOURCE:PATH[:OPTIONS]")
        return None
    options = parts[2].split(",") if len(parts) == 3 else []
    strange = [one for one in options if one not in _MODES]
    if strange:
        effect = "which change nothing here" if set(strange) <= _HARMLESS else "for which there is no key"
        draft.note("volumes", f"{node.text()} (line {node.line}): without {', '.join(strange)}, {effect}")
    return _Mount(parts[0], parts[1], any(_MODES.get(one, False) for one in options))


def _long(draft: Draft, node: Node) -> _Mount | None:
    fields = Fields(node, draft.lose)
    kind, source, target = fields.take("type"), fields.take("source"), fields.take("target")
    read_only = fields.take("read_only")
    if kind is None:
        raise node.wrong("a volume with `type`")
    word = kind.text()
    if word not in ("bind", "volume", "tmpfs") or target is None:
        draft.lose(node, f"a volume of type {word} has no place in a task" if target else "it has no `target`")
        return None
    fields.lose("bind volume tmpfs consistency", "ecsconsul has no key for options of a mount")
    fields.close()
    if word == "tmpfs":
        draft.note("volumes", f"tmpfs {target.text()}: a folder on the instance's disk here")
    text = source.text() if source and word != "tmpfs" else ""
    if word == "bind" and not text.startswith(("/", ".", "~")):
        text = f"./{text}"
    return _Mount(text, target.text(), bool(read_only and read_only.flag()))


def _volume(draft: Draft, mount: _Mount, storage: Storage) -> dict[str, Any]:
    """A volume as the config writes it."""
    end: dict[str, Any] = {"read_only": True} if mount.read_only else {}
    if mount.is_folder:
        host = str(storage.files.absolute(mount.source))
        if mount.source.startswith("/var/run/docker.sock"):
            draft.note("volumes", "the Docker socket: whoever has it controls the instance and every container on it")
        elif not mount.source.startswith(("/proc", "/sys", "/var/", "/etc/", "/dev", "/run")) and host != "/":
            draft.note("volumes", f"{mount.source}: {_HERE_ONLY}")
        return {"name": volume_name(Path(host).name or "root"), "path": mount.path, "host": host, **end}
    if mount.source:
        draft.note("volumes", f"{mount.source}: {_ENDS_WITH_TASK}")
    return {"name": volume_name(mount.source or mount.path), "path": mount.path, **end}


def volume_name(text: str) -> str:
    """A name that ECS takes: letters, digits, hyphens and underscores, at most 255."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")[:200] or "volume"


def _files(
    draft: Draft, node: Node | None, declared: Mapping[str, Node], folder: str, storage: Storage
) -> list[dict[str, Any]]:
    """Secrets or configs of a service, which compose mounts as files."""
    found = []
    for item in node.items() if node else ():
        name, target = item, None
        if item.kind == "map":
            fields = Fields(item, draft.lose)
            source, target = fields.take("source"), fields.take("target")
            fields.lose("uid gid mode", "a file has the owner and mode that it has on this machine")
            fields.close()
            if source is None:
                raise item.wrong("a secret or config with `source`")
            name = source
        mount = _file(draft, name, target, declared, folder, storage)
        if mount is not None:
            found.append(mount)
    return found


def _file(
    draft: Draft, name: Node, target: Node | None, declared: Mapping[str, Node], folder: str, storage: Storage
) -> dict[str, Any] | None:
    at = target.text() if target else name.text()
    path = at if at.startswith("/") else f"{folder}{at}"
    given = declared.get(name.text())
    file = given.value.get("file") if given is not None and given.kind == "map" else None
    is_secret = folder.startswith("/run")
    to_do = (
        f"put it into SSM or Secrets Manager and use `secrets` (an environment variable instead of {path})"
        if is_secret
        else f"copy it into an image as {path}"
    )
    if file is None:
        draft.lose(name, f"{path} isn't a file on this machine; {to_do}")
        return None
    draft.note("volumes", f"{path}: a file of this machine, which the instances in AWS don't have; {to_do}")
    host = str(storage.files.absolute(file.text()))
    return {"name": volume_name(name.text()), "path": path, "host": host, "read_only": True}
