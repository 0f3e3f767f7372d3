"""Forwards datagrams to 127.0.0.1:<host_port> to a task, and the task's answers back.

Whoever sends from one port gets one socket of its own towards the task, so that answers find the way back, as Docker's
proxy does. It is closed when nothing passes for a while.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)

Address = tuple[str, int]
# Docker's proxy keeps a sender's socket as long.
IDLE_SECONDS = 90.0
MAX_SENDERS = 1024
# datagrams of one sender, until there is a socket for them
MAX_EARLY = 16


class UdpForwarder(asyncio.DatagramProtocol):
    """One forwarded port; `endpoints_of` gives its endpoints, best first. Runs in an event loop."""

    def __init__(self, endpoints_of: Callable[[], list[Any]]) -> None:
        self._endpoints_of = endpoints_of
        self._senders: dict[Address, _Sender] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Address) -> None:
        sender = self._senders.get(addr)
        if sender:
            sender.send(data)
        elif len(self._senders) + len(self._tasks) < MAX_SENDERS:
            task = asyncio.ensure_future(self._connect(data, addr))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Stop forwarding."""
        for task in self._tasks:
            task.cancel()
        for sender in list(self._senders.values()):
            sender.close()
        if self.transport:
            self.transport.close()

    async def _connect(self, data: bytes, addr: Address) -> None:
        # Looking the endpoints up may wait for a lock, which must not block this loop.
        endpoints = await asyncio.to_thread(self._endpoints_of)
        if not endpoints:
            return
        sender = self._senders.get(addr)
        if sender is None:
            loop = asyncio.get_running_loop()
            sender = self._new_sender(addr)
            try:
                await loop.create_datagram_endpoint(lambda: sender, remote_addr=endpoints[0])
            except OSError as error:
                log.warning("a datagram can't be forwarded to %s:%s: %s", *endpoints[0], error)
                self._forget(addr, sender)
                return
        sender.send(data)

    def _new_sender(self, addr: Address) -> _Sender:
        sender = _Sender(lambda answer: self._answer(answer, addr), lambda: self._forget(addr, sender))
        # known before it is connected: the next datagram may come meanwhile
        self._senders[addr] = sender
        return sender

    def _forget(self, addr: Address, sender: _Sender) -> None:
        if self._senders.get(addr) is sender:
            del self._senders[addr]

    def _answer(self, data: bytes, addr: Address) -> None:
        if self.transport and not self.transport.is_closing():
            self.transport.sendto(data, addr)


class _Sender(asyncio.DatagramProtocol):
    """The socket towards a task for one sender."""

    def __init__(self, answer: Callable[[bytes], None], closed: Callable[[], Any]) -> None:
        self._answer = answer
        self._closed = closed
        self._transport: asyncio.DatagramTransport | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._early: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        for data in self._early:
            self.send(data)
        self._early = []

    def send(self, data: bytes) -> None:
        if self._transport is None:
            if len(self._early) < MAX_EARLY:
                self._early.append(data)
        elif not self._transport.is_closing():
            self._transport.sendto(data)
            self._stay()

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._answer(data)
        self._stay()

    def error_received(self, exc: Exception) -> None:
        # Nobody listens there any more; the next datagram goes to a task that is there then.
        self.close()

    def close(self) -> None:
        if self._idle:
            self._idle.cancel()
        if self._transport:
            self._transport.close()
        self._closed()

    def _stay(self) -> None:
        if self._idle:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS, self.close)
