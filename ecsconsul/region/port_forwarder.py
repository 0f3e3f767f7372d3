"""Forwards 127.0.0.1:<host_port> to the tasks that ask for that fixed port, wherever they run.

In AWS you open the instance's public address; here the instances have addresses that you wouldn't guess. A connection
goes to the first task that accepts it, so a rolling deployment does not interrupt callers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator, Set
from functools import partial

from ..consul.relay import copy
from ..registrator.http_transport import unix_address
from .runtimes.addresses import LOOPBACK
from .udp_forwarder import UdpForwarder

log = logging.getLogger(__name__)

# Host and port, or the path of a Unix socket.
Endpoint = tuple[str, int] | str
CONNECT_TIMEOUT = 2.0
CALL_TIMEOUT = 5.0


class PortForwarder:
    """All forwarded ports of a lab, in one event loop. `endpoints_of` gives the endpoints of a port, best first."""

    def __init__(
        self,
        endpoints_of: Callable[[int], list[Endpoint]],
        udp_endpoints_of: Callable[[int], list[Endpoint]] = lambda port: [],
    ) -> None:
        self._endpoints_of = endpoints_of
        self._udp_endpoints_of = udp_endpoints_of
        self._servers: dict[int, asyncio.Server] = {}
        self._udp: dict[int, UdpForwarder] = {}
        self._taken: set[int] = set()
        self._taken_udp: set[int] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._changing = asyncio.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="port-forwarder", daemon=True)
        self._thread.start()

    def ports(self) -> tuple[int, ...]:
        """The ports that are forwarded now."""
        return tuple(sorted(self._servers))

    def udp_ports(self) -> tuple[int, ...]:
        """The UDP ports that are forwarded now."""
        return tuple(sorted(self._udp))

    def forward(self, ports: set[int], udp: Set[int] = frozenset()) -> None:
        """Forward these ports and no others. One that is taken is logged, and skipped until it is free."""
        asyncio.run_coroutine_threadsafe(self._forward(ports, udp), self._loop).result(timeout=CALL_TIMEOUT)

    def close(self) -> None:
        """Stop forwarding, and close open connections."""
        self.forward(set())
        asyncio.run_coroutine_threadsafe(self._close_connections(), self._loop).result(timeout=CALL_TIMEOUT)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=CALL_TIMEOUT)
        self._loop.close()

    async def _forward(self, ports: set[int], udp: Set[int]) -> None:
        async with self._changing:
            await self._listen_at(ports)
            await self._receive_at(udp)

    async def _receive_at(self, ports: Set[int]) -> None:
        for port in set(self._udp) - ports:
            self._udp.pop(port).close()
        for port in ports - set(self._udp):
            forwarder = UdpForwarder(partial(self._udp_endpoints_of, port))
            try:
                await self._loop.create_datagram_endpoint(lambda: forwarder, (LOOPBACK, port))  # noqa: B023
                self._udp[port] = forwarder
                self._taken_udp.discard(port)
            except (OSError, OverflowError) as error:
                if port not in self._taken_udp:
                    log.error("cannot forward %s:%s/udp: %s", LOOPBACK, port, _reason(error))
                self._taken_udp.add(port)

    async def _listen_at(self, ports: set[int]) -> None:
        for port in set(self._servers) - ports:
            self._servers.pop(port).close()
        for port in ports - set(self._servers):
            try:
                self._servers[port] = await asyncio.start_server(partial(self._serve, port), LOOPBACK, port)
                self._taken.discard(port)
            except (OSError, OverflowError) as error:
                if port not in self._taken:
                    log.error("cannot forward %s:%s: %s", LOOPBACK, port, _reason(error))
                self._taken.add(port)

    async def _close_connections(self) -> None:
        await _yield_to_loop()
        for writer in self._writers:
            writer.transport.abort()
        serving = asyncio.all_tasks() - {asyncio.current_task()}
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await _yield_to_loop()
        await self._loop.shutdown_default_executor()

    async def _serve(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Join one connection to the first endpoint that accepts it."""
        with self._tracked(writer):
            inner = await self._connect(port)
            if inner is None:
                return
            inner_reader, inner_writer = inner
            with self._tracked(inner_writer):
                await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))

    @contextlib.contextmanager
    def _tracked(self, writer: asyncio.StreamWriter) -> Iterator[None]:
        """Keep track of a connection while it is open, and close it however it ends."""
        self._writers.add(writer)
        try:
            yield
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _connect(self, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        # Looking the endpoints up may wait for a lock, which must not block this loop.
        for endpoint in await asyncio.to_thread(self._endpoints_of, port):
            with contextlib.suppress(OSError, TimeoutError, asyncio.TimeoutError):
                return await asyncio.wait_for(_open(endpoint), CONNECT_TIMEOUT)
        return None


async def _open(endpoint: Endpoint) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if not isinstance(endpoint, str):
        return await asyncio.open_connection(*endpoint)
    with unix_address(endpoint) as path:
        return await asyncio.open_unix_connection(path)


async def _yield_to_loop() -> None:
    """Let the loop create tasks for connections it has just accepted, and drop those that were closed."""
    for _ in range(10):
        await asyncio.sleep(0)


def _reason(error: OSError | OverflowError) -> str:
    """For an OSError the operating system's words alone, since asyncio's repeat the address."""
    return os.strerror(error.errno).lower() if isinstance(error, OSError) and error.errno else str(error)
