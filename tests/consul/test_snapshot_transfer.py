"""Snapshots of a real Consul with ACLs: saved, verified and restored, with the tokens of other generations gone."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from ecsconsul.consul.acl import acl_requests
from ecsconsul.consul.catalog import Consul, Refused
from ecsconsul.consul.lab_secrets import AGENT, MANAGEMENT, LabSecrets, rotated
from ecsconsul.consul.rotation import create_tokens, install, is_known, revoke, revoke_others
from ecsconsul.consul.snapshot_file import life_of, verified
from ecsconsul.consul.snapshot_transfer import name_for, restore, save, scratch
from ecsconsul.errors import LabError, Unreachable
from tests.secure_consul import SecureConsul, secure_consul

Until = Callable[..., None]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureConsul]:
    with secure_consul(tmp_path_factory.mktemp("home")) as found:
        yield found


def connected(lab: SecureConsul, lab_secrets: LabSecrets, holder: str = MANAGEMENT) -> Consul:
    return Consul(lab.server.address, lab.server.consul.http, token=lab_secrets.token(holder))


def key(lab: SecureConsul, lab_secrets: LabSecrets, method: str, value: str = "") -> requests.Response:
    url = f"http://{lab.server.http}/v1/kv/mark"
    return requests.request(
        method,
        url,
        params={"raw": ""},
        headers={"X-Consul-Token": lab_secrets.token(MANAGEMENT)},
        data=value,
        timeout=10,
    )


def test_snapshot_is_saved_to_a_private_file(lab: SecureConsul, tmp_path: Path) -> None:
    consul, path = connected(lab, lab.secrets), tmp_path / "x.snap"
    path.write_text("an older one")
    contents = save(consul, path)
    assert verified(path) == contents
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    name = name_for(consul, contents, lab.secrets)
    assert (name.raft_index, name.life) == (contents.raft_index, life_of(lab.secrets))
    assert (
        name.consul
        == requests.get(
            f"http://{lab.server.http}/v1/agent/self",
            headers={"X-Consul-Token": lab.secrets.token(MANAGEMENT)},
            timeout=10,
        ).json()["Config"]["Version"]
    )


def test_nothing_is_left_of_a_snapshot_that_fails(lab: SecureConsul, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="Permission denied"):
        save(connected(lab, lab.secrets, AGENT), tmp_path / "x.snap")
    with pytest.raises(Unreachable):
        save(Consul("127.0.0.1", 9), tmp_path / "x.snap")
    with pytest.raises(LabError, match="can't be written"):
        save(connected(lab, lab.secrets), tmp_path / "absent" / "x.snap")
    assert list(tmp_path.iterdir()) == []


def test_damaged_snapshot_is_refused_by_consul_too(lab: SecureConsul, tmp_path: Path) -> None:
    path = tmp_path / "x.snap"
    save(connected(lab, lab.secrets), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(LabError, match="Consul rejected the request"):
        restore(connected(lab, lab.secrets), path)
    assert is_known(connected(lab, lab.secrets))


def is_accepted(consul: Consul) -> bool:
    """Whether Consul knows the client's token. A new leader refuses all while its ACLs begin in "legacy mode"."""
    try:
        return is_known(consul)
    except (Refused, Unreachable):
        return False


def test_restore_after_a_rotation(lab: SecureConsul, until: Until, tmp_path: Path) -> None:
    """The data have the old tokens only; a server that restarts makes the management token of its configuration."""
    path, old = tmp_path / "x.snap", lab.secrets
    assert key(lab, old, "PUT", "kept").text == "true"
    save(connected(lab, old), path)
    rotation = rotated(old)
    new = rotation.new
    install(lambda token: Consul(lab.server.address, lab.server.consul.http, token=token), rotation, ("weather",))
    lab.instances.use(new)
    revoke(lambda token: Consul(lab.server.address, lab.server.consul.http, token=token), rotation)
    assert key(lab, new, "DELETE").text == "true"
    restore(connected(lab, new), path)
    assert not is_known(connected(lab, new)), "or no restart would be needed"
    lab.instances.restart_servers()
    until(lambda: is_accepted(connected(lab, new)))
    create_tokens(connected(lab, new), acl_requests(new))
    for _ in "12":
        revoke_others(connected(lab, new), new)
        assert key(lab, new, "GET").text == "kept"
        assert is_known(connected(lab, new, AGENT))
        assert not any(is_known(connected(lab, old, holder)) for holder in (MANAGEMENT, AGENT))


def test_own_tokens_survive(lab: SecureConsul, tmp_path: Path) -> None:
    """Who has made a token with another description keeps it."""
    new = lab.instances._secrets
    consul = connected(lab, new)
    made = consul.send("put", "/v1/acl/token", {"Description": "of the team", "Policies": []})
    revoke_others(consul, new)
    tokens = consul.send("get", "/v1/acl/tokens")
    assert made["AccessorID"] in {one["AccessorID"] for one in tokens}


def test_scratch_is_private_and_ends() -> None:
    with scratch() as path:
        path.write_text("secret")
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.parent.exists()
