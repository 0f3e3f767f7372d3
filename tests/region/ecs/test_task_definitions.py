"""What the region refuses to register, and what it says of settings that it doesn't play."""

from __future__ import annotations

from typing import Any

import pytest

from ecsconsul.region.ecs.request_fields import ApiError
from ecsconsul.region.ecs.task_definitions import check_definition, not_played
from tests.region.ecs.factories import container, definition


@pytest.mark.parametrize(
    ("one", "error"),
    [
        (container(environmentFiles=[{"value": "arn:aws:s3:::b/e.env", "type": "s3"}]), "environmentFiles"),
        (container(portMappings=[{"containerPortRange": "80-90"}]), "containerPortRange"),
        (container(mountPoints=[{"sourceVolume": "x", "containerPath": "/x"}]), "Unknown volume 'x'"),
        (container(healthCheck={"command": ["curl", "x"]}), "must start with CMD or CMD-SHELL"),
        (
            container(environment=[{"name": "A", "value": "1"}], secrets=[{"name": "A", "valueFrom": "a"}]),
            "The secret name must be unique",
        ),
        (container(links=["other"]), "not in the task definition"),
        (container("../../x"), "Container.name should have"),
        (container("x\n"), "Container.name should have"),
        (container(mountPoints=[{"sourceVolume": "x", "containerPath": "/a/.."}]), "can be mounted at '/a/..'"),
        (container(mountPoints=[{"sourceVolume": "x", "containerPath": "data"}]), "can be mounted at 'data'"),
        (container(mountPoints=[{"sourceVolume": "x", "containerPath": "/a:ro"}]), "can be mounted at '/a:ro'"),
    ],
)
def test_definition_that_cannot_run_is_refused(one: dict[str, Any], error: str) -> None:
    with pytest.raises(ApiError, match=error) as caught:
        check_definition(definition("f", 1, one))
    assert caught.value.kind == "ClientException"


def test_family_is_a_name() -> None:
    with pytest.raises(ApiError, match="Family should have"):
        check_definition(definition("../f"))


def test_volume_of_another_system_is_refused() -> None:
    volume = {"name": "x", "fsxWindowsFileServerVolumeConfiguration": {"fileSystemId": "fs-1"}}
    with pytest.raises(ApiError, match="folders, EFS and Docker volumes only"):
        check_definition(definition(volumes=[volume]))


def test_whole_definition_is_accepted() -> None:
    one = container(
        mountPoints=[{"sourceVolume": "data", "containerPath": "/data"}],
        secrets=[{"name": "TOKEN", "valueFrom": "token"}],
        healthCheck={"command": ["CMD-SHELL", "true"]},
    )
    check_definition(definition("f", 1, one, volumes=[{"name": "data"}]))


def test_settings_without_effect_are_named() -> None:
    one = container(privileged=True, linuxParameters={"initProcessEnabled": True, "sharedMemorySize": 64})
    notes = not_played(definition(networkMode="awsvpc", pidMode="host"), one)
    assert [note.split()[0] for note in notes] == [
        "privileged",
        "pidMode",
        "linuxParameters.sharedMemorySize",
        "networkMode",
    ]
    assert not_played(definition(networkMode="bridge"), container()) == []
