"""A lab's known_hosts file: published keys replace those trusted on first use, and each server has its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ecsconsul.paths import HOME_VARIABLE
from ecsconsul.targets.aws import host_keys
from ecsconsul.targets.aws.host_keys import HostKeys
from tests.ssh_server import make_key


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    return tmp_path / "home"


def test_published_keys_replace_recorded_ones() -> None:
    keys = HostKeys("blue", "i-1")
    assert keys.known() == []
    keys.record(["ssh-ed25519 AAAA", "ssh-rsa BBBB"])
    assert HostKeys("blue", "i-1").known() == ["ssh-ed25519 AAAA", "ssh-rsa BBBB"]
    keys.record(["ssh-ed25519 CCCC"])
    assert keys.known() == ["ssh-ed25519 CCCC"]
    keys.record([])
    assert keys.known() == ["ssh-ed25519 CCCC"]


def test_servers_and_labs_have_their_own_keys() -> None:
    one, other, elsewhere = HostKeys("blue", "i-1"), HostKeys("blue", "i-12"), HostKeys("green", "i-1")
    one.record(["ssh-ed25519 AAAA"])
    other.record(["ssh-ed25519 BBBB"])
    assert (one.known(), other.known(), elsewhere.known()) == (["ssh-ed25519 AAAA"], ["ssh-ed25519 BBBB"], [])


def test_concurrent_records_leave_one_key(home: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: HostKeys("blue", "i-1").record([f"ssh-ed25519 {n}"]), range(50)))
    assert len(HostKeys("blue", "i-1").known()) == 1
    host_keys.forget("blue")
    host_keys.forget("blue")
    assert [path for path in home.rglob("*") if path.is_file()] == []


def test_fingerprints_match_ssh_keygen(tmp_path: Path) -> None:
    import subprocess

    public = make_key(tmp_path / "key")
    printed = subprocess.run(
        ["ssh-keygen", "-lf", str(tmp_path / "key.pub")], capture_output=True, text=True, check=True
    )
    keys = HostKeys("blue", "i-1")
    keys.record([public])
    assert keys.fingerprints() == [f"ssh-ed25519 {printed.stdout.split()[1]}"]
