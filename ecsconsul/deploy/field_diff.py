"""Compares what AWS describes with what was requested, field by field. Pure.

AWS adds defaults and reorders lists, so both documents are brought into one form first: what is a default is left out,
and lists whose items have names become mappings. Secrets are masked here, so that no caller can print one.
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_TaskDefinition.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from ..aws_tags import FINGERPRINT_TAG
from .step import Drift, FieldChange

# stands for a secret's old and new value
MASK = "(changed)"
FINGERPRINT_FIELD = f"tags.{FINGERPRINT_TAG}"

Normalize = Callable[[Any], Any]

_SECRET_NAME = re.compile(r"pass|pwd|secret|token|key|credential|auth|signature|private|dsn", re.IGNORECASE)
# user:password@ in a URL
_LOGIN = re.compile(r"://[^/\s:@]*:[^/\s@]+@")
# mappings whose names and values users choose
_NAMED_BY_USERS = frozenset({"environment", "dockerLabels", "options", "driverOpts", "labels"})
_COMMANDS = frozenset({"command", "entryPoint"})

# what AWS adds to a task definition, and what names it instead of describing its tasks
_NOT_COMPARED = frozenset(
    {
        "taskDefinitionArn", "family", "revision", "status", "requiresAttributes", "compatibilities",
        "requiresCompatibilities", "registeredAt", "registeredBy", "deregisteredAt", "tags",
    }
)  # fmt: skip
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html
_CONTAINER_DEFAULTS = {"essential": True, "versionConsistency": "enabled"}
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_HealthCheck.html
_HEALTH_DEFAULTS = {"interval": 30, "timeout": 5, "retries": 3}
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_EFSVolumeConfiguration.html
_EFS_DEFAULTS = {"rootDirectory": "/", "transitEncryption": "DISABLED"}


def task_definition_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[FieldChange]:
    """What differs between two task definitions, as registered or as described, by path: `containers.NAME.image`."""
    return changes(_task_form(old), _task_form(new))


def request_changes(actual: Mapping[str, Any], request: Mapping[str, Any]) -> list[FieldChange]:
    """What a request changes in a resource: only fields that both have, because an API may not tell, or add its own."""
    return changes(_as_requested(actual, request), _as_requested(request, actual))


def tag_changes(found: str | None, fingerprint: str) -> list[FieldChange]:
    """The fingerprint's tag, if it is another one or someone removed it."""
    return [FieldChange(FINGERPRINT_FIELD, found, fingerprint)] if found != fingerprint else []


def untagged(found: str | None, fingerprint: str) -> Drift:
    """The drift of a resource whose fields aren't compared: someone may have removed its fingerprint's tag."""
    if found is None:
        return Drift(tuple(reversed_changes(tag_changes(found, fingerprint))))
    return Drift(config_changed=found != fingerprint)


def changes(old: Any, new: Any) -> list[FieldChange]:
    """What differs between two mappings, sorted by path, with secrets masked; lists are compared as a whole."""
    found = (_masked(path, change) for path, change in _changes((), old, new))
    return sorted(found, key=lambda one: one.path)


def reversed_changes(found: Iterable[FieldChange]) -> list[FieldChange]:
    """The same changes in the other direction."""
    return [replace(one, old=one.new, new=one.old) for one in found]


def is_secret(name: str, value: Any = None) -> bool:
    """Whether a variable's name looks like a secret's, or its value is a URL with a password."""
    return bool(_SECRET_NAME.search(name)) or (isinstance(value, str) and bool(_LOGIN.search(value)))


def _changes(path: tuple[str, ...], old: Any, new: Any) -> Iterator[tuple[tuple[str, ...], FieldChange]]:
    if isinstance(old, Mapping | None) and isinstance(new, Mapping | None):
        before, after = old or {}, new or {}
        for key in before.keys() | after.keys():
            yield from _changes((*path, key), before.get(key), after.get(key))
    elif old != new:
        yield path, FieldChange(".".join(path), old, new)


def _masked(path: tuple[str, ...], change: FieldChange) -> FieldChange:
    values = [value for value in (change.old, change.new) if value is not None]
    if not any(_hides(path, value) for value in values):
        return change
    old, new = (None if value is None else MASK for value in (change.old, change.new))
    return replace(change, old=old, new=new)


def _hides(path: tuple[str, ...], value: Any) -> bool:
    if len(path) > 1 and path[-2] in _NAMED_BY_USERS:
        return is_secret(path[-1], value)
    # `--token abc` is a secret too
    return path[-1] in _COMMANDS and any(is_secret(str(word), str(word)) for word in value)


def _as_requested(one: Any, other: Any) -> Any:
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        return one
    return {key: _as_requested(value, other[key]) for key, value in one.items() if key in other}


# --- the common form of task definitions


def _task_form(definition: Mapping[str, Any]) -> dict[str, Any]:
    own = {key: value for key, value in definition.items() if key not in _NOT_COMPARED}
    containers = {one["name"]: _container_form(one) for one in own.pop("containerDefinitions", ())}
    volumes = {one["name"]: _volume_form(one) for one in own.pop("volumes", None) or ()}
    # cpu and memory of a whole task are texts
    sizes = {key: str(own[key]) for key in ("cpu", "memory") if own.get(key)}
    # a role may be given by its name or its ARN
    role = {"taskRoleArn": str(own["taskRoleArn"]).rpartition("/")[2]} if own.get("taskRoleArn") else {}
    form = _without_defaults({**own, **sizes, **role}, {"networkMode": "bridge"})
    return {**form, "containers": containers, "volumes": volumes}


def _container_form(container: Mapping[str, Any]) -> dict[str, Any]:
    forms = {key: form(container[key]) for key, form in _FORMS.items() if container.get(key)}
    others = {key: value for key, value in container.items() if key not in _FORMS and key != "name"}
    return {**_without_defaults(others, _CONTAINER_DEFAULTS), **forms}


def _without_defaults(found: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is empty, off or zero, which means the same as being absent, and without these defaults."""
    kept = {}
    for key, value in found.items():
        inner = _without_defaults(value, {}) if isinstance(value, Mapping) else value
        # `essential: false` is what isn't the default
        if inner != defaults[key] if key in defaults else inner not in (None, "", 0, False, [], {}):
            kept[key] = inner
    return kept


def _by(key: str, form: Normalize) -> Normalize:
    return lambda items: {str(one[key]): form(one) for one in items}


def _port_form(items: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    ports = {}
    for one in items:
        extra = {key: value for key, value in one.items() if key not in ("containerPort", "hostPort", "protocol")}
        name = f"{one.get('containerPort', one.get('containerPortRange'))}/{one.get('protocol') or 'tcp'}"
        ports[name] = {"hostPort": one.get("hostPort") or 0, **_without_defaults(extra, {})}
    return ports


def _mount_form(one: Mapping[str, Any]) -> dict[str, Any]:
    return {"sourceVolume": one.get("sourceVolume"), "readOnly": bool(one.get("readOnly"))}


def _log_form(logs: Mapping[str, Any]) -> dict[str, Any]:
    secrets = _by("name", lambda one: one["valueFrom"])(logs.get("secretOptions") or ())
    return {"logDriver": logs.get("logDriver"), "options": dict(logs.get("options") or {}), "secretOptions": secrets}


def _volume_form(volume: Mapping[str, Any]) -> dict[str, Any]:
    efs = volume.get("efsVolumeConfiguration")
    others = {key: value for key, value in volume.items() if key not in ("name", "efsVolumeConfiguration")}
    form = _without_defaults(others, {})
    form.setdefault("host", {"sourcePath": ""})
    return {**form, **({"efs": _efs_form(efs)} if efs else {})}


def _efs_form(efs: Mapping[str, Any]) -> dict[str, Any]:
    access = _without_defaults(efs.get("authorizationConfig") or {}, {"iam": "DISABLED"})
    return _without_defaults({**efs, "authorizationConfig": access or None}, _EFS_DEFAULTS)


_FORMS: dict[str, Normalize] = {
    "environment": _by("name", lambda one: one.get("value", "")),
    "secrets": _by("name", lambda one: one["valueFrom"]),
    "dockerLabels": dict,
    "portMappings": _port_form,
    "mountPoints": _by("containerPath", _mount_form),
    "ulimits": _by("name", lambda one: {"softLimit": one["softLimit"], "hardLimit": one["hardLimit"]}),
    "dependsOn": _by("containerName", lambda one: one["condition"]),
    "extraHosts": _by("hostname", lambda one: one["ipAddress"]),
    "logConfiguration": _log_form,
    "healthCheck": lambda check: _without_defaults(check, _HEALTH_DEFAULTS),
}
