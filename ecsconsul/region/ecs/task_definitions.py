"""What the region makes of a task definition: what it refuses to register, and what it only says it doesn't play. Pure.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RegisterTaskDefinition.html
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import Any

from .container_order import order_errors
from .request_fields import ApiError

Json = dict[str, Any]
NETWORK_MODES = ("bridge", "none")
MAX_STOP_TIMEOUT = 86400
# of a family and of a container; files and folders of the lab are named after them
_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")

# Nothing that a task does in the region depends on these; a note in its log says so.
_NOT_PLAYED = (
    "dependentServices", "dockerSecurityOptions", "firelensConfiguration", "repositoryCredentials",
    "resourceRequirements", "restartPolicy", "systemControls", "dnsServers", "dnsSearchDomains", "privileged",
    "disableNetworking", "credentialSpecs",
)  # fmt: skip
_TASK_NOT_PLAYED = ("pidMode", "ipcMode", "proxyConfiguration", "inferenceAccelerators", "ephemeralStorage")


def check_definition(request: Json) -> None:
    """Refuse what can't run, in AWS or in the region. Raises ApiError."""
    containers = request.get("containerDefinitions") or []
    volumes = {volume.get("name"): volume for volume in request.get("volumes") or ()}
    errors = _unnamed("Family", request.get("family"))
    errors += [error for one in containers for error in _unnamed("Container.name", one.get("name"))]
    errors += [error for one in containers for error in (*_unreadable(one), *_unmountable(one, volumes))]
    errors += [error for volume in volumes.values() for error in _unusable(volume)]
    errors += order_errors(containers)
    if errors:
        raise ApiError("ClientException", " ".join(errors))


def _unnamed(what: str, name: Any) -> list[str]:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html."""
    if name is None or _NAME.fullmatch(str(name)):
        return []
    return [f"{what} should have up to 255 letters (uppercase and lowercase), numbers, hyphens, and underscores."]


def _unreadable(container: Json) -> list[str]:
    """The keys of a container that can't be carried out."""
    name, errors = container.get("name"), []
    if container.get("environmentFiles"):
        errors.append(
            f"Container {name}: the local region has no S3 objects to read environmentFiles from; use environment."
        )
    if any(one.get("containerPortRange") for one in container.get("portMappings") or ()):
        errors.append(f"Container {name}: the local region supports single ports only, not containerPortRange.")
    if (check := container.get("healthCheck")) and (check.get("command") or [""])[0] not in ("CMD", "CMD-SHELL"):
        errors.append(f"Container {name}: the health check's command must start with CMD or CMD-SHELL.")
    secrets = [one["name"] for one in container.get("secrets") or ()]
    both = {one.get("name") for one in container.get("environment") or ()} & set(secrets)
    if both:
        errors.append(f"The secret name must be unique and not shared with any new or existing environment variables"
                      f" set on the container, such as '{min(map(str, both))}'.")  # fmt: skip
    return errors


def _unmountable(container: Json, volumes: Mapping[str | None, Json]) -> list[str]:
    missing = [one.get("sourceVolume") for one in container.get("mountPoints") or ()]
    paths = [str(one.get("containerPath") or "") for one in container.get("mountPoints") or ()]
    return [
        *(f"Unknown volume '{name}'." for name in missing if name not in volumes),
        *(
            f"Container {container.get('name')}: no volume can be mounted at '{path}'; give an absolute path below /."
            for path in paths
            if not path.startswith("/") or ":" in path or posixpath.normpath(path) in ("/", "//")
        ),
    ]


def _unusable(volume: Json) -> list[str]:
    if volume.get("fsxWindowsFileServerVolumeConfiguration") or volume.get("configuredAtLaunch"):
        return [f"Volume {volume.get('name')}: the local region has folders, EFS and Docker volumes only."]
    return []


def not_played(definition: Mapping[str, Any], container: Mapping[str, Any]) -> list[str]:
    """Settings of a container and of its task that have no effect in the region, one sentence each."""
    keys = [key for key in _NOT_PLAYED if container.get(key)] + [key for key in _TASK_NOT_PLAYED if definition.get(key)]
    linux = set(container.get("linuxParameters") or ()) - {"initProcessEnabled"}
    keys += [f"linuxParameters.{key}" for key in sorted(linux)]
    notes = [f"{key} has no effect in the local region" for key in keys]
    mode = definition.get("networkMode") or "bridge"
    if mode not in NETWORK_MODES:
        notes.append(f"networkMode {mode} is played as bridge in the local region")
    return notes
