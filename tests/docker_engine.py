"""A Docker engine for tests: that of this machine, else one of the tests' own (as root); and a base image for it.

The base image is Debian's, made by debootstrap from the mirror that this machine is set up with, with Python and what
the lab's services require already on it: nothing is pulled from a registry, and builds need no network. It is kept in a
cache folder, since making it takes a minute.
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

from tests.require import require

REPOSITORY = Path(__file__).resolve().parents[1]
SOCKET = "/var/run/docker.sock"
START_SECONDS, STOP_SECONDS = 60.0, 30.0
RECIPE = 1
ENVIRONMENT = ("ENV PIP_BREAK_SYSTEM_PACKAGES=1 PIP_ROOT_USER_ACTION=ignore", 'CMD ["python3"]')


@contextmanager
def docker_engine() -> Iterator[str]:
    """The URL of an engine that answers; one that is started for this is shared by all who test on this machine."""
    told = os.environ.get("DOCKER_HOST", f"unix://{SOCKET}")
    if told.startswith("unix://") and answers(told.removeprefix("unix://")):
        yield told
        return
    may_start = sys.platform == "linux" and os.geteuid() == 0 and bool(shutil.which("dockerd"))
    require("docker", may_start, "no Docker engine answers, and none can be started")
    with _shared(Path(tempfile.gettempdir()) / "ecsconsul-tests-engine") as url:
        yield url


@contextmanager
def _shared(folder: Path) -> Iterator[str]:
    """One engine for all workers, for two would fight over the bridge and the firewall; the last one ends it."""
    folder.mkdir(mode=0o700, exist_ok=True)
    with (folder / "users").open("w") as users:
        with _locked(folder / "turn"):
            if not _is_there(folder):
                _start(folder)
            _await_answer(folder)
            fcntl.flock(users, fcntl.LOCK_SH)
        try:
            yield f"unix://{folder / 'docker.sock'}"
        finally:
            with _locked(folder / "turn"), contextlib.suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _end(psutil.Process(int((folder / "pid").read_text())), folder)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Held by one process; the kernel lets go of it however that one ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _start(folder: Path) -> None:
    """An engine with its data in `folder`, which is nobody's child and goes on when we end."""
    shutil.rmtree(folder / "data", ignore_errors=True)
    command = ["dockerd", "--data-root", str(folder / "data"), "--exec-root", str(folder / "exec")]
    command += ["-H", f"unix://{folder / 'docker.sock'}", "-p", str(folder / "pid")]
    with (folder / "dockerd.log").open("wb") as log:
        detached = ["setsid", "--fork", *command]
        subprocess.run(detached, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, check=True)


def _is_there(folder: Path) -> bool:
    """Whether the engine runs; one that is slow to answer does, and others use its data."""
    try:
        return str(folder / "data") in psutil.Process(int((folder / "pid").read_text())).cmdline()
    except (OSError, ValueError, psutil.Error):
        return False


def _await_answer(folder: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while not answers(str(folder / "docker.sock")):
        tail = (folder / "dockerd.log").read_text()[-2000:]
        assert time.monotonic() < end, f"dockerd does not answer:\n{tail}"
        # nothing tells when it begins to listen
        time.sleep(0.1)


def _end(process: psutil.Process, folder: Path) -> None:
    process.terminate()
    process.wait(STOP_SECONDS)
    shutil.rmtree(folder / "data", ignore_errors=True)


def answers(path: str) -> bool:
    """Whether an engine listens on this socket."""
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
    """What the docker command says on stdout, without the last line's end."""
    argv = ["docker", "-H", url, *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout.strip()


def base_image(url: str) -> str:
    """The reference of the base image, which is on the engine afterwards; ECSCONSUL_TEST_BASE names another one."""
    if told := os.environ.get("ECSCONSUL_TEST_BASE"):
        return told
    reference = f"ecsconsul-test-base:{_digest()}"
    if not docker(url, "images", "-q", reference):
        changes = [word for change in ENVIRONMENT for word in ("-c", change)]
        docker(url, "import", *changes, str(base_archive()), reference, timeout=300)
    return reference


def base_archive() -> Path:
    """The base image's files as a tar archive."""
    archive = _cache() / f"base-{_digest()}.tar"
    # made by one worker; the other one waits for it
    with _locked(_cache() / "turn"):
        if not archive.exists():
            _make(archive)
    return archive


def requirements() -> list[str]:
    """What the lab's own services require, and pip."""
    files = sorted((REPOSITORY / "services").glob("*/requirements.txt"))
    return sorted({"pip", *(line for file in files for line in file.read_text().split())})


def _digest() -> str:
    return hashlib.sha256(repr((RECIPE, ENVIRONMENT, requirements())).encode()).hexdigest()[:12]


def _cache() -> Path:
    from platformdirs import user_cache_path

    folder = Path(os.environ.get("ECSCONSUL_TEST_CACHE") or user_cache_path("ecsconsul-tests"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _make(archive: Path) -> None:
    able = os.geteuid() == 0 and bool(shutil.which("debootstrap"))
    require("docker", able, "no base image, and no debootstrap (as root) to make one")
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
    """Where Debian's Python of that root looks for what was not installed by apt."""
    (version,) = (path.name for path in (root / "usr/lib").glob("python3.*"))
    return root / "usr/local/lib" / version / "dist-packages"


def _mirror() -> tuple[str, str]:
    """The first suite and mirror of apt's that has the packages."""
    argv = ["apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Identifier: Packages"]
    lines = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()
    found = [line.split() for line in lines if "-" not in line.split()[0]]
    return found[0][0], found[0][1]


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{argv}: {done.stdout[-2000:]}\n{done.stderr[-2000:]}"
