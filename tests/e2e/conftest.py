"""One running lab for most of the end-to-end tests: made by `init` and `up` as users make it, and taken away again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.consul_server import consul_binary
from tests.docker_engine import base_image, docker_engine
from tests.e2e.lab_at import FIRST_UP, REPOSITORY, LabAt, free_port


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Docker engine."""
    with docker_engine() as url:
        yield url


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test body, two runtimes, but in a module that says otherwise in RUNTIMES."""
    runtimes = getattr(metafunc.module, "RUNTIMES", ("processes", "docker"))
    if runtimes and "running" in metafunc.fixturenames:
        metafunc.parametrize("running", runtimes, indirect=True, scope="session")


@pytest.fixture(scope="session")
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabAt]:
    """The lab that `init` describes, with a name and a port of its own, demo data, and weather's source in a copy.

    Each test that takes it runs on one whose tasks are processes, and on one in containers.
    """
    consul_binary()
    runtime = request.param
    lab = LabAt(tmp_path_factory.mktemp("lab"), f"e2e-{os.getpid()}-{runtime}", {"ECSCONSUL_RUNTIME": runtime})
    own_config(lab)
    if runtime == "docker":
        url = request.getfixturevalue("engine")
        lab.edit("target: local ", f"base_image: {base_image(url)}\ntarget: local ")
        lab = replace(lab, variables={**lab.variables, "DOCKER_HOST": url})
    try:
        assert lab.up(timeout=FIRST_UP)["runtime"] == runtime
        yield lab
    finally:
        lab.clear()


@pytest.fixture
def lab(running: LabAt) -> LabAt:
    """The running lab; what a test changes, it changes back."""
    return running


def own_config(lab: LabAt) -> None:
    """The config of `init`, edited by replacing text, as users do."""
    shutil.copytree(REPOSITORY / "services" / "weather", lab.folder / "services" / "weather")
    lab.ok("init")
    lab.edit("lab: consul-lab", f"lab: {lab.name}")
    lab.edit("host_port: 8080", f"host_port: {free_port()}")
    lab.config.write_text(lab.config.read_text().replace("PROVIDER: auto", "PROVIDER: demo"))


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[LabAt]:
    """A folder without a lab; one that a test starts in it is taken away."""
    lab = LabAt(tmp_path, f"e2e-{os.getpid()}-own")
    yield lab
    if lab.home.exists():
        lab.clear()
