"""The lab's certificate authority, as a TLS client sees it."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import pytest

from ecsconsul.consul.pki import SERVER_NAME, KeyPair, new_ca, server_certificate


def handshake(folder: Path, server: KeyPair, ca: str, name: str) -> None:
    """A TLS connection to a server with this certificate. Raises ssl.SSLError."""
    (folder / "server.pem").write_text(server.certificate + server.key)
    accepting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    accepting.load_cert_chain(folder / "server.pem")
    ours, theirs = socket.socketpair()

    def accept() -> None:
        try:
            accepting.wrap_socket(theirs, server_side=True).close()
        except OSError:
            theirs.close()

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        ssl.create_default_context(cadata=ca).wrap_socket(ours, server_hostname=name).close()
    finally:
        ours.close()
        thread.join(60)


@pytest.mark.parametrize("name", [SERVER_NAME, "localhost", "127.0.0.1"])
def test_servers_are_trusted_by_their_names(tmp_path: Path, name: str) -> None:
    ca = new_ca("lab")
    handshake(tmp_path, server_certificate(ca), ca.certificate, name)


def test_an_agent_cannot_pass_as_a_server_of_another_name(tmp_path: Path) -> None:
    ca = new_ca("lab")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path, server_certificate(ca), ca.certificate, "server.dc2.consul")


def test_another_labs_server_is_not_trusted(tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path, server_certificate(new_ca("other")), new_ca("lab").certificate, SERVER_NAME)
