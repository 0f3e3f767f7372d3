"""Verifies the vendor's OpenPGP signature, with the key that ships beside this module.

The fingerprint below is the one that https://www.hashicorp.com/trust/security publishes. It's the hash of the primary
key, whose own signatures bind the subkey that signs releases and say until when both are valid; the library verifies
those as well. To renew the key, replace the file: its primary key stays the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import LabError
from .binary_source import Untrusted

if TYPE_CHECKING:
    from pysequoia import Cert

VENDOR_KEY = Path(__file__).with_name("hashicorp.asc")
VENDOR_FINGERPRINT = "C874011F0AB405110D02105534365D9472D7468F"
TAMPERED = "try again later, or without the proxy in between; if it stays, tell the vendor"
UPGRADE = "upgrade ecsconsul, which brings the vendor's newest key; or install Consul yourself"


@dataclass(frozen=True)
class SigningKey:
    """An OpenPGP key, armored or binary, that may sign if its primary key has the fingerprint."""

    key: bytes
    fingerprint: str

    def verify(self, signed: bytes, signature: bytes, name: str, now: datetime | None = None) -> None:
        """Raises Untrusted unless `signature` (detached) over `signed`, the file `name`, is this key's.

        The key must also be valid today (`now`), so that a key that the vendor let expire can't sign with a date of
        the past.
        """
        certificate = self._certificate(now or datetime.now(timezone.utc))
        if why := _objection(certificate, signed, signature):
            what = f"The signature of {name} is wrong"
            raise Untrusted(what, where=f"key {self.fingerprint}", why=why, hint=TAMPERED)

    def _certificate(self, now: datetime) -> Cert:
        certificate = _library_certificate(self.key)
        if certificate.fingerprint.upper() != self.fingerprint:
            why = f"its fingerprint is {certificate.fingerprint.upper()}"
            raise Untrusted("The vendor's key is another one", where=f"key {self.fingerprint}", why=why, hint=UPGRADE)
        expires = certificate.expiration
        if expires and expires <= now:
            why = f"it expired on {expires:%Y-%m-%d}"
            raise Untrusted("The vendor's key has expired", where=f"key {self.fingerprint}", why=why, hint=UPGRADE)
        return certificate


def vendor_key() -> SigningKey:
    """The key that the vendor signs its releases with."""
    return SigningKey(VENDOR_KEY.read_bytes(), VENDOR_FINGERPRINT)


def _library_certificate(key: bytes) -> Cert:
    try:
        from pysequoia import Cert
    except ImportError as error:
        # it isn't built for Python 3.10 on macOS (setup.cfg)
        hint = "use Python 3.11 or newer, or install Consul yourself"
        raise LabError("The vendor's signature can't be verified", why=str(error), hint=hint) from error
    return Cert.from_bytes(key)


def _objection(certificate: Cert, signed: bytes, signature: bytes) -> str:
    """Why the signature doesn't count; empty if it does."""
    from pysequoia import Sig, verify

    try:
        valid = verify(bytes=signed, store=lambda _: [certificate], signature=Sig.from_bytes(signature)).valid_sigs
    except (RuntimeError, ValueError) as error:
        # what follows is a stack trace
        return str(error).partition("\n")[0]
    return "" if any(one.certificate == certificate.fingerprint for one in valid) else "another key made it"
