"""Which volumes a container mounts, and what they have in common."""

from __future__ import annotations

from typing import Any

from ecsconsul.region.runtimes.volumes import Mount, mounts
from tests.region.ecs.factories import container, definition

VOLUMES = [
    {"name": "own"},
    {"name": "host", "host": {"sourcePath": "/srv/data"}},
    {"name": "efs", "efsVolumeConfiguration": {"fileSystemId": "fs-1", "rootDirectory": "/"}},
    {"name": "task", "dockerVolumeConfiguration": {"scope": "task"}},
    {"name": "shared", "dockerVolumeConfiguration": {"scope": "shared", "autoprovision": True}},
]


def point(name: str, path: str = "/data", **more: Any) -> dict[str, Any]:
    return {"sourceVolume": name, "containerPath": path, **more}


def mount(name: str, task: str = "t1", instance: str = "i-1") -> Mount:
    one = container(mountPoints=[point(name)])
    (found,) = mounts(task, definition("f", 1, one, volumes=VOLUMES), one, instance)
    return found


def test_volume_of_a_task_goes_with_it() -> None:
    for name in ("own", "task"):
        assert mount(name).volume.task == "t1"
        assert mount(name).volume != mount(name, task="t2").volume


def test_folder_of_an_instance_is_shared_by_its_tasks() -> None:
    for name in ("host", "shared"):
        assert mount(name).volume.task == ""
        assert mount(name).volume == mount(name, task="t2").volume
        assert mount(name).volume != mount(name, instance="i-2").volume


def test_file_system_is_shared_by_all_instances() -> None:
    assert mount("efs").volume == mount("efs", "t2", "i-2").volume


def test_name_of_a_volume_is_a_file_name() -> None:
    assert "/" not in mount("host").volume.name
    assert "srv-data" in mount("host").volume.name


def test_volumes_from_another_container_come_with_its_paths() -> None:
    source = container("db", mountPoints=[point("own"), point("host", "/etc/x", readOnly=True)])
    taker = container("app", volumesFrom=[{"sourceContainer": "db", "readOnly": True}], mountPoints=[point("efs")])
    found = mounts("t1", definition("f", 1, source, taker, volumes=VOLUMES), taker, "i-1")
    assert {one.path: (one.volume.name.partition("-")[0], one.read_only) for one in found} == {
        "/data": ("efs", False),
        "/etc/x": ("host", True),
    }
