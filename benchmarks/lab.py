"""Labs to measure: each has a config with its own name and host port."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.measure import ECSCONSUL, Seconds, run, timed

# those of the built-in lab, with demo data: the figures mustn't depend on the internet
SERVICES: Mapping[str, Mapping[str, Any]] = {
    name: {
        "path": f"lab:{name}",
        "port": 4567,
        "environment": {} if name == "portal" else {"PROVIDER": "demo"},
        "tags": ["http"],
        "check": {"http": "/health", "interval": "10s"},
    }
    for name in ("stock-price", "weather", "portal")
}


@dataclass(frozen=True)
class BenchLab:
    """A lab and its config file."""

    name: str
    config: Path

    def argv(self, *words: str) -> list[str]:
        """The command line of an ecsconsul command for this lab."""
        return [ECSCONSUL, *words, "--config", str(self.config)]

    def up(self) -> Seconds:
        return timed(self.argv("up"))

    def down(self) -> None:
        run(self.argv("down", "--yes"))

    def status(self) -> dict[str, Any]:
        """The JSON of `ecsconsul status`."""
        found: dict[str, Any] = json.loads(run(self.argv("status", "--output", "json")))
        return found

    def ecs(self) -> Any:
        """A boto3 client of the lab's ECS."""
        import boto3

        found = json.loads(run(self.argv("env", "--output", "json")))
        key = {"aws_access_key_id": found["AWS_ACCESS_KEY_ID"], "aws_secret_access_key": found["AWS_SECRET_ACCESS_KEY"]}
        return boto3.client("ecs", endpoint_url=found["AWS_ENDPOINT_URL"], region_name=found["AWS_REGION"], **key)

    def token(self) -> str:
        """The Consul token that may register services."""
        return str(json.loads(run(self.argv("env", "--output", "json")))["CONSUL_HTTP_TOKEN"])


def write_lab(folder: Path, name: str, services: Mapping[str, Mapping[str, Any]]) -> BenchLab:
    """A lab that isn't running. Its name contains this process's ID, so that two runs don't collide."""
    lab = f"bench-{name}-{os.getpid()}"
    config = folder / f"{lab}.yaml"
    config.write_text(yaml.safe_dump({"lab": lab, "services": {key: dict(value) for key, value in services.items()}}))
    return BenchLab(lab, config)


def write_three_services(folder: Path, name: str) -> BenchLab:
    """The built-in lab, with the portal on a free port."""
    portal = {**SERVICES["portal"], "host_port": free_port()}
    return write_lab(folder, name, {**SERVICES, "portal": portal})


@contextmanager
def running(lab: BenchLab) -> Iterator[BenchLab]:
    """Runs `up` on entry and `down` on exit."""
    try:
        lab.up()
        yield lab
    finally:
        lab.down()


def free_port() -> int:
    """A free port on 127.0.0.1."""
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port: int = probe.getsockname()[1]
        return port
