"""Replaces the gossip key and the tokens of a running Consul: the requests of a rotation, each safe to repeat.

Both generations are valid from `install` to `revoke`, so that agents and tasks can change one after another.
https://developer.hashicorp.com/consul/docs/secure/encryption/gossip/rotate/vm
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar

from ..errors import LabError
from ..polling import PollingPolicy, poll_until
from .acl import (
    ALREADY_THERE,
    ANONYMOUS_ACCESSOR,
    OURS,
    AclRequest,
    acl_requests,
    management_request,
    service_requests,
)
from .catalog import Consul, Refused
from .lab_secrets import MANAGEMENT, LabSecrets, Rotation

KEYRING = "/v1/operator/keyring"
# Consul's answers about a token that is not (or no longer) there.
NO_SUCH_TOKEN = ("ACL not found", "Cannot find token")
# How Consul says that a member hasn't changed its keyring.
NOT_ON_ALL = "nodes reported"
KEYRING_POLICY = PollingPolicy(delay=0.2, attempts=150)
# How Consul describes the token that a leader makes from its configuration, before and since 1.11.
FROM_CONFIGURATION = ("Master Token", "Initial Management Token")

T = TypeVar("T")

# A client with a token.
Connect = Callable[[str], Consul]


def install(connect: Connect, rotation: Rotation, services: Sequence[str]) -> None:
    """Create the new tokens, of `services` too, and encrypt gossip with the new key. Raises LabError."""
    consul = _manager(connect, rotation)
    new = rotation.new
    create_tokens(consul, [management_request(new), *acl_requests(new), *service_requests(new, services)])
    _on_all_nodes(consul, ("post", "put"), rotation.new.gossip_key)


def revoke(connect: Connect, rotation: Rotation) -> None:
    """Delete the old tokens and the old gossip key. Raises LabError."""
    consul = connect(rotation.new.token(MANAGEMENT))
    rings = _when_all_answer(lambda: consul.send("get", KEYRING))
    keys = {key for ring in rings for key in ring.get("Keys") or ()}
    if rotation.old.gossip_key in keys:
        _on_all_nodes(consul, ("delete",), rotation.old.gossip_key)
    first = _self(connect(rotation.old.token(MANAGEMENT)))
    for accessor in _old_tokens(consul.send("get", "/v1/acl/tokens"), rotation.new) | _accessor(first):
        consul.send("delete", f"/v1/acl/token/{accessor}")


def revoke_others(consul: Consul, lab_secrets: LabSecrets) -> None:
    """Delete the tokens of all other generations, which a restored snapshot has brought back. Raises LabError.

    The client must have the management token of these secrets. Tokens that ecsconsul hasn't made stay.
    """
    tokens = consul.send("get", "/v1/acl/tokens")
    management = {one["AccessorID"] for one in tokens if one["Description"] in FROM_CONFIGURATION}
    for accessor in (_old_tokens(tokens, lab_secrets) | management) - _accessor(_self(consul)):
        consul.send("delete", f"/v1/acl/token/{accessor}")


def _on_all_nodes(consul: Consul, methods: Sequence[Literal["put", "post", "delete"]], key: str) -> None:
    """Change the keyring of all members. Raises LabError."""

    def change() -> None:
        for method in methods:
            consul.send(method, KEYRING, {"Key": key})

    _when_all_answer(change)


def _when_all_answer(ask: Callable[[], T]) -> T:
    """What Consul says of the keyrings, asked again as long as a member doesn't answer. Raises LabError.

    One that has only just joined doesn't answer yet, or hasn't got the key of the request before.
    """
    last: LabError | None = None

    def answer() -> tuple[T] | None:
        nonlocal last
        try:
            return (ask(),)
        except Refused as refusal:
            if NOT_ON_ALL not in refusal.why:
                raise
            last = refusal
            return None

    try:
        # Consul has no event for it
        return poll_until(answer, KEYRING_POLICY, time.sleep)[0]
    except TimeoutError as error:
        raise last or error from error


def is_known(consul: Consul) -> bool:
    """Whether Consul knows the client's token. Raises LabError."""
    return _self(consul) is not None


def create_tokens(consul: Consul, requests: Iterable[AclRequest]) -> None:
    """Create policies and tokens, unless they exist. Raises Unreachable, Refused."""
    for path, body in requests:
        try:
            consul.send("put", path, body)
        except Refused as refusal:
            if ALREADY_THERE not in refusal.why:
                raise


def _manager(connect: Connect, rotation: Rotation) -> Consul:
    """A client with a management token that is valid now: the old one until it is revoked."""
    old = connect(rotation.old.token(MANAGEMENT))
    return old if _self(old) else connect(rotation.new.token(MANAGEMENT))


def _old_tokens(tokens: Sequence[Mapping[str, Any]], new: LabSecrets) -> set[str]:
    """The AccessorIDs of all tokens of other generations, also of services that the lab no longer has."""
    ours = [one for one in tokens if one["Description"].startswith(f"{OURS} ")]
    old = {one["AccessorID"] for one in ours if not one["Description"].endswith(f" {new.generation}")}
    return old - {ANONYMOUS_ACCESSOR}


def _accessor(token: Mapping[str, Any] | None) -> set[str]:
    """The token that Consul made from its configuration has a description of Consul's."""
    return {str(token["AccessorID"])} if token else set()


def _self(consul: Consul) -> dict[str, Any] | None:
    """What Consul knows of the client's own token; None if there is no such token."""
    try:
        found: dict[str, Any] = consul.send("get", "/v1/acl/token/self")
    except Refused as refusal:
        if any(words in refusal.why for words in NO_SUCH_TOKEN):
            return None
        raise
    return found
