"""The mark that a service of ours bears in Consul: whose it is, of which container, and from which registration.

It is a tagged address of the name `registrator`, which neither DNS nor a client of the original's looks at: a pair in
the service's meta would be seen by all who read it, and take one of Consul's 64 places. It makes a Registrator that was
started anew, perhaps under another host name, tell its own services from foreign ones, and ghosts from the living.
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
# the form of an ID that the original makes: <host>:<container name>:<port>, and :udp
_ID = re.compile(r"(?P<host>.+?):(?P<name>[a-zA-Z0-9][a-zA-Z0-9_.-]+):[0-9]+(?::udp)?")


@dataclass(frozen=True)
class OwnershipTag:
    """`owner` is the engine that the container is of, `digest` stands for all that was registered but the status."""

    owner: str
    container: str  # its first 12 digits
    digest: str

    def __str__(self) -> str:
        return f"{self.owner}/{self.container}/{self.digest}"


def ownership_tag(owner: str, container: str, registration: Registration) -> OwnershipTag:
    """The mark of a registration."""
    text = json.dumps(registration.payload(), sort_keys=True)
    return OwnershipTag(owner, container[:ID_DIGITS], hashlib.sha256(text.encode()).hexdigest()[:DIGEST_DIGITS])


def marked(payload: dict[str, object], marker: OwnershipTag) -> dict[str, object]:
    """The payload with the mark."""
    return {**payload, "TaggedAddresses": {KEY: {"Address": str(marker), "Port": 0}}}


def read_ownership_tag(service: Mapping[str, Any]) -> OwnershipTag | None:
    """The mark of a service as the agent holds it; None where it is not one of ours."""
    told = ((service.get("TaggedAddresses") or {}).get(KEY) or {}).get("Address") or ""
    owner, _, rest = told.partition("/")
    container, _, digest = rest.partition("/")
    return OwnershipTag(owner, container, digest) if digest else None


def owner_of(engine: str, label: str) -> str:
    """Whose services are ours: those of this engine's containers, and of those only the ones with the label."""
    filtered = f"+{hashlib.sha256(label.encode()).hexdigest()[:8]}" if label else ""
    return f"{engine}{filtered}"


def host_of(service_id: str) -> str:
    """The host name in an ID of the original's form; "" for any other."""
    match = _ID.fullmatch(service_id)
    return match["host"] if match else ""
