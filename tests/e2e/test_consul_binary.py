"""Fetches Debian's consul package with apt for real: as the current user, as nobody, and on a fresh machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ecsconsul.config.scalars import CONSUL_VERSION
from ecsconsul.consul.debian_package import KEYRING, DebianPackage, debian_mirrors, parse_targets
from ecsconsul.consul.install import cached, find, version_of
from tests.e2e.lab import eventually, words_of
from tests.require import require

ROOT = Path(__file__).resolve().parents[2]
SYSTEM_PYTHON = "/usr/bin/python3"
NOBODY = 65534
FIND = """\
import sys
assert sys.version_info >= (3, 10)
from ecsconsul.consul.install import find
from ecsconsul.consul.debian_package import DebianPackage
print(find(lambda line: None, "9.9.9", ways=[DebianPackage()]))
"""
SECONDS = 240


@pytest.fixture(autouse=True)
def _debian() -> None:
    require("apt", shutil.which("apt-get") is not None and KEYRING.is_file(), "not Debian: there is no apt")


def machine_lists() -> dict[str, int]:
    """The machine's package lists and packages with their times, which apt must not touch."""
    folders = (Path("/var/lib/apt/lists"), Path("/var/cache/apt/archives"), Path("/var/lib/dpkg"))
    found = [path for folder in folders if folder.is_dir() for path in folder.iterdir()]
    return {str(path): path.stat().st_mtime_ns for path in found}


def test_fetch_leaves_the_machine_untouched(tmp_path: Path) -> None:
    environ = {"PATH": str(tmp_path), "ECSCONSUL_CACHE": str(tmp_path / "cache")}
    before, output = machine_lists(), list[str]()
    found = find(output.append, CONSUL_VERSION, environ=environ, ways=[DebianPackage()])
    assert found == str(cached(environ))
    assert version_of(Path(found)).startswith("1.8.")
    assert output[-1].startswith("Consul 1.8.")
    assert "from Debian's bullseye package" in output[-1]
    assert output[0].startswith("downloading Debian's Consul 1.8.7 (MPL-2.0: ")
    assert "for trying only" in output[0]
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {"consul", "consul.lock"}
    assert machine_lists() == before


def test_fetch_works_before_the_first_apt_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lists" / "partial").mkdir(parents=True)
    configuration = tmp_path / "apt.conf"
    configuration.write_text(f'Dir::State::Lists "{tmp_path}/lists";\nAPT::Default-Release "stable";\n')
    monkeypatch.setenv("APT_CONFIG", str(configuration))
    command = ["apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(RELEASE)|$(REPO_URI)"]
    known = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert debian_mirrors(parse_targets(known), {}) == [], "apt must have no package lists in this test"
    environ = {"PATH": str(tmp_path), "ECSCONSUL_CACHE": str(tmp_path / "cache")}
    found = find(lambda line: None, CONSUL_VERSION, environ=environ, ways=[DebianPackage()])
    assert version_of(Path(found)).startswith("1.8.")


def test_user_nobody_can_fetch(tmp_path: Path) -> None:
    """Uses the system's Python, since the tests' own may be readable only by root."""
    if os.geteuid() != 0:
        pytest.skip("not root, so the first test covers it")
    require("python3", Path(SYSTEM_PYTHON).exists(), f"no {SYSTEM_PYTHON} for the user nobody")
    folder = Path("/tmp") / f"ecsconsul-nobody-{os.getpid()}"  # the user nobody cannot read pytest's folder
    folder.mkdir()
    try:
        os.chown(folder, NOBODY, NOBODY)
        environ = {"PATH": "/usr/bin:/bin", "ECSCONSUL_CACHE": str(folder / "cache"), "HOME": str(folder)}
        done = subprocess.run(
            [SYSTEM_PYTHON, "-B", "-c", FIND],
            cwd=ROOT,
            env={**environ, "PYTHONPATH": str(ROOT)},
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == str(folder / "cache" / "consul" / "consul")
        assert (folder / "cache" / "consul" / "consul").stat().st_uid == NOBODY
    finally:
        shutil.rmtree(folder)


def updating(pid: int) -> list[psutil.Process]:
    """A process's apt-get child, once its own child fetches package lists."""
    found = []
    for child in psutil.Process(pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            fetching = any("/apt/methods/" in word for one in child.children() for word in words_of(one))
            if child.name() == "apt-get" and fetching:
                found.append(child)
    return found


def has_exited(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class EndlessAnswer(socketserver.BaseRequestHandler):
    """A proxy's answer whose header doesn't end; apt, which would give up on silence, waits for the rest."""

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            self.request.sendall(b"HTTP/1.1 200 OK\r\nX-Endless: ")
            while True:
                self.request.sendall(b"-")
                time.sleep(1)


@pytest.fixture
def held(tmp_path: Path) -> Iterator[str]:
    """An APT_CONFIG with which apt's downloads don't end."""
    configuration = tmp_path / "held.conf"
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), EndlessAnswer) as proxy:
        proxy.daemon_threads = True
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{proxy.server_address[1]}/"
        configuration.write_text(f'Acquire::http::Proxy "{url}";\nAcquire::https::Proxy "{url}";\n')
        yield str(configuration)
        proxy.shutdown()


def test_kill_ends_apt_and_the_next_run_cleans_up(tmp_path: Path, held: str) -> None:
    environ = {**os.environ, "PATH": "/usr/bin:/bin", "ECSCONSUL_CACHE": str(tmp_path / "cache")}
    environ.pop("ECSCONSUL_CONSUL_BIN", None)  # a binary that is set is never fetched
    code, endless = FIND.replace("lambda line: None", "lambda line: print(line, flush=True)"), {"APT_CONFIG": held}
    with subprocess.Popen([sys.executable, "-c", code], env=environ | endless, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout and process.stdout.readline().startswith(b"downloading")
            [apt] = eventually(lambda: updating(process.pid), lambda found: len(found) == 1)
        finally:
            process.kill()
    # A container's init may not reap it.
    eventually(lambda: has_exited(apt), bool)
    assert list((tmp_path / "cache").rglob("lists/partial")), "something is left to clean up"
    found = find(lambda line: None, CONSUL_VERSION, environ=environ, ways=[DebianPackage()])
    assert version_of(Path(found)).startswith("1.8.")
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {"consul", "consul.lock"}
