"""The volumes of a task: which ones a container mounts, and how long and for whom each lasts. Pure.

A folder of the instance (`host.sourcePath`) is a folder of the lab and never this machine's own; so is a file system of
EFS, which all instances share. https://docs.aws.amazon.com/AmazonECS/latest/developerguide/using_data_volumes.html
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Volume:
    """A volume's name among all of the lab. `task`: the id of the task with which it goes; "" if it stays until `down`.

    `starts_with_image`: what the image has at that place is copied into it while it's empty, as Docker does.
    """

    name: str
    task: str = ""
    starts_with_image: bool = True


@dataclass(frozen=True)
class Mount:
    """A volume at an absolute path of a container."""

    volume: Volume
    path: str
    read_only: bool = False


def mounts(task: str, definition: Json, container: Json, instance: str) -> tuple[Mount, ...]:
    """What a container of a task mounts on an instance: its own volumes, and those of other containers."""
    volumes = {one["name"]: _volume(task, one, instance) for one in definition.get("volumes") or ()}
    containers = {one["name"]: one for one in definition["containerDefinitions"]}
    found = {one.path: one for one in _mounts(container, volumes, containers, frozenset())}
    return tuple(found.values())


def _mounts(
    container: Json, volumes: Mapping[str, Volume], containers: Mapping[str, Json], seen: frozenset[str]
) -> list[Mount]:
    """The container's own mounts come last, so that they replace those of other containers."""
    found = []
    seen |= {container["name"]}
    for one in container.get("volumesFrom") or ():
        source = one.get("sourceContainer")
        if source in containers and source not in seen:
            inherited = _mounts(containers[source], volumes, containers, seen)
            found += [Mount(m.volume, m.path, m.read_only or bool(one.get("readOnly"))) for m in inherited]
    for one in container.get("mountPoints") or ():
        if (name := one.get("sourceVolume")) in volumes and one.get("containerPath"):
            found.append(Mount(volumes[name], one["containerPath"], bool(one.get("readOnly"))))
    return found


def _volume(task: str, volume: Json, instance: str) -> Volume:
    name = volume["name"]
    if path := (volume.get("host") or {}).get("sourcePath"):
        return Volume(_named(f"host-{instance}", path), starts_with_image=False)
    if efs := volume.get("efsVolumeConfiguration"):
        access = (efs.get("authorizationConfig") or {}).get("accessPointId") or ""
        place = f"{efs['fileSystemId']}/{access}/{efs.get('rootDirectory') or ''}".rstrip("/")
        return Volume(_named("efs", place), starts_with_image=False)
    if (volume.get("dockerVolumeConfiguration") or {}).get("scope") == "shared":
        return Volume(_named(f"docker-{instance}", name))
    return Volume(_named(f"task-{task}", name), task)


def _named(kind: str, path: str) -> str:
    """A name that is a file's and a Docker volume's; paths that read the same after that have different hashes."""
    readable = re.sub(r"[^A-Za-z0-9.]+", "-", path).strip("-.")[:60]
    return f"{kind}-{readable}-{hashlib.sha256(path.encode()).hexdigest()[:8]}"
