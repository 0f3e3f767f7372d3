"""A real registry on loopback for tests: Debian's docker-registry with its own folder, with or without a login."""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.listening import await_listening, free_port
from tests.require import require

STOP_SECONDS = 60.0
USER, PASSWORD = "ada", "l0velace-s3cret"


@dataclass(frozen=True)
class Registry:
    """A running registry at 127.0.0.1:port."""

    port: int
    folder: Path

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def get(self, path: str, *, login: bool = False) -> Any:
        """A GET by a client that isn't ours."""
        basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path, headers={"Authorization": f"Basic {basic}"} if login else {})
            return json.loads(connection.getresponse().read() or b"null")
        finally:
            connection.close()


@contextmanager
def docker_registry(folder: Path, *, login: bool = False, deletes: bool = True) -> Iterator[Registry]:
    """A registry that ends with the context. With `login`, only USER may use it."""
    require("docker", bool(shutil.which("docker-registry")), "docker-registry is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config: dict[str, Any] = {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": deletes}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    if login:
        config["auth"] = {"htpasswd": {"realm": "tests", "path": str(_htpasswd(folder))}}
    # JSON is YAML
    (folder / "config.yml").write_text(json.dumps(config))
    with (folder / "log").open("wb") as log:
        argv = ["docker-registry", "serve", str(folder / "config.yml")]
        process = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT)
    try:
        await_listening(port, process, folder / "log")
        yield Registry(port, folder)
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def _htpasswd(folder: Path) -> Path:
    """The registry only accepts bcrypt, which Python lacks, so Apache's tool creates the file."""
    require("docker", bool(shutil.which("htpasswd")), "htpasswd (apache2-utils) is not installed")
    argv = ["htpasswd", "-nbB", USER, PASSWORD]
    printed = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=True).stdout
    path = folder / "htpasswd"
    path.write_text(printed)
    return path
