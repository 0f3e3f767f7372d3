"""The command as a user runs it, with a home of its own; and a lab whose region is the tests' own."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ecsconsul import __version__
from ecsconsul.cli.app import main
from ecsconsul.paths import HOME_VARIABLE
from ecsconsul.region.runtimes.lab_dir import LabDir, RegionInfo
from tests.consul_server import AgentClient, ConsulServer, consul_server
from tests.deploy.world import REGION, Runtime

PATIENCE = 60.0
CONFIG = """\
lab: cli-lab
runtime: processes
instances: 1
services:
  weather:
    path: app
    tags: http
    count: 2
  portal:
    path: app
    check: /health
"""


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


@dataclass
class Shell:
    """A folder with a config, and what is typed there."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def variables(self) -> dict[str, str]:
        """Those of this process, without what would have a say in the command."""
        theirs = ("AWS_", "CONSUL_", "ECSCONSUL_DEBUG", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "COVERAGE")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
        return {**kept, HOME_VARIABLE: str(self.folder / "home"), **self.environment}

    def run(self, *words: str, stdin: str = "") -> Ran:
        """`ecsconsul <words>` in this process, with streams that are no terminals: as in a pipe, and at once."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.chdir(self.folder)
            patch.setattr(sys, "argv", ["ecsconsul", *words])
            patch.setattr(sys, "stdin", io.StringIO(stdin))
            for name in os.environ.keys() - self.variables.keys():
                patch.delenv(name)
            for name, value in self.variables.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main()
        return Ran(int(ended.value.code or 0), out.getvalue(), err.getvalue())

    def spawn(self, *words: str, **streams: Any) -> subprocess.Popen[str]:
        """`ecsconsul <words>` in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "ecsconsul", *words],
            cwd=self.folder,
            env=self.variables,
            text=True,
            stdin=subprocess.DEVNULL,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
        )

    def run_apart(self, *words: str, **streams: Any) -> Ran:
        """As `run`, in a process of its own."""
        with self.spawn(*words, **streams) as process:
            try:
                out, err = process.communicate(timeout=PATIENCE)
            finally:
                process.kill()
        return Ran(process.returncode, out or "", err or "")

    def document(self, *words: str) -> dict[str, Any]:
        """What `ecsconsul <words> --output json` prints; nothing else may stand on stdout."""
        found: dict[str, Any] = json.loads(self.run(*words, "--output", "json").stdout)
        return found


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """No lab runs."""
    return _shell(tmp_path)


def _shell(folder: Path) -> Shell:
    (folder / "app").mkdir()
    (folder / "app" / "Dockerfile").write_text('FROM python:3.12-slim\nCOPY . .\nCMD ["python"]\n')
    (folder / "config.yaml").write_text(CONFIG)
    return Shell(folder)


@dataclass
class Running(Shell):
    """A lab on a region that is served by the tests, so that commands find it, and Consul's real answers."""

    consul: AgentClient | None = None
    world: Runtime | None = None

    def register(self, service_id: str, name: str, status: str = "passing", output: str = "") -> None:
        check = {"Name": "HTTP", "TTL": "600s", "Status": status, "Notes": output}
        assert self.consul is not None
        self.consul.register(
            {"ID": service_id, "Name": name, "Address": "127.0.9.2", "Port": 32768, "Tags": ["http"], "Check": check}
        )


@pytest.fixture(scope="session")
def region_and_consul() -> Iterator[tuple[Runtime, ConsulServer]]:
    world = Runtime()
    with consul_server() as server:
        yield world, server
    world.close()


@pytest.fixture
def running(tmp_path: Path, region_and_consul: tuple[Runtime, ConsulServer], monkeypatch: Any) -> Iterator[Running]:
    """A lab that `up` can make in no time: the region answers, every task runs at once, Consul sees all passing."""
    world, server = region_and_consul
    world.reset()
    world.add_instance("cli-lab")
    shell = _shell(tmp_path)
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    home = LabDir("cli-lab")
    vpc, subnets = world.moto.default_network()
    consul = AgentClient(server.host, server.http)
    home.ensure_access_key()
    home.make_consul_secrets()
    with home.lock_region():
        home.write_info(
            RegionInfo(
                pid=0,
                version=__version__,
                lab="cli-lab",
                region=REGION,
                endpoint=world.endpoint("region"),
                consul_http=f"{server.host}:{server.http}",
                consul_dns=f"{server.host}:{server.dns}",
                vpc_id=vpc,
                subnet_ids=subnets,
            )
        )
        found = Running(shell.folder, consul=consul, world=world)
        for service_id, name in (("w1", "weather"), ("w2", "weather"), ("p1", "portal")):
            found.register(service_id, name)
        yield found
    for service_id in consul.service_ids():
        consul.deregister(service_id)
