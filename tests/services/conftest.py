"""Fixtures of the services' tests; what they are made of is world.py's."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def by_path(path: Path) -> ModuleType:
    """A module by its path: test folders are no packages."""
    spec = importlib.util.spec_from_file_location(f"_{path.stem}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def world() -> ModuleType:
    return by_path(Path(__file__).with_name("world.py"))


@pytest.fixture(scope="session")
def weather(world: Any) -> Any:
    return world.load("weather")


@pytest.fixture(scope="session")
def stock_price(world: Any) -> Any:
    return world.load("stock-price")


@pytest.fixture(scope="session")
def portal(world: Any) -> Any:
    return world.load("portal")


@pytest.fixture
def web(world: Any) -> Iterator[Any]:
    server = world.Web()
    yield server
    server.close()


@pytest.fixture
def name_server(world: Any) -> Iterator[Any]:
    server = world.Dns()
    yield server
    server.close()


@pytest.fixture
def gone(world: Any) -> Iterator[int]:
    """The port of an instance that is not there any more."""
    with world.refusing_port() as port:
        yield port


@pytest.fixture
def start(world: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Starts a service as its Dockerfile says: start(folder, NAME=value...) -> Task, not yet waited for.

    `edits` are what is replaced in its copy of the folder: old and new text by file.
    """
    started: list[Any] = []
    numbers = itertools.count(1)

    def start_one(folder: str, edits: Mapping[str, tuple[str, str]] | None = None, **environ: str) -> Any:
        started.append(world.Task(folder, tmp_path / f"{folder}-{next(numbers)}", environ, edits))
        return started[-1]

    yield start_one
    for task in started:
        task.close()


@pytest.fixture(autouse=True)
def _patient_providers(world: Any, weather: Any, stock_price: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider is away only where a test says so, however busy the machine is."""
    for kind in (weather.providers.OpenMeteo, weather.providers.OpenWeatherMap, stock_price.providers.Yahoo):
        monkeypatch.setattr(kind.__init__, "__defaults__", (world.PATIENCE,))


class Clock:
    """Monotonic seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()
