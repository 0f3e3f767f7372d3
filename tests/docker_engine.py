"""A Docker engine for tests: the machine's, or else one that the tests start (as root); and a base image for it.

The base image is Debian, created by debootstrap from the machine's own mirror, with Python and the services'
requirements installed: nothing is pulled from a registry, and builds need no network. It is cached, since creating it
takes a minute.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from ecsconsul.paths import lock_file
from tests.require import require

REPOSITORY = Path(__file__).resolve().parents[1]
SOCKET = "/var/run/docker.sock"
START_TIMEOUT, STOP_TIMEOUT = 60.0, 30.0
IMAGE_VERSION = 1
ENVIRONMENT = ("ENV PIP_BREAK_SYSTEM_PACKAGES=1 PIP_ROOT_USER_ACTION=ignore", 'CMD ["python3"]')


@contextmanager
def docker_engine() -> Iterator[str]:
    """The URL of a working engine; one that is started here is shared by all test processes on this machine."""
    url = os.environ.get("DOCKER_HOST", f"unix://{SOCKET}")
    if url.startswith("unix://") and answers(url.removeprefix("unix://")):
        yield url
        return
    may_start = sys.platform == "linux" and os.geteuid() == 0 and bool(shutil.which("dockerd"))
    require("docker", may_start, "no Docker engine answers, and none can be started")
    with _shared(Path(tempfile.gettempdir()) / "ecsconsul-tests-engine") as url:
        yield url


@contextmanager
def _shared(folder: Path) -> Iterator[str]:
    """One engine for all workers, since two would conflict over the bridge and the firewall; the last user stops it."""
    folder.mkdir(mode=0o700, exist_ok=True)
    with (folder / "users").open("w") as users:
        with lock_file(folder / "lock", blocking=True):
            if not _is_running(folder):
                _start(folder)
            _await_answer(folder)
            fcntl.flock(users, fcntl.LOCK_SH)
        try:
            yield f"unix://{folder / 'docker.sock'}"
        finally:
            with lock_file(folder / "lock", blocking=True), contextlib.suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _stop(psutil.Process(int((folder / "pid").read_text())), folder)


def _start(folder: Path) -> None:
    """Start a detached engine with its data in `folder`; it outlives this process."""
    shutil.rmtree(folder / "data", ignore_errors=True)
    command = ["dockerd", "--data-root", str(folder / "data"), "--exec-root", str(folder / "exec")]
    command += ["-H", f"unix://{folder / 'docker.sock'}", "-p", str(folder / "pid")]
    with (folder / "dockerd.log").open("wb") as log:
        detached = ["setsid", "--fork", *command]
        subprocess.run(detached, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, check=True)


def _is_running(folder: Path) -> bool:
    """Whether the engine runs, even if it doesn't answer yet."""
    try:
        return str(folder / "data") in psutil.Process(int((folder / "pid").read_text())).cmdline()
    except (OSError, ValueError, psutil.Error):
        return False


def _await_answer(folder: Path) -> None:
    end = time.monotonic() + START_TIMEOUT
    while not answers(str(folder / "docker.sock")):
        tail = (folder / "dockerd.log").read_text()[-2000:]
        assert time.monotonic() < end, f"dockerd does not answer:\n{tail}"
        # There is no event for an engine that begins to listen.
        time.sleep(0.1)


def _stop(process: psutil.Process, folder: Path) -> None:
    process.terminate()
    process.wait(STOP_TIMEOUT)
    shutil.rmtree(folder / "data", ignore_errors=True)


def answers(path: str) -> bool:
    """Whether an engine answers on this socket."""
    connection = http.client.HTTPConnection("localhost", timeout=5)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(5)
    try:
        connection.sock.connect(path)
        connection.request("GET", "/_ping")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def docker(url: str, *words: str, timeout: float = 60.0) -> str:
    """The stripped standard output of a docker command."""
    argv = ["docker", "-H", url, *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout.strip()


def base_image(url: str) -> str:
    """The reference of the base image, imported if need be; ECSCONSUL_TEST_BASE overrides it."""
    if reference := os.environ.get("ECSCONSUL_TEST_BASE"):
        return reference
    reference = f"ecsconsul-test-base:{_digest()}"
    if not docker(url, "images", "-q", reference):
        changes = [word for change in ENVIRONMENT for word in ("-c", change)]
        docker(url, "import", *changes, str(base_archive()), reference, timeout=300)
    return reference


def base_archive() -> Path:
    """The base image's files as a tar archive."""
    archive = _cache() / f"base-{_digest()}.tar"
    # One worker creates it, the others wait.
    with lock_file(_cache() / "lock", blocking=True):
        if not archive.exists():
            _create(archive)
    return archive


def requirements() -> list[str]:
    """The requirements of the lab's own services, and pip."""
    files = sorted((REPOSITORY / "services").glob("*/requirements.txt"))
    return sorted({"pip", *(line for file in files for line in file.read_text().split())})


def _digest() -> str:
    return hashlib.sha256(repr((IMAGE_VERSION, ENVIRONMENT, requirements())).encode()).hexdigest()[:12]


def _cache() -> Path:
    from platformdirs import user_cache_path

    folder = Path(os.environ.get("ECSCONSUL_TEST_CACHE") or user_cache_path("ecsconsul-tests"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _create(archive: Path) -> None:
    possible = os.geteuid() == 0 and bool(shutil.which("debootstrap"))
    require("docker", possible, "no base image, and no debootstrap (as root) to create one")
    root = archive.with_suffix(".root")
    shutil.rmtree(root, ignore_errors=True)
    suite, mirror = _mirror()
    _run("debootstrap", "--variant=minbase", "--include=python3", suite, str(root), mirror)
    packages = _packages(root)
    _run(sys.executable, "-m", "pip", "install", "-q", "--target", str(packages), *requirements())
    for program in ("pip", "gunicorn"):
        script = root / "usr/local/bin" / program
        script.write_text(f'#!/bin/sh\nexec python3 -m {program} "$@"\n')
        script.chmod(0o755)
    draft = archive.with_suffix(".draft")
    _run("tar", "-C", str(root), "-cf", str(draft), ".")
    draft.replace(archive)
    shutil.rmtree(root)


def _packages(root: Path) -> Path:
    """Where the root's Debian Python looks for packages that apt did not install."""
    (version,) = (path.name for path in (root / "usr/lib").glob("python3.*"))
    return root / "usr/local/lib" / version / "dist-packages"


def _mirror() -> tuple[str, str]:
    """The first suite and mirror in apt's configuration."""
    argv = ["apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Identifier: Packages"]
    lines = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()
    found = [line.split() for line in lines if "-" not in line.split()[0]]
    return found[0][0], found[0][1]


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{argv}: {done.stdout[-2000:]}\n{done.stderr[-2000:]}"
