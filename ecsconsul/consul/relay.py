"""Joins each TCP connection to a listener on loopback with an endpoint that is chosen for it, in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import socket
from collections.abc import Callable, Iterator, Sequence

from ..errors import LabError, WrongUsage

Address = tuple[str, int]

CONNECT_SECONDS = 5.0
# each takes two of the 1,024 files that a process may have open by default
MOST_CONNECTIONS = 400
CHUNK = 65536


def listen(host: str, port: int) -> socket.socket:
    """A listening socket at a loopback address; port 0 takes a free one. Raises WrongUsage, and LabError if it can't.

    Whoever can connect reaches the service without any further check, so it never listens at other addresses.
    """
    if not _is_loopback(host):
        raise WrongUsage(
            f"{host} isn't a loopback address",
            why="at any other address, others in your network could use the service",
            hint="use 127.0.0.1 or ::1; to let others in, forward the port with `ssh -L` from their machine",
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        is_taken = error.errno == errno.EADDRINUSE
        raise LabError(
            f"Port {port} is taken" if is_taken else f"Can't listen at port {port}",
            where=f"{host}:{port}",
            why="another program listens there" if is_taken else str(error.strerror or error),
            hint="choose another one, or leave it out to get a free one",
        ) from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Relay:
    """Forwards connections. `endpoints` are where one may go, best first, and `reach` is where that is from here.

    Both may take a while and raise LabError, which ends the connection, and which `say` is told.
    """

    def __init__(
        self,
        endpoints: Callable[[], Sequence[Address]],
        reach: Callable[[str, int], Address],
        say: Callable[[str], None],
    ) -> None:
        self._endpoints = endpoints
        self._reach = reach
        self._say = say
        self._last = ""
        self._connections = 0

    async def serve(self, listener: socket.socket) -> None:
        """Accept connections until this is cancelled."""
        serving: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # a coroutine would be a task of asyncio's, which prints a traceback when it's cancelled
            task = asyncio.ensure_future(self._serve(reader, writer))
            serving.add(task)
            task.add_done_callback(serving.discard)

        server = await asyncio.start_server(accept, sock=listener)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            server.close()
            # open connections may never end by themselves
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with _closing(writer), self._counted() as has_room:
            if not has_room:
                self._note(f"more than {MOST_CONNECTIONS} connections at once; refused one")
                return
            inner = await self._connect()
            if inner is None:
                return
            with _closing(inner[1]):
                await asyncio.gather(copy(reader, inner[1]), copy(inner[0], writer))

    @contextlib.contextmanager
    def _counted(self) -> Iterator[bool]:
        self._connections += 1
        try:
            yield self._connections <= MOST_CONNECTIONS
        finally:
            self._connections -= 1

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """A connection to the first endpoint that accepts one; None, and a note, if none does."""
        problems = []
        try:
            endpoints = await asyncio.to_thread(self._endpoints)
        except LabError as error:
            self._note(str(error))
            return None
        for host, port in endpoints:
            try:
                at = await asyncio.to_thread(self._reach, host, port)
                found = await asyncio.wait_for(asyncio.open_connection(*at), CONNECT_SECONDS)
            except LabError as error:
                problems.append(f"{host}:{port}: {error}")
            except (asyncio.TimeoutError, TimeoutError):
                problems.append(f"{host}:{port}: no answer within {CONNECT_SECONDS:g} s")
            except OSError as error:
                problems.append(f"{host}:{port}: {_reason(error)}")
            else:
                self._last = ""
                return found
        self._note("no instance accepts a connection: " + "; ".join(problems))
        return None

    def _note(self, text: str) -> None:
        """Say it, unless it was said last: a client that tries again and again doesn't fill the screen."""
        if text != self._last:
            self._last = text
            self._say(text)


@contextlib.contextmanager
def _closing(writer: asyncio.StreamWriter) -> Iterator[None]:
    try:
        yield
    finally:
        writer.close()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until end of file, and pass that on; a connection that breaks is closed on the other side too."""
    try:
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.close()


def _reason(error: OSError) -> str:
    """The operating system's words alone, since asyncio's repeat the address."""
    import os

    return os.strerror(error.errno).lower() if error.errno else str(error)
