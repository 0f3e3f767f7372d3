"""A running lab for most end-to-end tests, created with `init` and `up` as users do, and removed afterwards."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.consul_server import consul_binary
from tests.docker_engine import base_image, docker_engine
from tests.e2e.browser import chromium
from tests.e2e.lab import REPOSITORY, Lab, free_port, write_portal
from tests.e2e.registrator_at import ConsulAt


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Docker engine."""
    with docker_engine() as url:
        yield url


@pytest.fixture
def consul(tmp_path: Path) -> Iterator[ConsulAt]:
    """A Consul agent that a test may stop and start again."""
    server = ConsulAt(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, driven by Playwright."""
    with chromium() as found:
        yield found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test in both runtimes, or in those that a module lists in RUNTIMES."""
    runtimes = getattr(metafunc.module, "RUNTIMES", ("processes", "docker"))
    if runtimes and "running" in metafunc.fixturenames:
        metafunc.parametrize("running", runtimes, indirect=True, scope="session")


@pytest.fixture(scope="session")
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The lab of `init`'s config, with its own name and port, demo data, and a copy of weather's source.

    Each test that uses it runs once with processes and once with containers.
    """
    consul_binary()
    runtime = request.param
    lab = Lab(tmp_path_factory.mktemp("lab"), f"e2e-{os.getpid()}-{runtime}", {"ECSCONSUL_RUNTIME": runtime})
    write_config(lab)
    if runtime == "docker":
        url = request.getfixturevalue("engine")
        lab.edit("target: local ", f"base_image: {base_image(url)}\ntarget: local ")
        lab = replace(lab, variables={**lab.variables, "DOCKER_HOST": url})
    try:
        assert lab.up()["runtime"] == runtime
        yield lab
    finally:
        lab.clear()


@pytest.fixture
def lab(running: Lab) -> Lab:
    """The running lab; a test reverts what it changes."""
    return running


def write_config(lab: Lab) -> None:
    """Write the config of `init`, and edit its text as users do."""
    shutil.copytree(REPOSITORY / "services" / "weather", lab.folder / "services" / "weather")
    write_portal(lab.folder / "services" / "portal")
    lab.ok("init")
    lab.edit("lab: consul-lab", f"lab: {lab.name}")
    lab.edit("host_port: 8080", f"host_port: {free_port()}")
    lab.config.write_text(lab.config.read_text().replace("PROVIDER: auto", "PROVIDER: demo"))


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Lab]:
    """A folder without a lab; one that a test starts in it is removed."""
    lab = Lab(tmp_path, f"e2e-{os.getpid()}-own")
    yield lab
    if lab.state_dir.exists():
        lab.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Shows with a failure what its lab has to say, since the lab is gone when somebody reads it."""
    report = yield
    lab = getattr(item, "funcargs", {}).get("running") or getattr(item, "funcargs", {}).get("fresh")
    if report.when == "call" and report.failed and lab and lab.state_dir.exists():
        report.sections.append((f"lab {lab.name}", lab.last_words()))
    return report
