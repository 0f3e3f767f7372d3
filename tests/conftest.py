"""Gives the tests the Consul that a lab would run, and says which of them must not run side by side."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from ecsconsul.consul.install import BINARY_VARIABLE, find
from ecsconsul.errors import LabError

SAID: list[str] = []
END_TO_END = "tests/e2e/"
# these share nothing but the Docker engine with those that start a lab on this machine
WITHOUT_A_LAB = {f"{END_TO_END}test_{name}.py" for name in ("aws_lab", "consul_binary", "registrator")}


def pytest_configure() -> None:
    """What holds for all tests.

    Programs that they start heed Ctrl-C, also where a script runs the tests in its background, which ignores it. And
    how long an example of hypothesis takes says more of what else this machine does than of what is tested.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    settings.register_profile("without a deadline", settings(deadline=None))
    settings.load_profile("without a deadline")


def pytest_sessionstart() -> None:
    """Find it once (told, on PATH, in the cache, or fetched), before any test module asks.

    Where there is none, each test that wants it says so.
    """
    try:
        os.environ[BINARY_VARIABLE] = find(SAID.append)
    except LabError as error:
        SAID.append(str(error))


def pytest_report_header() -> list[str]:
    """The one line that says which one was chosen, and why; or why there is none."""
    return SAID[-1:]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The end-to-end tests first: they take longest, and what is short fills the time that another worker has left."""
    items.sort(key=lambda item: not item.nodeid.startswith(END_TO_END))


class LabsInOneWorker(LoadScopeScheduling):
    """Labs are shared between tests, and what they run is counted: one worker has them all, in turn."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return END_TO_END if path.startswith(END_TO_END) and path not in WITHOUT_A_LAB else path


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LabsInOneWorker:
    """Who gets which test; a hook of pytest-xdist."""
    return LabsInOneWorker(config, log)
