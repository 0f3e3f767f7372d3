from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ecsconsul.consul.binary_source import NoFallback, Say, Untrusted, Way
from ecsconsul.consul.install import RETRY_SECONDS, at_hand, cached, find, version_of
from ecsconsul.errors import LabError
from tests.consul.release_server import (
    KEY,
    SUMS_PATH,
    VERSION,
    ZIP_PATH,
    ReleaseServer,
    release_server,
    signature,
    zipped,
)

SECONDS = 60.0
FETCHED = "Consul 9.9.9 from the vendor's release: {} (PATH: no consul there; the cache: no consul there)"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ReleaseServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")  # the machine's own proxy is not what is tested
    with release_server() as running:
        yield running


class Ec2Instance:
    """A machine's environment with an empty PATH and an empty cache, and what `find` says on it."""

    def __init__(self, root: Path) -> None:
        self.cache = root / "cache"
        self.bin = root / "bin"
        self.bin.mkdir()
        self.environ = {"PATH": str(self.bin), "ECSCONSUL_CACHE": str(self.cache)}
        self.said: list[str] = []

    def find(self, *ways: Way, asked: str = VERSION) -> str:
        return find(self.said.append, asked, environ=self.environ, ways=ways)

    def later(self) -> None:
        """More than a day later."""
        note = self.cache / "consul" / "tried"
        os.utime(note, times=(time.time() - RETRY_SECONDS - 60,) * 2)

    def left(self) -> set[str]:
        return {path.name for path in self.cache.iterdir()}


@pytest.fixture
def machine(tmp_path: Path) -> Ec2Instance:
    return Ec2Instance(tmp_path)


def script(path: Path, body: str = f'echo "Consul v{VERSION}"') -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


class Nowhere:
    """A way that leads nowhere."""

    source = "nowhere"
    exact = True

    def fetch(self, folder: Path, say: Say) -> Path:
        raise LabError("there is none", why="it is\nnowhere")


def test_configured_binary_comes_first(machine: Ec2Instance, tmp_path: Path) -> None:
    script(machine.bin / "consul", 'echo "Consul v1.0.0"')
    told = script(tmp_path / "mine")
    machine.environ["ECSCONSUL_CONSUL_BIN"] = str(told)
    assert machine.find() == str(told)
    assert machine.said == [f"Consul 9.9.9 from ECSCONSUL_CONSUL_BIN: {told}"]
    assert not machine.cache.exists()


def test_configured_relative_path_becomes_absolute(machine: Ec2Instance, tmp_path: Path) -> None:
    told = script(tmp_path / "mine")
    machine.environ["ECSCONSUL_CONSUL_BIN"] = os.path.relpath(told)
    assert os.path.realpath(machine.find()) == os.path.realpath(told)
    assert Path(machine.find()).is_absolute()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("echo boom >&2; exit 3", "ended with 3: boom"),
        ("echo Vault v1.2.3", "ended with 0: Vault v1.2.3"),
        (None, "No such file"),
    ],
)
def test_configured_binary_must_run(machine: Ec2Instance, tmp_path: Path, body: str | None, why: str) -> None:
    script(machine.bin / "consul")
    told = script(tmp_path / "mine", body) if body else tmp_path / "mine"
    machine.environ["ECSCONSUL_CONSUL_BIN"] = str(told)
    with pytest.raises(LabError) as raised:
        machine.find()
    assert raised.value.what == f"{told} does not run"
    assert raised.value.where == "ECSCONSUL_CONSUL_BIN"
    assert why in raised.value.why
    assert "unset it" in raised.value.hint


def test_path_comes_before_the_cache(machine: Ec2Instance, server: ReleaseServer) -> None:
    machine.find(server.way)
    on_path = script(machine.bin / "consul")
    assert machine.find() == str(on_path)
    assert machine.said[-1] == f"Consul 9.9.9 from PATH: {on_path}"


def test_broken_binary_on_path_is_skipped_and_reported(machine: Ec2Instance, server: ReleaseServer) -> None:
    broken = script(machine.bin / "consul", "exit 1")
    found = machine.find(server.way)
    assert found == str(cached(machine.environ))
    assert f"PATH: {broken} does not run: `version` ended with 1; the cache" in machine.said[-1]


def test_binary_for_another_platform_is_reported(tmp_path: Path) -> None:
    foreign = tmp_path / "consul"
    foreign.write_bytes(b"\x7fELF for nobody")
    foreign.chmod(0o755)
    with pytest.raises(LabError, match="Exec format error"):
        version_of(foreign)


def test_hanging_binary_times_out(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"no answer to `version` within 0\.2 s"):
        version_of(script(tmp_path / "consul", "exec sleep 30"), seconds=0.2)


def test_downloaded_binary_is_cached(machine: Ec2Instance, server: ReleaseServer) -> None:
    assert cached(machine.environ) is None
    first = machine.find(server.way)
    assert cached(machine.environ) == Path(first)
    assert machine.said[-1] == FETCHED.format(first)
    asked = len(server.asked)
    assert machine.find(server.way) == first
    assert len(server.asked) == asked, "the second time nothing is fetched"
    assert machine.said[-1] == f"Consul 9.9.9 from the cache: {first} (PATH: no consul there)"
    assert machine.left() == {"consul", "consul.lock"}


def test_verified_cached_binary_is_not_run_again(machine: Ec2Instance, server: ReleaseServer, tmp_path: Path) -> None:
    """A start must not pay for `consul version` each time."""
    runs = tmp_path / "runs"
    counting = f'#!/bin/sh\necho run >> {runs}\necho "Consul v9.9.9"\n'
    server.publish(zipped(counting))
    for _ in range(3):
        machine.find(server.way)
    assert runs.read_text() == "run\n"


def test_broken_cached_binary_is_replaced(machine: Ec2Instance, server: ReleaseServer) -> None:
    found = Path(machine.find(server.way))
    found.write_bytes(b"half a binar")
    assert machine.find(server.way) == str(found)
    assert version_of(found) == VERSION
    assert f"the cache: {found} does not run" in machine.said[-1]


def test_broken_cached_binary_is_removed_without_replacement(machine: Ec2Instance, server: ReleaseServer) -> None:
    found = Path(machine.find(server.way))
    found.chmod(0o644)
    with pytest.raises(LabError):
        machine.find()
    assert cached(machine.environ) is None
    assert machine.left() == {"consul.lock"}


def test_next_source_is_tried_after_a_failure(machine: Ec2Instance, server: ReleaseServer) -> None:
    found = machine.find(Nowhere(), server.way)
    assert version_of(Path(found)) == VERSION
    assert machine.said[-1].endswith("; nowhere: there is none: it is nowhere)")


def test_every_failed_source_is_reported(machine: Ec2Instance, server: ReleaseServer) -> None:
    del server.files[ZIP_PATH]
    with pytest.raises(LabError) as raised:
        machine.find(server.way, Nowhere())
    for part in ("PATH: no consul there", "the cache: no", "the vendor's release: Can't download", "nowhere: "):
        assert part in raised.value.why
    assert "ECSCONSUL_CONSUL_BIN" in raised.value.hint
    assert cached(machine.environ) is None
    assert machine.left() == {"consul.lock"}


class Old:
    """The last resort, which has an old version."""

    source = "the last resort"
    exact = False

    def __init__(self, version: str = "1.8.7") -> None:
        self.version = version
        self.fetched = 0

    def fetch(self, folder: Path, say: Say) -> Path:
        self.fetched += 1
        return script(folder / "consul", f'echo "Consul v{self.version}"')


def wrong_checksum(server: ReleaseServer) -> None:
    server.publish(zipped(), checksum="f" * 64)


def wrong_signature(server: ReleaseServer) -> None:
    server.publish_sums(server.files[SUMS_PATH], signature(b"something else"))


def no_release(server: ReleaseServer) -> None:
    server.files.clear()


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        (wrong_checksum, "The checksum of"),
        (wrong_signature, "The signature of"),
        (no_release, "There is no release 9.9.9"),
    ],
)
def test_what_the_user_must_learn_is_not_replaced_by_a_last_resort(
    machine: Ec2Instance, server: ReleaseServer, fault: Callable[[ReleaseServer], None], what: str
) -> None:
    """Otherwise whoever tampers with a release chooses an old version with known holes for the user."""
    fault(server)
    old = Old()
    with pytest.raises(NoFallback, match=what):
        machine.find(server.way, old)
    assert old.fetched == 0
    assert cached(machine.environ) is None
    assert machine.left() == {"consul.lock"}


# --- the version that the config asks for


def test_installed_binary_of_another_version_is_used_and_said(machine: Ec2Instance, server: ReleaseServer) -> None:
    on_path = script(machine.bin / "consul", 'echo "Consul v1.2.3"')
    assert machine.find(server.way) == str(on_path)
    assert machine.said == [f"Consul 1.2.3 from PATH: {on_path}; the config asks for 9.9.9 (consul.version)"]
    assert server.asked == []


def test_cached_binary_of_another_version_is_replaced(machine: Ec2Instance, server: ReleaseServer) -> None:
    old = Path(machine.find(Old()))
    assert version_of(old) == "1.8.7"
    machine.later()
    assert machine.find(server.way) == str(old)
    assert version_of(old) == VERSION
    assert machine.said[-1].startswith("Consul 9.9.9 from the vendor's release")
    assert "the cache: Consul 1.8.7 there, not 9.9.9" in machine.said[-1]
    assert machine.left() == {"consul", "consul.lock"}
    assert {path.name for path in old.parent.iterdir()} == {"consul", "checked"}


def test_another_version_that_the_config_asks_for_later_is_downloaded_at_once(
    machine: Ec2Instance, server: ReleaseServer
) -> None:
    machine.find(Old(), asked="1.16.6")
    assert version_of(Path(machine.find(server.way))) == VERSION


def test_cached_binary_of_another_version_is_used_without_a_network(
    machine: Ec2Instance, server: ReleaseServer
) -> None:
    found = machine.find(Old("1.13.9"))
    machine.later()
    last_resort = Old("1.8.7")
    assert machine.find(Nowhere(), last_resort) == found
    assert version_of(Path(found)) == "1.13.9"
    assert last_resort.fetched == 0, "what is there comes before a last resort"
    assert "nowhere: there is none" in machine.said[-1]
    assert machine.said[-1].endswith("; the config asks for 9.9.9 (consul.version)")


def test_missing_network_is_tried_once_a_day(machine: Ec2Instance, server: ReleaseServer) -> None:
    """A machine without one must not wait for it at each start."""
    machine.find(Nowhere(), Old())
    for _ in range(2):
        machine.find(server.way)
        assert machine.said[-1].startswith("Consul 1.8.7 from the cache")
    assert server.asked == []
    machine.later()
    machine.find(server.way)
    assert machine.said[-1].startswith("Consul 9.9.9 from the vendor's release")


def test_packagers_version_is_the_release_that_it_packages(machine: Ec2Instance, server: ReleaseServer) -> None:
    machine.find(Old("9.9.9+dfsg1"))
    machine.find(server.way)
    assert server.asked == []
    assert "the config asks for" not in machine.said[-1]


def test_cache_that_cannot_be_written_is_still_read(machine: Ec2Instance, server: ReleaseServer) -> None:
    found = machine.find(Old())
    machine.later()
    lock = machine.cache / "consul.lock"
    lock.unlink()
    lock.mkdir()  # as for root, who may write everywhere
    assert machine.find(server.way) == found
    assert version_of(Path(found)) == "1.8.7"


def test_tampered_replacement_leaves_the_cached_binary(machine: Ec2Instance, server: ReleaseServer) -> None:
    found = Path(machine.find(Old()))
    machine.later()
    wrong_signature(server)
    with pytest.raises(Untrusted):
        machine.find(server.way)
    assert version_of(found) == "1.8.7"


def test_at_hand_says_version_licence_and_deviation(machine: Ec2Instance, server: ReleaseServer) -> None:
    bsl = "BUSL-1.1: https://www.hashicorp.com/bsl"
    assert at_hand(VERSION, machine.environ) == f"not installed; `up` downloads Consul 9.9.9 ({bsl})"
    machine.find(Old())
    machine.later()
    assert at_hand(VERSION, machine.environ) == f"Consul 1.8.7 is in the cache; `up` downloads Consul 9.9.9 ({bsl})"
    machine.find(server.way)
    cache = cached(machine.environ)
    assert at_hand(VERSION, machine.environ) == f"Consul 9.9.9 ({bsl}) from the cache: {cache}"
    on_path = script(machine.bin / "consul", 'echo "Consul v1.8.7"')
    assert at_hand(VERSION, machine.environ) == (
        f"Consul 1.8.7 (MPL-2.0: https://www.mozilla.org/MPL/2.0/) from PATH: {on_path}"
        "; the config asks for 9.9.9 (consul.version)"
    )


def test_downloaded_binary_that_fails_is_not_cached(machine: Ec2Instance, server: ReleaseServer) -> None:
    server.publish(zipped("#!/bin/sh\nexit 7\n"))
    with pytest.raises(LabError, match="ended with 7"):
        machine.find(server.way)
    assert machine.left() == {"consul.lock"}


def test_unwritable_cache_is_reported(machine: Ec2Instance, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    machine.environ["ECSCONSUL_CACHE"] = str(tmp_path / "file" / "cache")
    with pytest.raises(LabError) as raised:
        machine.find()
    assert raised.value.where == str(tmp_path / "file" / "cache")
    assert "ECSCONSUL_CACHE" in raised.value.hint


def test_concurrent_runs_download_once(machine: Ec2Instance, server: ReleaseServer) -> None:
    server.held = ZIP_PATH
    waits = threading.Event()
    found: list[str] = []

    def look() -> None:
        def say(line: str) -> None:
            machine.said.append(line)
            if line.startswith("waiting for another"):
                waits.set()

        found.append(find(say, VERSION, environ=machine.environ, ways=(server.way,)))

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert waits.wait(SECONDS) and server.reached.wait(SECONDS)
    server.release.set()
    for thread in threads:
        thread.join(SECONDS)
    assert found == [str(cached(machine.environ))] * 2
    assert server.asked.count(ZIP_PATH) == 1
    assert machine.left() == {"consul", "consul.lock"}


def test_killed_download_leaves_nothing_and_is_cleaned_up(machine: Ec2Instance, server: ReleaseServer) -> None:
    server.held = ZIP_PATH
    code = (
        "from ecsconsul.consul.install import find\n"
        "from ecsconsul.consul.signature import SigningKey\n"
        "from ecsconsul.consul.vendor_release import Release\n"
        f"key = SigningKey({KEY.key!r}, {KEY.fingerprint!r})\n"
        f"find(print, {VERSION!r}, ways=[Release({VERSION!r}, {server.base!r}, key, answer_seconds=60.0)])\n"
    )
    environ = {**machine.environ, "no_proxy": "127.0.0.1"}
    with subprocess.Popen([sys.executable, "-c", code], env=environ, stdout=subprocess.DEVNULL) as process:
        try:
            assert server.reached.wait(SECONDS)
        finally:
            process.send_signal(signal.SIGKILL)
    assert any(name.startswith("consul-fetch-") for name in machine.left())
    assert cached(machine.environ) is None
    server.held = ""
    machine.find(server.way)
    assert machine.left() == {"consul", "consul.lock"}
