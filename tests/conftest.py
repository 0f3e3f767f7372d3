"""Finds the consul binary for the tests, and keeps the tests that start labs in one worker."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from ecsconsul.consul.install import BINARY_VARIABLE, find
from ecsconsul.errors import LabError

MESSAGES: list[str] = []
END_TO_END = "tests/e2e/"
# These start no lab on this machine, so they may run beside those that do.
WITHOUT_A_LAB = {f"{END_TO_END}test_{name}.py" for name in ("aws_lab", "consul_binary", "registrator")}


def pytest_configure() -> None:
    """Let the tests' child processes handle Ctrl-C, and disable hypothesis's deadlines.

    A shell that runs the tests in the background makes them ignore SIGINT. Deadlines fail on a busy machine.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    settings.register_profile("without a deadline", settings(deadline=None))
    settings.load_profile("without a deadline")


def pytest_sessionstart() -> None:
    """Find the consul binary once; without one, each test that needs it is skipped."""
    try:
        os.environ[BINARY_VARIABLE] = find(MESSAGES.append)
    except LabError as error:
        MESSAGES.append(str(error))


def pytest_report_header() -> list[str]:
    """Which consul binary was chosen and why, or why there is none."""
    return MESSAGES[-1:]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the end-to-end tests first, since they take longest, and let short tests fill the remaining time."""
    items.sort(key=lambda item: not item.nodeid.startswith(END_TO_END))


class LabsInOneWorker(LoadScopeScheduling):
    """One worker runs all tests with labs: they share labs, and count the processes of the machine."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return END_TO_END if path.startswith(END_TO_END) and path not in WITHOUT_A_LAB else path


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LabsInOneWorker:
    """A hook of pytest-xdist."""
    return LabsInOneWorker(config, log)
