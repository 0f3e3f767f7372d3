"""Listens to a network interface of this machine, as a hostile network would."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType

from tests.require import require

ETH_P_ALL, ETHERNET, IPV4 = 3, 14, 0x0800
TCP, UDP = 6, 17
SOL_PACKET, PACKET_ADD_MEMBERSHIP, PROMISCUOUS = 263, 1, 1
# socket(7): a buffer beyond the system's limit, so that nothing is lost while a busy machine stalls the thread
SO_RCVBUFFORCE, BUFFER = 33, 16 << 20
CLOSE_SECONDS = 60.0


class Capture:
    """What the packets of some TCP and UDP ports carry, from entering the context to leaving it."""

    def __init__(self, interface: str, ports: set[int]) -> None:
        self.ports: set[int] = set()
        self.content = b""
        self._interface = interface
        self._wanted = ports
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._ended = threading.Event()

    def __enter__(self) -> Capture:
        try:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        except (PermissionError, AttributeError):
            require("root", False, "packets can be captured by root on Linux only")
        self._socket.bind((self._interface, ETH_P_ALL))
        # A bridge shows what passes from one of its members to another only to who asks for it (packet(7)).
        request = struct.pack("iHH8s", socket.if_nametoindex(self._interface), PROMISCUOUS, 0, b"")
        self._socket.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, request)
        self._socket.settimeout(0.1)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(CLOSE_SECONDS)
        self._socket.close()

    def _listen(self) -> None:
        parts = []
        for packet in self._packets():
            if self._ports(packet) & self._wanted:
                self.ports |= self._ports(packet) & self._wanted
                parts.append(packet)
        self.content = b"\n".join(parts)

    def _packets(self) -> Iterator[bytes]:
        """Those that come, and at the end what is still in the buffer."""
        while not self._ended.is_set():
            with suppress(TimeoutError):
                yield self._socket.recv(65535)
        self._socket.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                yield self._socket.recv(65535)

    @staticmethod
    def _ports(packet: bytes) -> set[int]:
        """Source and destination of a TCP or UDP packet over IPv4 (RFC 791); empty for any other."""
        kind, header = struct.unpack_from("!H", packet, 12)[0], packet[ETHERNET:]
        if kind != IPV4 or header[9] not in (TCP, UDP):
            return set()
        return set(struct.unpack_from("!HH", header, (header[0] & 0x0F) * 4))
