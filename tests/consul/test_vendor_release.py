from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pysequoia import Tsk

from ecsconsul.consul.binary_source import NoFallback, Untrusted
from ecsconsul.consul.signature import vendor_key
from ecsconsul.consul.vendor_release import RELEASES, Release, checksum, platform
from ecsconsul.errors import LabError, Unreachable
from tests.consul.release_server import (
    KEY,
    KEYED_PATH,
    SIGNATURE_PATH,
    SUMS_PATH,
    VERSION,
    ZIP,
    ZIP_PATH,
    ReleaseServer,
    release_server,
    signature,
    zipped,
)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ReleaseServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")  # the machine's own proxy is not what is tested
    with release_server() as running:
        yield running


def fetch(base: str, folder: Path, **limits: float) -> Path:
    """Where no limit is tested, the host has as much time as a busy machine takes."""
    return Release(VERSION, base, KEY, **{"answer_seconds": 60.0, **limits}).fetch(folder, lambda line: None)


def test_release_is_downloaded_and_verified(server: ReleaseServer, tmp_path: Path) -> None:
    said: list[str] = []
    binary = server.way.fetch(tmp_path, said.append)
    assert subprocess.run([binary], capture_output=True, check=True).stdout.startswith(b"Consul v9.9.9")
    assert server.asked == [SUMS_PATH, KEYED_PATH, ZIP_PATH]
    assert said == ["downloading Consul 9.9.9 (BUSL-1.1: https://www.hashicorp.com/bsl) from 127.0.0.1"]


def test_wrong_checksum_is_rejected(server: ReleaseServer, tmp_path: Path) -> None:
    server.publish(zipped(), checksum="f" * 64)
    with pytest.raises(Untrusted, match=f"The checksum of {ZIP} is wrong.*but ffff"):
        fetch(server.base, tmp_path)
    assert not (tmp_path / "consul").exists(), "what was not verified must not be unpacked"


def refused(server: ReleaseServer, folder: Path) -> Untrusted:
    """The error, after which nothing was downloaded."""
    with pytest.raises(Untrusted) as raised:
        fetch(server.base, folder)
    assert ZIP_PATH not in server.asked
    assert list(folder.iterdir()) == []
    return raised.value


def test_tampered_checksums_are_rejected(server: ReleaseServer, tmp_path: Path) -> None:
    """Whoever can replace the archive can also replace its checksum, but not sign it."""
    sums = server.files[SUMS_PATH]
    server.publish(zipped("#!/bin/sh\nevil\n"))
    server.files[KEYED_PATH] = server.files[SIGNATURE_PATH] = signature(sums)
    error = refused(server, tmp_path)
    assert error.what == f"The signature of consul_{VERSION}_SHA256SUMS is wrong"
    assert error.where == f"key {KEY.fingerprint}"
    assert "\n" not in error.why


def test_signature_by_another_key_is_rejected(server: ReleaseServer, tmp_path: Path) -> None:
    sums = server.files[SUMS_PATH]
    server.publish_sums(sums, signature(sums, Tsk.generate("release server <nobody@example.com>")))
    assert "is wrong" in refused(server, tmp_path).what


@pytest.mark.parametrize("garbage", [b"", b"<html>a hotel's login page</html>", b"\xc2\xbd\x04"])
def test_garbage_is_no_signature(server: ReleaseServer, tmp_path: Path, garbage: bytes) -> None:
    server.publish_sums(server.files[SUMS_PATH], garbage)
    assert "is wrong" in refused(server, tmp_path).what


def test_missing_signature_is_rejected(server: ReleaseServer, tmp_path: Path) -> None:
    del server.files[KEYED_PATH], server.files[SIGNATURE_PATH]
    assert refused(server, tmp_path).what == f"The signature of consul_{VERSION}_SHA256SUMS is missing"
    assert server.asked == [SUMS_PATH, KEYED_PATH, SIGNATURE_PATH]


def test_signature_without_the_keys_id_in_its_name_is_verified_too(server: ReleaseServer, tmp_path: Path) -> None:
    del server.files[KEYED_PATH]
    assert fetch(server.base, tmp_path).is_file()
    server.files[SIGNATURE_PATH] = signature(b"something else")
    with pytest.raises(Untrusted):
        fetch(server.base, tmp_path)


def test_signature_of_an_old_name_is_not_asked_for_if_the_new_one_is_wrong(
    server: ReleaseServer, tmp_path: Path
) -> None:
    server.files[KEYED_PATH] = signature(b"something else")
    refused(server, tmp_path)
    assert SIGNATURE_PATH not in server.asked


def test_unknown_version_is_reported_and_not_replaced(server: ReleaseServer, tmp_path: Path) -> None:
    del server.files[SUMS_PATH]
    with pytest.raises(NoFallback, match=f"There is no release {VERSION} of Consul") as raised:
        fetch(server.base, tmp_path)
    assert "consul: {version" in raised.value.hint


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


def test_missing_archive_reports_404(server: ReleaseServer, tmp_path: Path) -> None:
    del server.files[ZIP_PATH]
    with pytest.raises(Unreachable, match=f"{ZIP_PATH}.*404"):
        fetch(server.base, tmp_path)


def test_unpublished_platform_is_reported(server: ReleaseServer, tmp_path: Path) -> None:
    others = b"0" * 64 + b"  consul_9.9.9_plan9_mips.zip\n"
    server.publish_sums(others, signature(others))
    with pytest.raises(LabError, match=f"checksums don't list {ZIP}") as raised:
        fetch(server.base, tmp_path)
    assert not isinstance(raised.value, NoFallback)
    assert ZIP_PATH not in server.asked


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
    assert server.asked == [SUMS_PATH, KEYED_PATH, ZIP_PATH]


def test_vendor_url_is_https() -> None:
    assert Release(VERSION).base == RELEASES
    assert RELEASES.startswith("https://")


def test_releases_are_verified_with_the_vendors_key() -> None:
    assert Release(VERSION).key == vendor_key()


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
