"""The lab's certificate authority, and the certificate of its Consul servers.

Agents need none: servers sign their certificates while they join (auto-encrypt).
https://developer.hashicorp.com/consul/docs/secure/encryption/tls/enable/existing/builtin
"""

from __future__ import annotations

import datetime
import ipaddress
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .catalog import DATACENTER

# The name that agents demand of whoever claims to be a server (verify_server_hostname).
SERVER_NAME = f"server.{DATACENTER}.consul"
LIFETIME = datetime.timedelta(days=10 * 365)
# Clocks of instances differ a little.
CLOCK_SKEW = datetime.timedelta(minutes=5)


class KeyPair(NamedTuple):
    """A certificate and its private key, both as PEM."""

    certificate: str
    key: str


def new_ca(lab: str) -> KeyPair:
    """A certificate authority that signs nothing but this lab's server certificates."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"ecsconsul CA of {lab}")
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    builder = (
        _builder(name, name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return KeyPair(_pem(builder.sign(key, hashes.SHA256())), _key_pem(key))


def server_certificate(ca: KeyPair) -> KeyPair:
    """A certificate for all servers of the lab, signed by its authority; also valid for HTTPS on loopback."""
    authority = x509.load_pem_x509_certificate(ca.certificate.encode())
    authority_key = serialization.load_pem_private_key(ca.key.encode(), None)
    assert isinstance(authority_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName(SERVER_NAME), x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = (
        _builder(_name(SERVER_NAME), authority.subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
    )
    return KeyPair(_pem(builder.sign(authority_key, hashes.SHA256())), _key_pem(key))


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    return x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number(), now - CLOCK_SKEW, now + LIFETIME)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption()).decode()
