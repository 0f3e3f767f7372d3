"""What a game day undoes in containers that ECS may have replaced meanwhile."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest
from docker.errors import APIError, NotFound

from ecsconsul.targets.local.machines import DockerMachine


class Engine:
    """A Docker engine with one container; unpausing it fails with `error`."""

    def __init__(self, error: APIError | None, *, paused: bool) -> None:
        self.error = error
        self.paused = paused

    def containers(self, filters: Any) -> list[dict[str, str]]:
        return [{"Id": "c1"}]

    def pause(self, container: str) -> None:
        pass

    def unpause(self, container: str) -> None:
        if self.error:
            raise self.error
        self.paused = False

    def inspect_container(self, container: str) -> dict[str, Any]:
        return {"Id": container, "State": {"Paused": self.paused}}


def undo(engine: Engine) -> None:
    DockerMachine(engine, {"lab": "x"}, "instance").freeze_task("c1")()


def test_container_goes_on() -> None:
    engine = Engine(None, paused=True)
    undo(engine)
    assert not engine.paused


@pytest.mark.parametrize("error", [NotFound("no such container"), APIError("container c1 is not paused")])
def test_container_that_was_replaced_meanwhile_needs_no_undoing(error: APIError) -> None:
    undo(Engine(error, paused=False))


def test_container_that_stays_paused_is_an_error() -> None:
    with pytest.raises(APIError):
        undo(Engine(APIError("busy", Mock(status_code=500)), paused=True))
