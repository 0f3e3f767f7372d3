"""The secrets of a lab's Consul: its certificate authority, gossip key and ACL tokens.

Made once per lab by the prerequisites step. Locally they are a file that only its user may read, in AWS SecureStrings.
"""

from __future__ import annotations

import base64
import os

import msgspec

GOSSIP_KEY_BYTES = 32
SEED_BYTES = 32
# Who holds a token; a service with a `ttl` check holds `service_holder(name)`.
MANAGEMENT, AGENT, REGISTRATOR, MONITORING = "management", "agent", "registrator", "monitoring"


class LabSecrets(msgspec.Struct, frozen=True):
    """Everything that must not be read by others; certificates and keys are PEM."""

    gossip_key: str
    token_seed: str
    ca_certificate: str
    ca_key: str
    server_certificate: str
    server_key: str

    def token(self, holder: str) -> str:
        """The holder's ACL token (its SecretID), a UUID. Derived from the seed, so that none has to be stored."""
        return self._uuid("secret", holder)

    def accessor(self, holder: str) -> str:
        """The public name (AccessorID) of the holder's token, a UUID that does not tell its SecretID."""
        return self._uuid("accessor", holder)

    @property
    def generation(self) -> str:
        """A name for these secrets that does not tell them."""
        import hmac

        return hmac.digest(self.token_seed.encode(), self.gossip_key.encode(), "sha256").hex()[:12]

    def _uuid(self, kind: str, holder: str) -> str:
        # `dig` needs neither module, and would be 3 % slower.
        import hmac
        import uuid

        digest = hmac.digest(self.token_seed.encode(), f"{kind}:{holder}".encode(), "sha256")
        return str(uuid.UUID(bytes=digest[:16], version=4))

    def __repr__(self) -> str:
        return "LabSecrets(...)"


class Rotation(msgspec.Struct, frozen=True):
    """A rotation that has begun: both generations are valid until the old one is revoked."""

    old: LabSecrets
    new: LabSecrets


def service_holder(service: str) -> str:
    """The holder of the token with which a service reports to its own `ttl` check."""
    return f"service:{service}"


def new_secrets(lab: str, gossip_key: str = "") -> LabSecrets:
    """Fresh secrets; an earlier version's gossip key is kept, because running agents use it."""
    from .pki import new_ca, server_certificate

    ca = new_ca(lab)
    server = server_certificate(ca)
    return LabSecrets(gossip_key or new_gossip_key(), new_seed(), ca.certificate, ca.key, *server)


def continued(begun: Rotation | None, current: LabSecrets) -> Rotation:
    """The rotation that has begun, or a new one if there is none of these secrets."""
    if begun and current.generation in (begun.old.generation, begun.new.generation):
        return begun
    return rotated(current)


def rotated(old: LabSecrets) -> Rotation:
    """A rotation to a new gossip key and new tokens; certificates stay, because no secret of theirs is shared."""
    return Rotation(old, msgspec.structs.replace(old, gossip_key=new_gossip_key(), token_seed=new_seed()))


def new_gossip_key() -> str:
    """A key for Consul's `encrypt`: 32 random bytes, base64."""
    return base64.b64encode(os.urandom(GOSSIP_KEY_BYTES)).decode()


def new_seed() -> str:
    """What a lab's tokens are derived from: 32 random bytes, hexadecimal."""
    return os.urandom(SEED_BYTES).hex()
