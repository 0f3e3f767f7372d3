"""Finds the Consul binary for the tests, provides a Consul agent, and keeps tests that start labs in one worker."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from ecsconsul.config.scalars import CONSUL_VERSION
from ecsconsul.consul.install import BINARY_VARIABLE, find
from ecsconsul.errors import LabError
from tests.consul_server import AgentClient, ConsulServer, consul_server

MESSAGES: list[str] = []
TIMEOUT = 60.0
# moto and the models of AWS's API are millions of objects that stay: to look at them all takes a second, in which all
# threads of a worker stand still, and by default that is a fifth of its time
GC_THRESHOLDS = 50_000, 20, 50
END_TO_END = "tests/e2e/"
# these start no lab on this machine, so they can run beside those that do
WITHOUT_A_LAB = {f"{END_TO_END}test_{name}.py" for name in ("aws_lab", "consul_binary", "registrator")}


def pytest_configure() -> None:
    """Configures all tests.

    Programs that they start handle Ctrl-C, even if a script runs the tests in the background, which ignores SIGINT.
    Examples of hypothesis have no deadline, since their time depends on the machine's load.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.set_threshold(*GC_THRESHOLDS)
    settings.register_profile("without a deadline", settings(deadline=None))
    settings.load_profile("without a deadline")


def pytest_sessionstart() -> None:
    """Finds the Consul binary once: from the environment, on PATH, in the cache, or by downloading it.

    Without one, each test that needs it says so.
    """
    try:
        os.environ[BINARY_VARIABLE] = find(MESSAGES.append, CONSUL_VERSION)
    except LabError as error:
        MESSAGES.append(str(error))


def pytest_report_header() -> list[str]:
    """Says which binary is used and why, or why there is none."""
    return MESSAGES[-1:]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs the end-to-end tests first: they take longest, and short tests fill the other worker's time."""
    items.sort(key=lambda item: not item.nodeid.startswith(END_TO_END))


class LabsInOneWorker(LoadScopeScheduling):
    """Gives all tests that start labs to one worker: they share labs, and count what is running."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return END_TO_END if path.startswith(END_TO_END) and path not in WITHOUT_A_LAB else path


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LabsInOneWorker:
    """Chooses the scheduler; a hook of pytest-xdist."""
    return LabsInOneWorker(config, log)


@pytest.fixture(scope="session")
def until() -> Callable[..., None]:
    """Waits until a condition is true, and fails after a timeout."""

    def wait(condition: Callable[[], object], timeout: float = TIMEOUT) -> None:
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, f"not true within {timeout:g} s"
            time.sleep(0.005)

    return wait


@pytest.fixture(scope="module")
def server() -> Iterator[ConsulServer]:
    """A Consul agent for the tests of a module."""
    with consul_server() as found:
        yield found


@pytest.fixture
def consul(server: ConsulServer) -> Iterator[AgentClient]:
    """A client of the module's Consul agent; services that a test registers are removed after it."""
    client = AgentClient(server.host, server.http)
    yield client
    for service_id in client.service_ids():
        client.deregister(service_id)
