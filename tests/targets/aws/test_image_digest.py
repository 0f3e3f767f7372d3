"""Consul's image by its digest, from a registry that a small server plays."""

from __future__ import annotations

import pytest

from ecsconsul.errors import LabError
from ecsconsul.targets.aws.image_digest import pinned, registry_digest
from tests.targets.aws.test_registry_api import DIGEST, Hub, hub

__all__ = ["hub"]

IMAGE = "hashicorp/consul:1.22.7"
OLD = f"hashicorp/consul:1.20@{DIGEST}"


class Registry:
    """The images that were asked for; `error` is what happens instead of an answer."""

    def __init__(self, error: str = "") -> None:
        self.asked: list[str] = []
        self.error = error

    def digest(self, image: str) -> str:
        self.asked.append(image)
        if self.error:
            raise LabError(self.error)
        return DIGEST


@pytest.mark.parametrize("current", ["", "hashicorp/consul:1.20", OLD, "hashicorp/consul:1.22.70"])
def test_new_image_gets_its_digest(current: str) -> None:
    said: list[str] = []
    registry = Registry()
    assert pinned(IMAGE, current, said.append, registry.digest) == f"{IMAGE}@{DIGEST}"
    assert (registry.asked, said) == ([IMAGE], [])


@pytest.mark.parametrize("current", [IMAGE, f"{IMAGE}@sha256:old"])
def test_image_that_the_stack_has_stays_as_it_is(current: str) -> None:
    """A change, even one from the tag to its digest, replaces all instances."""
    registry = Registry()
    assert pinned(IMAGE, current, lambda _: None, registry.digest) == current
    assert registry.asked == []


def test_image_that_the_config_pins_stays_as_it_is() -> None:
    registry = Registry()
    assert pinned(OLD, IMAGE, lambda _: None, registry.digest) == OLD
    assert registry.asked == []


def test_registry_that_does_not_answer_is_said() -> None:
    said: list[str] = []
    assert pinned(IMAGE, "", said.append, Registry("The registry doesn't answer").digest) == IMAGE
    [line] = said
    assert line.startswith(f"{IMAGE} isn't pinned by its digest")
    assert line.endswith(": The registry doesn't answer")


def test_registry_is_asked_anonymously(hub: Hub) -> None:
    assert registry_digest(f"127.0.0.1:{hub.port}/team/app:1.22.7") == DIGEST
    assert hub.requests.count("/token") == 1
    with pytest.raises(LabError, match="404"):
        registry_digest(f"127.0.0.1:{hub.port}/team/app")
    assert hub.requests[-1] == "/v2/team/app/manifests/latest"
