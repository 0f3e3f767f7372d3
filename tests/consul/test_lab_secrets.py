"""A lab's secrets: what is derived from what, and that nothing prints them."""

from __future__ import annotations

import base64
import uuid

import msgspec

from ecsconsul.consul.lab_secrets import (
    AGENT,
    MANAGEMENT,
    REGISTRATOR,
    LabSecrets,
    continued,
    new_secrets,
    rotated,
    service_holder,
)

SECRETS = new_secrets("lab")


def test_every_holder_has_a_token_and_an_accessor_of_its_own() -> None:
    holders = [MANAGEMENT, AGENT, REGISTRATOR, service_holder("agent"), service_holder("weather")]
    found = [make(holder) for holder in holders for make in (SECRETS.token, SECRETS.accessor)]
    assert len(set(found)) == len(found)
    assert all(str(uuid.UUID(one)) == one for one in found)


def test_tokens_are_the_same_after_a_restart_and_differ_between_labs() -> None:
    again = msgspec.json.decode(msgspec.json.encode(SECRETS), type=LabSecrets)
    assert again.token(AGENT) == SECRETS.token(AGENT)
    assert new_secrets("lab").token(AGENT) != SECRETS.token(AGENT)


def test_gossip_key_is_one_that_consul_accepts_and_a_given_one_is_kept() -> None:
    assert len(base64.b64decode(SECRETS.gossip_key)) == 32
    assert new_secrets("lab", "given").gossip_key == "given"


def test_a_rotation_is_continued_if_it_is_of_these_secrets() -> None:
    begun = rotated(SECRETS)
    assert continued(begun, begun.old) == begun
    assert continued(begun, begun.new) == begun
    other = new_secrets("lab")
    for one in (continued(begun, other), continued(None, other)):
        assert one.old == other
        assert one.new.generation != other.generation


def test_secrets_are_not_printed() -> None:
    shown = f"{SECRETS!r} {SECRETS}"
    assert not [value for value in msgspec.structs.asdict(SECRETS).values() if value in shown]
