"""Replaces the gossip key and the tokens of a running Consul: the requests of a rotation, each safe to repeat.

Both generations are valid from `install` to `revoke`, so that agents and tasks can change one after another.
https://developer.hashicorp.com/consul/docs/secure/encryption/gossip/rotate/vm
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .acl import ALREADY_THERE, acl_requests, management_request, service_requests
from .catalog import Consul, Refused
from .lab_secrets import AGENT, MANAGEMENT, REGISTRATOR, LabSecrets, Rotation, service_holder

KEYRING = "/v1/operator/keyring"
# Consul's answers about a token that is not (or no longer) there.
NO_SUCH_TOKEN = ("ACL not found", "Cannot find token")


# A client with a token.
Connect = Callable[[str], Consul]


def install(connect: Connect, rotation: Rotation, services: Sequence[str]) -> None:
    """Create the new tokens, of `services` too, and encrypt gossip with the new key. Raises LabError."""
    consul = _manager(connect, rotation)
    for path, body in [
        management_request(rotation.new),
        *acl_requests(rotation.new),
        *service_requests(rotation.new, services),
    ]:
        try:
            consul.send("put", path, body)
        except Refused as refusal:
            if ALREADY_THERE not in refusal.why:
                raise
    consul.send("post", KEYRING, {"Key": rotation.new.gossip_key})
    consul.send("put", KEYRING, {"Key": rotation.new.gossip_key})


def revoke(connect: Connect, rotation: Rotation, services: Sequence[str]) -> None:
    """Delete the old tokens and the old gossip key. Raises LabError."""
    consul = connect(rotation.new.token(MANAGEMENT))
    keys = {key for ring in consul.send("get", KEYRING) for key in ring.get("Keys") or ()}
    if rotation.old.gossip_key in keys:
        consul.send("delete", KEYRING, {"Key": rotation.old.gossip_key})
    for accessor in _accessors(connect, rotation.old, services):
        consul.send("delete", f"/v1/acl/token/{accessor}")


def _manager(connect: Connect, rotation: Rotation) -> Consul:
    """A client with a management token that is valid now: the old one until it is revoked."""
    old = connect(rotation.old.token(MANAGEMENT))
    return old if _self(old) else connect(rotation.new.token(MANAGEMENT))


def _accessors(connect: Connect, lab_secrets: LabSecrets, services: Sequence[str]) -> Iterable[str]:
    """The AccessorIDs of the tokens that exist. A token that Consul made from its configuration has one of its own."""
    for holder in (AGENT, REGISTRATOR, *map(service_holder, services), MANAGEMENT):
        if found := _self(connect(lab_secrets.token(holder))):
            yield str(found["AccessorID"])


def _self(consul: Consul) -> dict[str, Any] | None:
    """What Consul knows of the client's own token; None if there is no such token."""
    try:
        found: dict[str, Any] = consul.send("get", "/v1/acl/token/self")
    except Refused as refusal:
        if any(words in refusal.why for words in NO_SUCH_TOKEN):
            return None
        raise
    return found
