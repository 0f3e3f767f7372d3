"""The known_hosts file of a lab: what EC2 tells beats what was seen, and servers do not touch one another's keys."""

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


def test_what_is_told_is_kept_and_beats_what_was_seen() -> None:
    keys = HostKeys("blue", "i-1")
    assert keys.known() == []
    keys.tell(["ssh-ed25519 AAAA", "ssh-rsa BBBB"])
    assert HostKeys("blue", "i-1").known() == ["ssh-ed25519 AAAA", "ssh-rsa BBBB"]
    keys.tell(["ssh-ed25519 CCCC"])
    assert keys.known() == ["ssh-ed25519 CCCC"]
    keys.tell([])
    assert keys.known() == ["ssh-ed25519 CCCC"]


def test_servers_and_labs_are_apart() -> None:
    one, other, elsewhere = HostKeys("blue", "i-1"), HostKeys("blue", "i-12"), HostKeys("green", "i-1")
    one.tell(["ssh-ed25519 AAAA"])
    other.tell(["ssh-ed25519 BBBB"])
    assert (one.known(), other.known(), elsewhere.known()) == (["ssh-ed25519 AAAA"], ["ssh-ed25519 BBBB"], [])


def test_many_may_tell_at_once(home: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: HostKeys("blue", "i-1").tell([f"ssh-ed25519 {n}"]), range(50)))
    assert len(HostKeys("blue", "i-1").known()) == 1
    host_keys.forget("blue")
    host_keys.forget("blue")
    assert [path for path in home.rglob("*") if path.is_file()] == []


def test_fingerprints_are_those_of_ssh_keygen(tmp_path: Path) -> None:
    import subprocess

    public = make_key(tmp_path / "key")
    told = subprocess.run(["ssh-keygen", "-lf", str(tmp_path / "key.pub")], capture_output=True, text=True, check=True)
    keys = HostKeys("blue", "i-1")
    keys.tell([public])
    assert keys.fingerprints() == [f"ssh-ed25519 {told.stdout.split()[1]}"]
