"""A rotation on a real Consul: both generations are valid, then the new one alone; each part may be repeated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from ecsconsul.consul.catalog import Consul, Refused
from ecsconsul.consul.lab_secrets import AGENT, MANAGEMENT, MONITORING, REGISTRATOR, LabSecrets, rotated, service_holder
from ecsconsul.consul.rotation import _on_all_nodes, _when_all_answer, install, revoke
from tests.secure_consul import SecureConsul, is_refused, secure_consul

Until = Callable[..., None]
SERVICES = ("weather",)
# A service that had a token and is no longer in the config.
DROPPED = "dropped"
HOLDERS = (MANAGEMENT, AGENT, REGISTRATOR, MONITORING, service_holder("weather"))


def knows(consul: SecureConsul, lab_secrets: LabSecrets, holder: str) -> bool:
    """Whether Consul's servers know a holder's token."""
    url = f"http://{consul.server.http}/v1/acl/token/self"
    answer = requests.get(url, headers={"X-Consul-Token": lab_secrets.token(holder)}, timeout=10)
    assert answer.ok or is_refused(answer), answer.text
    return answer.ok


def gossip_keys(consul: SecureConsul, lab_secrets: LabSecrets) -> set[str]:
    consul_of_new = Consul(consul.server.address, consul.server.consul.http, token=lab_secrets.token(MANAGEMENT))
    rings = _when_all_answer(lambda: consul_of_new.send("get", "/v1/operator/keyring"))
    return {key for ring in rings for key in ring["Keys"]}


def test_rotation(tmp_path: Path, until: Until) -> None:
    with secure_consul(tmp_path) as consul:
        until(lambda: consul.client.instance_id in consul.ask_server("catalog/nodes").text)
        rotation = rotated(consul.secrets)
        old, new = rotation.old, rotation.new

        def connect(token: str) -> Consul:
            return Consul(consul.server.address, consul.server.consul.http, token=token)

        for service in ("weather", DROPPED):
            consul.acl.task_environment({"SERVICE_NAME": service, "SERVICE_CHECK_TTL": "9s"}, consul.server)
        for _ in "12":
            install(connect, rotation, SERVICES)
            assert all(knows(consul, each, holder) for each in (old, new) for holder in HOLDERS)
            assert gossip_keys(consul, new) == {old.gossip_key, new.gossip_key}
        consul.instances.use(new)
        for _ in "12":
            revoke(connect, rotation)
            assert [holder for holder in (*HOLDERS, service_holder(DROPPED)) if knows(consul, old, holder)] == []
            assert all(knows(consul, new, holder) for holder in HOLDERS)
            assert gossip_keys(consul, new) == {new.gossip_key}
        # A command that was killed between the last request and its note of it runs all of it again.
        install(connect, rotation, SERVICES)
        revoke(connect, rotation)
        assert knows(consul, new, MANAGEMENT)
        assert consul.client.agent
        before = consul.client.agent
        before.kill()
        until(lambda: consul.client.agent is not before)
        until(lambda: is_alive(consul))


def is_alive(consul: SecureConsul) -> bool:
    """Whether the servers list the restarted agent, which had to sign in with its new token."""
    try:
        found = consul.ask_server(f"health/node/{consul.client.instance_id}").json()
        answers = requests.get(f"http://{consul.client.http}/v1/catalog/nodes", timeout=10).ok
    except requests.RequestException:
        return False
    return answers and [one["Status"] for one in found] == ["passing"]


class Keyring(Consul):
    """Refuses the first requests with these words."""

    def __init__(self, *refusals: str) -> None:
        super().__init__("127.0.0.1", 9)
        self.refusals = list(refusals)
        self.asked: list[str] = []
        self.rings: list[dict[str, Any]] = []

    def send(self, method: str, path: str, body: object = None) -> Any:
        self.asked.append(method)
        if self.refusals:
            raise Refused("Consul rejected the request", where=path, why=self.refusals.pop(0))
        return self.rings


def test_member_that_has_just_joined_gets_the_key_with_the_next_try() -> None:
    keyring = Keyring("500 1 error occurred:\n\t* dc1 (LAN) error: 1/2 nodes reported success")
    _on_all_nodes(keyring, ("post", "put"), "key")
    assert keyring.asked == ["post", "post", "put"]


def test_keyring_is_read_once_all_members_answer() -> None:
    keyring = Keyring("500 1 error occurred:\n\t* dc1 (LAN) error: 1/2 nodes reported success")
    keyring.rings = [{"Keys": {"old": 2}}]
    assert _when_all_answer(lambda: keyring.send("get", "/v1/operator/keyring")) == keyring.rings
    assert keyring.asked == ["get", "get"]


def test_other_refusals_of_the_keyring_are_reported_at_once() -> None:
    with pytest.raises(Refused, match="Consul rejected"):
        _on_all_nodes(Keyring("403 Permission denied"), ("post", "put"), "key")
