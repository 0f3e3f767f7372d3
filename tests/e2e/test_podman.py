"""`ecsconsul registrator` with a real Podman and a real Consul: the API is Docker's, with some words of its own."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ecsconsul.registrator.docker_client import DockerClient
from ecsconsul.registrator.settings import Server
from tests.e2e.registrator_at import ConsulAt, RegistratorAt, eventually
from tests.require import require

IMAGE = "localhost/acme/web:1"
# what this test's Podman must not take from the machine: its runtime's demands, its networks, its journal
SETTINGS = """\
[network]
network_backend = "netavark"
network_config_dir = "{folder}/networks"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
"""


@dataclass
class Podman:
    """Podman with a storage of its own, and its service."""

    folder: Path

    def __call__(self, *words: str, timeout: float = 60.0) -> str:
        done = subprocess.run(
            self._argv(*words), env=self._environment(), capture_output=True, text=True, timeout=timeout
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    @contextmanager
    def service(self) -> Iterator[str]:
        """The URL of its API."""
        socket = self.folder / "podman.sock"
        with (self.folder / "service.log").open("ab") as log:
            argv = self._argv("system", "service", "--time=0", f"unix://{socket}")
            process = subprocess.Popen(argv, env=self._environment(), stdout=log, stderr=log)
        try:
            eventually(socket.exists)
            yield f"unix://{socket}"
        finally:
            process.terminate()
            process.wait(30)

    def _argv(self, *words: str) -> list[str]:
        return ["podman", "--root", str(self.folder / "root"), "--runroot", str(self.folder / "runroot"), *words]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "CONTAINERS_CONF": str(self.folder / "containers.conf"), "TMPDIR": str(self.folder)}


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    require("root", os.geteuid() == 0, "this test's Podman runs as root")
    for program in ("podman", "runc", "busybox"):
        require("podman", bool(shutil.which(program)), f"{program} is missing")
    # Podman takes no runroot of more than 50 characters
    with tempfile.TemporaryDirectory(prefix="podman-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        made = Podman(Path(folder))
        put_image(made)
        yield made
        made("rm", "--all", "--force", "--time=0")


def put_image(made: Podman) -> None:
    (made.folder / "containers.conf").write_text(SETTINGS.format(folder=made.folder))
    archive = made.folder / "image.tar"
    with tarfile.open(archive, "w") as tar:
        entry = tarfile.TarInfo("bin/busybox")
        binary = Path(str(shutil.which("busybox"))).read_bytes()
        entry.size, entry.mode = len(binary), 0o755
        tar.addfile(entry, io.BytesIO(binary))
    changes = ("EXPOSE 80", 'CMD ["/bin/busybox", "httpd", "-f", "-p", "80"]')
    made("import", *(word for change in changes for word in ("--change", change)), str(archive), IMAGE)


def run(podman: Podman, name: str, image: str, *options: str) -> str:
    return podman("run", "--detach", "--name", name, "--publish", "127.0.0.1::80", *options, image)


def test_engine_keeps_its_identity(podman: Podman) -> None:
    """Podman gives itself another ID in each answer: services would lose their owner whenever Registrator starts."""
    with podman.service() as url:
        client = DockerClient(Server(socket=url.removeprefix("unix://")))
        assert client.identity() == client.identity() != ""
        client.close()


def test_containers_come_and_go(podman: Podman, consul: ConsulAt, tmp_path: Path) -> None:
    first = run(podman, "before", IMAGE, "--env", "SERVICE_NAME=shop")
    with podman.service() as url:
        registrator = RegistratorAt(tmp_path, url, ["-hostname", "host", "-on-exit", "keep", consul.uri])
        registrator.start()
        try:
            eventually(lambda: consul.catalog("shop") == {"host:before:80"})
            # the image's own name, though the container was started with its ID
            bare = run(podman, "bare", podman("image", "inspect", "--format", "{{.Id}}", IMAGE))
            eventually(lambda: consul.catalog("web") == {"host:bare:80"})
            assert consul.services()["host:bare:80"] == int(podman("port", "bare", "80").rpartition(":")[2])
            podman("pause", "bare")
            eventually(lambda: consul.catalog("web") == set())
            podman("unpause", "bare")
            eventually(lambda: consul.catalog("web") == {"host:bare:80"})
            podman("kill", bare)
            eventually(lambda: consul.catalog("web") == set())
            podman("rm", bare)

            registrator.kill()
            podman("stop", "--time=0", first)
            registrator.start()
            # it knows the ghost for its own
            eventually(lambda: consul.catalog("shop") == set())
        finally:
            registrator.terminate()
