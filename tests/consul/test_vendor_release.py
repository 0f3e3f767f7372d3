from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecsconsul.consul.vendor_release import RELEASES, Release, checksum, platform
from ecsconsul.errors import LabError, Unreachable
from tests.consul.release_server import SUMS_PATH, VERSION, ZIP, ZIP_PATH, ReleaseServer, release_server, zipped


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ReleaseServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")  # the machine's own proxy is not what is tested
    with release_server() as running:
        yield running


def fetch(base: str, folder: Path, **limits: float) -> Path:
    """Where no limit is tested, the host has as much time as a busy machine takes."""
    return Release(base, VERSION, **{"answer_seconds": 60.0, **limits}).fetch(folder, lambda line: None)


def test_release_is_downloaded_and_verified(server: ReleaseServer, tmp_path: Path) -> None:
    said: list[str] = []
    binary = server.way.fetch(tmp_path, said.append)
    assert subprocess.run([binary], capture_output=True, check=True).stdout.startswith(b"Consul v9.9.9")
    assert server.asked == [SUMS_PATH, ZIP_PATH]
    assert said == ["downloading Consul 9.9.9 from 127.0.0.1"]


def test_wrong_checksum_is_rejected(server: ReleaseServer, tmp_path: Path) -> None:
    server.publish(zipped(), checksum="f" * 64)
    with pytest.raises(LabError, match=f"The checksum of {ZIP} is wrong.*but ffff") as raised:
        fetch(server.base, tmp_path)
    assert not isinstance(raised.value, Unreachable)
    assert not (tmp_path / "consul").exists(), "what was not verified must not be unpacked"


def test_interrupted_download_is_reported(server: ReleaseServer, tmp_path: Path) -> None:
    server.cut = ZIP_PATH
    size = len(server.files[ZIP_PATH])
    with pytest.raises(Unreachable, match=f"the connection closed with {size - size // 2} bytes missing"):
        fetch(server.base, tmp_path)


def test_stalled_download_times_out(server: ReleaseServer, tmp_path: Path) -> None:
    server.held = ZIP_PATH
    with pytest.raises(Unreachable, match="timed out"):
        fetch(server.base, tmp_path, stall_seconds=0.2)


def test_slow_download_times_out(server: ReleaseServer, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="the download takes too long"):
        fetch(server.base, tmp_path, download_seconds=0.0)


def test_silent_host_times_out_quickly(server: ReleaseServer, tmp_path: Path) -> None:
    server.silent = SUMS_PATH
    begin = time.monotonic()
    with pytest.raises(Unreachable, match=r"SHA256SUMS.*(no answer within 0\.3 s|timed out)"):
        fetch(server.base, tmp_path, answer_seconds=0.3)
    assert time.monotonic() - begin < 10


def test_slow_host_times_out(server: ReleaseServer, tmp_path: Path) -> None:
    """A timeout of the socket begins anew with each byte; the bound must be on the whole."""
    server.dripped = SUMS_PATH
    begin = time.monotonic()
    with pytest.raises(Unreachable, match=r"no answer within 0\.3 s|timed out"):
        fetch(server.base, tmp_path, answer_seconds=0.3)
    assert time.monotonic() - begin < 10


def test_unknown_host_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refuses
        base = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Unreachable, match=f"{base}/.*refused"):
            fetch(base, tmp_path)


@pytest.mark.parametrize("missing", [SUMS_PATH, ZIP_PATH])
def test_missing_release_reports_404(server: ReleaseServer, tmp_path: Path, missing: str) -> None:
    del server.files[missing]
    with pytest.raises(Unreachable, match=f"{missing}.*404"):
        fetch(server.base, tmp_path)


def test_unpublished_platform_is_reported(server: ReleaseServer, tmp_path: Path) -> None:
    server.files[SUMS_PATH] = b"<html>a hotel's login page</html>"
    with pytest.raises(LabError, match=f"checksums don't list {ZIP}"):
        fetch(server.base, tmp_path)
    assert server.asked == [SUMS_PATH]


@pytest.mark.parametrize("archive", [b"no zip at all", zipped(name="bin/other")])
def test_archive_without_consul_is_rejected(server: ReleaseServer, tmp_path: Path, archive: bytes) -> None:
    server.publish(archive)
    with pytest.raises(LabError, match="contains no consul"):
        fetch(server.base, tmp_path)


def test_proxy_of_the_environment_is_used(
    server: ReleaseServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("no_proxy")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    fetch("http://releases.invalid/consul", tmp_path)
    assert server.asked == [SUMS_PATH, ZIP_PATH]


def test_vendor_url_is_https() -> None:
    assert Release().base == RELEASES
    assert RELEASES.startswith("https://")


@pytest.mark.parametrize(
    ("system", "machine", "name"),
    [
        ("linux", "x86_64", "linux_amd64"),
        ("linux", "aarch64", "linux_arm64"),
        ("darwin", "x86_64", "darwin_amd64"),
        ("darwin", "arm64", "darwin_arm64"),
    ],
)
def test_platforms_have_the_vendors_names(system: str, machine: str, name: str) -> None:
    assert platform(system, machine) == name


@pytest.mark.parametrize(("system", "machine"), [("linux", "riscv64"), ("win32", "amd64"), ("sunos5", "i86pc")])
def test_unsupported_platforms_are_reported(system: str, machine: str) -> None:
    with pytest.raises(LabError, match=f"{system} on {machine}"):
        platform(system, machine)


def test_checksum_matches_the_exact_name() -> None:
    sums = "AA11  consul_1_linux_amd64.zip.sig\nBB22  consul_1_linux_amd64.zip\n"
    assert checksum(sums, "consul_1_linux_amd64.zip") == "bb22"
    with pytest.raises(LabError, match=r"don't list .*linux_arm64\.zip"):
        checksum(sums, "consul_1_linux_arm64.zip")
