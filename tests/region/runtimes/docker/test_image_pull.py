"""A pull ends with the image, with the reason, or when its registry has been silent for long enough."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from docker.errors import ImageNotFound

from ecsconsul.region.runtimes.docker import image_pull
from ecsconsul.region.runtimes.docker.image_pull import ImagePull
from ecsconsul.region.runtimes.interface import CannotStart


class Engine:
    """An engine without images, and the messages of its pulls; None is a registry that says nothing more."""

    def __init__(self, *messages: dict[str, str] | None) -> None:
        self.messages = messages
        self.pulled: list[str] = []
        self.over = threading.Event()

    def inspect_image(self, reference: str) -> None:
        raise ImageNotFound(reference)

    def pull(self, reference: str, **options: Any) -> Iterator[dict[str, str]]:
        self.pulled.append(reference)
        for message in self.messages:
            if message is None:
                self.over.wait(60)
                return
            yield message


def pull(engine: Engine, reference: str = "web") -> bool:
    return ImagePull(engine, "lab").pull(reference)  # type: ignore[arg-type]


def test_image_is_pulled_by_its_tag() -> None:
    engine = Engine({"status": "Pulling"}, {"status": "Done"})
    assert pull(engine)
    assert engine.pulled == ["web:latest"]
    assert not pull(engine, "lab/web:1")


def test_refusal_is_the_reason() -> None:
    with pytest.raises(CannotStart, match="CannotPullContainerError: no such image"):
        pull(Engine({"status": "Pulling"}, {"error": "no such image"}))


def test_silent_registry_is_not_waited_for_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_pull, "INACTIVITY_SECONDS", 0.2)
    engine = Engine({"status": "Pulling"}, None)
    with pytest.raises(CannotStart, match="the registry has been silent"):
        pull(engine)
    engine.over.set()
