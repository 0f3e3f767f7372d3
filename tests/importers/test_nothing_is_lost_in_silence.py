"""Each field of each example is kept or named: without it, another config is written.

The fields of RegisterTaskDefinition come from botocore's model, those of compose from its schema.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ecsconsul.config.loader import parse
from ecsconsul.importers.compose import import_compose
from ecsconsul.importers.writer import written
from tests.importers.examples import COMPOSE, FOLDER, TASKS, files, from_compose, from_task, lab_of

Path_ = tuple[Any, ...]

# https://github.com/compose-spec/compose-spec/blob/main/schema/compose-spec.json, definitions.service
SERVICE_KEYS = {
    "annotations", "attach", "build", "blkio_config", "cap_add", "cap_drop", "cgroup", "cgroup_parent", "command",
    "configs", "container_name", "cpu_count", "cpu_percent", "cpu_shares", "cpu_quota", "cpu_period",
    "cpu_rt_period", "cpu_rt_runtime", "cpus", "cpuset", "credential_spec", "depends_on", "deploy", "develop",
    "device_cgroup_rules", "devices", "dns", "dns_opt", "dns_search", "domainname", "entrypoint", "environment",
    "expose", "external_links", "extra_hosts", "gpus", "group_add", "healthcheck", "hostname", "image", "init",
    "ipc", "isolation", "label_file", "labels", "links", "logging", "mac_address", "mem_limit", "mem_reservation",
    "mem_swappiness", "memswap_limit", "models", "network_mode", "networks", "oom_kill_disable", "oom_score_adj",
    "pid", "pids_limit", "platform", "ports", "post_start", "pre_stop", "privileged", "profiles", "provider",
    "pull_policy", "pull_refresh_after", "read_only", "restart", "runtime", "scale", "secrets", "security_opt",
    "shm_size", "stdin_open", "stop_grace_period", "stop_signal", "storage_opt", "sysctls", "tmpfs", "tty",
    "ulimits", "use_api_socket", "user", "userns_mode", "uts", "volumes", "volumes_from", "working_dir",
}  # fmt: skip


def leaves(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    if isinstance(value, dict) and value:
        for key, one in value.items():
            yield from leaves(one, (*path, key))
    elif isinstance(value, list) and value:
        for index, one in enumerate(value):
            yield from leaves(one, (*path, index))
    elif value not in (None, {}, []):  # these say nothing
        yield path


def without(value: Any, path: Path_) -> Any:
    found = copy.deepcopy(value)
    inner = found
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return found


# what ECS and compose do anyway: leaving it out means the same
_DEFAULTS = {
    "essential": True,
    "protocol": "tcp",
    "mode": "replicated",
    "type": ("s3", "volume"),
    "transitEncryption": "ENABLED",
}


def says_something(document: Any, path: Path_) -> bool:
    value = parent = document
    for key in path:
        parent, value = value, value[key]
    if path[-1] in ("soft", "hard", "softLimit", "hardLimit") and list(parent.values()).count(value) > 1:
        return False  # one of two equal limits sets both
    if path[-1] == "hostPort" and parent.get("containerPort") == value:
        return False  # in the host's network it can be no other
    default = _DEFAULTS.get(str(path[-1]))
    return value != default and not (isinstance(default, tuple) and value in default)


def unnoticed(document: Any, convert: Any) -> list[Path_]:
    """The leaves without which the same config is written."""
    whole = convert(document)
    found = []
    for path in leaves(document):
        if says_something(document, path):
            try:
                changed = convert(without(document, path)) != whole
            except Exception as error:  # noqa: BLE001 - a field that is needed is noticed
                changed = bool(str(error))
            if not changed:
                found.append(path)
    return found


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.stem)
def test_each_leaf_of_a_compose_file_shows(path: Path) -> None:
    document = yaml.safe_load(path.read_text())

    dockerfile = {"app/docker/Dockerfile.prod": "FROM scratch"}

    def convert(value: Any) -> str:
        # one line, so that no number of a line changes with what is left out; without the config's checks, which
        # take most of the time and have a test of their own below
        return written(import_compose(["compose.yaml"], files({"compose.yaml": json.dumps(value), **dockerfile}), {}))

    assert unnoticed(document, convert) == []


@pytest.mark.parametrize("path", TASKS, ids=lambda path: path.stem)
def test_each_leaf_of_a_task_definition_shows(path: Path) -> None:
    assert unnoticed(json.loads(path.read_text()), lambda value: from_task(json.dumps(value)).text) == []


def test_the_example_has_every_key_of_a_compose_service() -> None:
    everything = next(path for path in COMPOSE if path.stem == "everything")
    assert yaml.safe_load(everything.read_text())["services"]["all"].keys() >= SERVICE_KEYS


def fields(shape: Any, path: Path_ = (), seen: tuple[str, ...] = ()) -> Iterator[tuple[Path_, Any]]:
    """Every leaf of a shape of botocore's, with its path; lists have the index 0, maps the key k."""
    if shape.type_name == "structure" and shape.name not in seen:
        for name, member in shape.members.items():
            yield from fields(member, (*path, name), (*seen, shape.name))
    elif shape.type_name == "list":
        yield from fields(shape.member, (*path, 0), seen)
    elif shape.type_name == "map":
        yield (*path, "k"), shape.value
    else:
        yield path, shape


def model_fields() -> list[tuple[Path_, Any]]:
    from botocore.session import get_session

    model = get_session().get_service_model("ecs").operation_model("RegisterTaskDefinition")
    return list(fields(model.input_shape))


def sample(shape: Any) -> Any:
    if getattr(shape, "enum", None):
        return shape.enum[-1]
    return {"integer": 4321, "boolean": True, "long": 4321, "double": 4321, "float": 4321}.get(
        shape.type_name, "Sentinel"
    )


NEIGHBOURS: dict[str, dict[str, Any]] = {
    # what a structure needs beside the field to say something
    "environment": {"name": "N", "value": "v"},
    "secrets": {"name": "N", "valueFrom": "/v"},
    "environmentFiles": {"value": "arn:aws:s3:::bucket/v.env"},
    "portMappings": {"containerPort": 80},
    "dependsOn": {"containerName": "other"},
    "mountPoints": {"sourceVolume": "mounted", "containerPath": "/v"},
    "volumes": {"name": "mounted"},
    "ulimits": {"name": "nofile", "softLimit": 5},
    "healthCheck": {"command": ["CMD", "true"]},
    "logConfiguration": {"logDriver": "syslog"},
    "efsVolumeConfiguration": {"fileSystemId": "fs-01234567"},
}


def placed(path: Path_, value: Any) -> dict[str, Any]:
    """A task definition with a value at a path."""
    containers = [
        {"name": "main", "image": "i", "mountPoints": [{"sourceVolume": "mounted", "containerPath": "/m"}]},
        {"name": "other", "image": "i", "essential": False},
    ]
    base: dict[str, Any] = {"family": "f1", "containerDefinitions": containers}
    inner: Any = base
    for key, after in zip(path, [*path[1:], None], strict=True):
        if after is None:
            inner[key] = value
        elif isinstance(key, int):
            inner = inner[0]
        else:
            new = dict(NEIGHBOURS.get(str(key), {}))
            items = [0] if (*path[:-1], 0) == path and key == path[-2] else [new]
            inner = inner.setdefault(key, items if after == 0 else new)
    return base


@pytest.mark.parametrize(
    ("path", "shape"), model_fields(), ids=lambda one: ".".join(map(str, one)) if isinstance(one, tuple) else ""
)
def test_each_field_of_registering_a_task_definition_is_kept_or_named(path: Path_, shape: Any) -> None:
    value = sample(shape)
    value = {("cpu",): "4321", ("memory",): "4321"}.get(path, value)
    if path[-1] in ("essential", "logDriver", "rootDirectory"):
        value = {"essential": False, "logDriver": "gelf", "rootDirectory": "/v"}[str(path[-1])]
    document = placed(path, value)
    if not says_something(document, path):
        return
    text = from_task(json.dumps(document)).text
    if not isinstance(value, bool):
        assert str(value).lower() in text.lower() or f"{value}s" in text
    assert (
        str(path[-2] if path[-1] in (0, "k") else path[-1]) in text
        or text != from_task(json.dumps(without(document, path))).text
    )


@pytest.mark.parametrize("path", [*COMPOSE, *TASKS], ids=lambda path: path.stem)
def test_what_comes_out_passes_the_configs_checks(path: Path) -> None:
    text = path.read_text()
    imported = from_task(text) if path in TASKS else from_compose(text)
    lab = lab_of(imported)
    assert tuple(one.name for one in lab.services) == imported.services
    assert parse(imported.text.encode(), "config.yaml", FOLDER, sources=False) == lab
