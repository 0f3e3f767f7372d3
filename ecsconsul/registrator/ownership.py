"""Ownership tags: which engine, container and registration a service in Consul comes from.

The tag is stored as a tagged address named `registrator`. Unlike service meta, it is invisible to DNS and takes none of
Consul's 64 meta pairs. With it, a restarted Registrator recognizes its own services, even under another host name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .rules import Registration

KEY = "registrator"
ID_DIGITS = 12
DIGEST_DIGITS = 16
# gliderlabs/registrator's ID format: <host>:<container name>:<port>, with :udp appended for UDP
_ID = re.compile(r"(?P<host>.+?):(?P<name>[a-zA-Z0-9][a-zA-Z0-9_.-]+):[0-9]+(?::udp)?")


@dataclass(frozen=True)
class OwnershipTag:
    """`owner` identifies the engine; `digest` covers everything registered except the check's status."""

    owner: str
    container: str  # the first 12 digits of its ID
    digest: str

    def __str__(self) -> str:
        return f"{self.owner}/{self.container}/{self.digest}"


def ownership_tag(owner: str, container: str, registration: Registration) -> OwnershipTag:
    """The tag for a registration."""
    text = json.dumps(registration.payload(), sort_keys=True)
    return OwnershipTag(owner, container[:ID_DIGITS], hashlib.sha256(text.encode()).hexdigest()[:DIGEST_DIGITS])


def with_ownership_tag(payload: dict[str, object], tag: OwnershipTag) -> dict[str, object]:
    """The registration payload with the tag added."""
    return {**payload, "TaggedAddresses": {KEY: {"Address": str(tag), "Port": 0}}}


def read_ownership_tag(service: Mapping[str, Any]) -> OwnershipTag | None:
    """The tag of a service as the agent returns it, or None if it has none."""
    text = ((service.get("TaggedAddresses") or {}).get(KEY) or {}).get("Address") or ""
    owner, _, rest = text.partition("/")
    container, _, digest = rest.partition("/")
    return OwnershipTag(owner, container, digest) if digest else None


def owner_of(engine: str, label: str) -> str:
    """The owner for an engine, narrowed to the containers with the label if one is set."""
    suffix = f"+{hashlib.sha256(label.encode()).hexdigest()[:8]}" if label else ""
    return f"{engine}{suffix}"


def host_of(service_id: str) -> str:
    """The host name in an ID of gliderlabs/registrator's format; "" for any other ID."""
    match = _ID.fullmatch(service_id)
    return match["host"] if match else ""
