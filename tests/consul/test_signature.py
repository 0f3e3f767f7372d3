"""The vendor's key as it ships, and keys that a test makes."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from pysequoia import Tsk
from pysequoia.packet import PacketPile, SignatureType

from ecsconsul.consul.binary_source import Untrusted
from ecsconsul.consul.signature import VENDOR_FINGERPRINT, VENDOR_KEY, SigningKey, vendor_key
from tests.consul.release_server import KEY, SECRET, signature

SIGNED = b"checksums\n"
NOW = datetime.now(timezone.utc)
# https://www.hashicorp.com/trust/security
PUBLISHED = "C874 011F 0AB4 0511 0D02 1055 3436 5D94 72D7 468F"
SIGNING_SUBKEY = "374ec75b485913604a831cc7c820c6d5cd27ab87"


def key_of(secret: Tsk) -> SigningKey:
    certificate = secret.extract_certificate()
    return SigningKey(bytes(certificate), certificate.fingerprint.upper())


def test_good_signature_passes() -> None:
    KEY.verify(SIGNED, signature(SIGNED), "sums")


@pytest.mark.parametrize("signed", [b"", SIGNED[:-1], SIGNED + b"0"])
def test_other_bytes_are_rejected(signed: bytes) -> None:
    with pytest.raises(Untrusted, match=r"The signature of sums is wrong \(key [0-9A-F]{40}\)"):
        KEY.verify(signed, signature(SIGNED), "sums")


def test_other_signer_is_rejected() -> None:
    with pytest.raises(Untrusted, match="is wrong"):
        KEY.verify(SIGNED, signature(SIGNED, Tsk.generate("other")), "sums")


def test_expired_key_is_rejected() -> None:
    secret = Tsk.generate("short-lived", validity_seconds=3600)
    key, made = key_of(secret), signature(SIGNED, secret)
    key.verify(SIGNED, made, "sums")
    with pytest.raises(Untrusted, match=r"The vendor's key has expired.*it expired on 20") as raised:
        key.verify(SIGNED, made, "sums", NOW + timedelta(hours=2))
    assert "upgrade ecsconsul" in raised.value.hint


def test_key_with_another_fingerprint_is_rejected() -> None:
    """A key file that someone replaced, with its own good signatures."""
    other = Tsk.generate("HashiCorp Security")
    key = SigningKey(bytes(other.extract_certificate()), KEY.fingerprint)
    with pytest.raises(Untrusted, match="The vendor's key is another one"):
        key.verify(SIGNED, signature(SIGNED, other), "sums")


def test_vendors_key_is_the_published_one() -> None:
    assert PUBLISHED.replace(" ", "") == VENDOR_FINGERPRINT
    with pytest.raises(Untrusted, match=f"The signature of sums is wrong .key {VENDOR_FINGERPRINT}"):
        vendor_key().verify(SIGNED, signature(SIGNED), "sums")


def test_vendors_key_contains_the_subkey_that_signs() -> None:
    packets = list(PacketPile.from_bytes(VENDOR_KEY.read_bytes()))
    assert [packet.fingerprint for packet in packets if packet.fingerprint] == [
        VENDOR_FINGERPRINT.lower(),
        SIGNING_SUBKEY,
    ]
    [binding] = [packet for packet in packets if packet.signature_type == SignatureType.SubkeyBinding]
    assert binding.key_flags is not None and binding.key_flags.signing


def test_vendors_key_is_valid_for_a_while() -> None:
    """Fails half a year before the key expires: then ship the vendor's renewed key."""
    with pytest.raises(Untrusted, match="is wrong"):
        vendor_key().verify(SIGNED, signature(SIGNED, SECRET), "sums", NOW + timedelta(days=180))
