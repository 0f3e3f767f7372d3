"""Doors to the lab: 127.0.0.1:<port> leads to the tasks that ask for that host port, wherever they run.

In AWS one opens the instance's public address; here the instances have addresses that nobody would guess.
A door tries the tasks in turn, so that a rolling deployment behind it is not felt in front of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from functools import partial

from .runtimes.addresses import HOME

log = logging.getLogger(__name__)

Endpoint = tuple[str, int]
CONNECT_TIMEOUT = 2.0
CHUNK = 65536


class PortForwarder:
    """All doors of a lab, in one event loop. `behind` tells the endpoints of a port, the best first."""

    def __init__(self, behind: Callable[[int], list[Endpoint]]) -> None:
        self._behind = behind
        self._servers: dict[int, asyncio.Server] = {}
        self._taken: set[int] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="doors", daemon=True)
        self._thread.start()

    def ports(self) -> tuple[int, ...]:
        """The ports of the open doors."""
        return tuple(sorted(self._servers))

    def open_at(self, ports: set[int]) -> None:
        """Open and close doors so that there is one for each port; one whose port is taken stays shut, and is said."""
        asyncio.run_coroutine_threadsafe(self._open_at(ports), self._loop).result(timeout=5)

    def close(self) -> None:
        """Close all doors, and end what goes through them."""
        self.open_at(set())
        asyncio.run_coroutine_threadsafe(self._end_connections(), self._loop).result(timeout=5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        self._loop.close()

    async def _open_at(self, ports: set[int]) -> None:
        for port in set(self._servers) - ports:
            self._servers.pop(port).close()
        for port in ports - set(self._servers):
            try:
                self._servers[port] = await asyncio.start_server(partial(self._pass, port), HOME, port)
                self._taken.discard(port)
            except (OSError, OverflowError) as error:
                if port not in self._taken:
                    log.error("no door at %s:%s: %s", HOME, port, _reason(error))
                self._taken.add(port)

    async def _end_connections(self) -> None:
        await _some_turns()
        for writer in self._writers:
            writer.transport.abort()
        passing = asyncio.all_tasks() - {asyncio.current_task()}
        for one in passing:
            one.cancel()
        await asyncio.gather(*passing, return_exceptions=True)
        await _some_turns()
        await self._loop.shutdown_default_executor()

    async def _pass(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Join one connection to the first endpoint that takes it."""
        with self._kept(writer):
            inner = await self._connect(port)
            if inner is None:
                return
            inner_reader, inner_writer = inner
            with self._kept(inner_writer):
                await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))

    @contextlib.contextmanager
    def _kept(self, writer: asyncio.StreamWriter) -> Iterator[None]:
        """Known while it is open, and closed in the end however that comes."""
        self._writers.add(writer)
        try:
            yield
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _connect(self, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        # the one who knows may have to wait for its lock: not in this loop
        for address, real_port in await asyncio.to_thread(self._behind, port):
            with contextlib.suppress(OSError, TimeoutError, asyncio.TimeoutError):
                return await asyncio.wait_for(asyncio.open_connection(address, real_port), CONNECT_TIMEOUT)
        return None


async def _some_turns() -> None:
    """Let the loop make tasks of the connections that it has just accepted, and let go of those that were closed."""
    for _ in range(10):
        await asyncio.sleep(0)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the end, and hand the end on; a connection that broke is broken for the other side as well."""
    try:
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.close()


def _reason(error: OSError | OverflowError) -> str:
    """Of an OSError the operating system's words alone, as asyncio's repeat the address."""
    return os.strerror(error.errno).lower() if isinstance(error, OSError) and error.errno else str(error)
