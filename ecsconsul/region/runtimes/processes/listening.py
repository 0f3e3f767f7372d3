"""Finds out where a task's processes really listen: a program may have its port built in, whatever PORT says.

A container's port mapping hides that; a process listens at its instance's address itself.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from ...ecs.model import Binding
from ..addresses import FIRST_DYNAMIC_PORT, LOOPBACK
from ..interface import CannotStart

EVERY_ADDRESS = frozenset({"0.0.0.0", "::"})
# Seconds since the start: before the first look a program has hardly begun, and after the last one it is as it is.
FIRST_LOOK, LAST_LOOK = 0.5, 60.0
# Seconds for which it must have listened elsewhere: at the container port, or at one that nobody has named. A program
# that opens a port for its metrics first opens the one for its clients soon.
SURE_AFTER, LIKELY_AFTER = 1.5, 5.0
# the end of a log is searched for the words of a program whose port is taken
LOG_BYTES = 4096
# C, Python, Go and Java; Node; gunicorn; Flask and Spring
_IN_USE = re.compile(
    r"address (is )?already in use|EADDRINUSE|connection in use|port \d+ (is|was) (already )?in use", re.I
)
_NUMBER = re.compile(r"(?<![\d.])\d{2,5}(?![\d.])")


class Listener(NamedTuple):
    """A socket that waits for clients."""

    address: str
    port: int
    protocol: str


def processes_of(leader: int) -> set[int]:
    """The processes of a task: those of its leader's session, and all descendants."""
    found = {leader}
    with contextlib.suppress(psutil.Error):
        found |= {child.pid for child in psutil.Process(leader).children(recursive=True)}
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            if os.getsid(pid) == leader:
                found.add(pid)
    return found


def listeners_of(pids: Iterable[int]) -> set[Listener]:
    """Where these processes listen, as far as this user may see."""
    found = set()
    for pid in pids:
        with contextlib.suppress(psutil.Error, OSError):
            process = psutil.Process(pid)
            # psutil 6 renamed it
            connections = getattr(process, "net_connections", None) or process.connections
            found |= {one for one in map(_listener, connections(kind="inet")) if one}
    return found


def who_else(port: int, address: str, own: Set[int], tasks: Mapping[int, str]) -> str:
    """Who listens at a port beside the processes `own`, at an address that meets `address` ("": any); "" if nobody.

    `tasks` names the tasks by the process that leads their session.
    """
    try:
        found = psutil.net_connections("inet")
    except (psutil.Error, OSError):
        # macOS tells this to root only
        return ""
    for connection in found:
        one = _listener(connection)
        if one and one.port == port and one.protocol == "tcp" and connection.pid not in own and _meet(one, address):
            return f"{_owner(connection.pid, tasks)} already listens there"
    return ""


def _meet(one: Listener, address: str) -> bool:
    return not address or one.address == address or not EVERY_ADDRESS.isdisjoint((one.address, address))


def _owner(pid: int | None, tasks: Mapping[int, str]) -> str:
    with contextlib.suppress(psutil.Error, OSError):
        if pid:
            return tasks.get(os.getsid(pid)) or f"{psutil.Process(pid).name()} (process {pid})"
    return "another program"


def _listener(connection: Any) -> Listener | None:
    if not connection.laddr or connection.raddr:
        return None
    protocol = "tcp" if connection.type == socket.SOCK_STREAM else "udp"
    if protocol == "tcp" and connection.status != psutil.CONN_LISTEN:
        return None
    return Listener(connection.laddr.ip, connection.laddr.port, protocol)


def elsewhere(bindings: Sequence[Binding], address: str, found: Set[Listener]) -> dict[Binding, Listener]:
    """Where the bindings that nobody listens at are reached instead. Pure.

    It is the container port, which the program has built in, or else the only port that the task listens at. Raises
    nothing: a binding without an answer is left out.
    """
    given = {(one.host_port, one.protocol) for one in bindings}
    silent = [one for one in bindings if not any(_reaches(found, one, address, one.host_port))]
    others = sorted(one for one in found if _is_reachable(one, address))
    moved: dict[Binding, Listener] = {}
    for binding in silent:
        same = [one for one in others if one.protocol == binding.protocol]
        known = [one for port in (binding.host_port, binding.container_port) for one in same if one.port == port]
        free = [one for one in same if (one.port, one.protocol) not in given and one.port < FIRST_DYNAMIC_PORT]
        only = free if binding.protocol == "tcp" and len(silent) == len({one.port for one in free}) == 1 else []
        if best := _best(known or only, address):
            moved[binding] = best
    return moved


def _reaches(found: Iterable[Listener], binding: Binding, address: str, port: int) -> Iterable[bool]:
    ours = {address, *EVERY_ADDRESS}
    return (one.port == port and one.protocol == binding.protocol and one.address in ours for one in found)


def _is_reachable(one: Listener, address: str) -> bool:
    return one.address in (address, LOOPBACK, *EVERY_ADDRESS)


def _best(listeners: Sequence[Listener], address: str) -> Listener | None:
    """The first port's listener, at the instance's own address rather than at the loopback address."""
    if not listeners:
        return None
    same_port = [one for one in listeners if one.port == listeners[0].port]
    return min(same_port, key=lambda one: one.address == LOOPBACK and address != LOOPBACK)


@dataclass
class PortWatch:
    """Watches where one task's processes listen until that is settled.

    `who_else` says who listens at a port and address ("": any) beside some processes; "" if nobody does.
    """

    leader: int
    address: str
    bindings: tuple[Binding, ...]
    log: Path
    who_else: Callable[[int, str, Set[int]], str]
    settled: bool = False
    _given: tuple[Binding, ...] = ()
    _since: dict[Listener, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._given = self.bindings
        self.settled = not self.bindings

    def look(self, age: float) -> bool:
        """Look at what listens `age` seconds after the start; whether `bindings` have changed.

        Raises CannotStart if the program can only be reached where another one is.
        """
        if self.settled or age < FIRST_LOOK:
            return False
        pids = processes_of(self.leader)
        moved = elsewhere(self._given, self.address, found := listeners_of(pids))
        if not found and age > LIKELY_AFTER and (conflict := self.conflict(pids)):
            raise CannotStart(conflict)
        decided = {binding: one for binding, one in moved.items() if self._is_decided(binding, one, age)}
        self.settled = age >= LAST_LOOK or self._is_settled(found, decided)
        real = (_moved(one, decided.get(one), self.address) for one in self._given)
        # whoever can't be seen by now belongs to another user
        bindings = tuple(_seen(one, found, self.address, age >= LAST_LOOK) for one in real)
        if bindings == self.bindings:
            return False
        for one in decided.values():
            if other := self.who_else(one.port, one.address, pids):
                raise CannotStart(_conflict(one.port, other))
        self.bindings = bindings
        return True

    def conflict(self, pids: Set[int] = frozenset()) -> str:
        """Why the program can't listen, if its log says that its port is taken and somebody has it; else ""."""
        text = _end_of(self.log)
        lines = [line for line in text.splitlines() if _IN_USE.search(line)]
        if not lines or self.settled:
            return ""
        named = [int(number) for line in lines for number in _NUMBER.findall(line)]
        for port in [one.host_port for one in self._given if one.host_port == one.requested_port]:
            if other := self.who_else(port, self.address, pids):
                return f"PortInUse: its program can't listen at port {port}: {other}, at every address of this machine"
            if other := self.who_else(port, "", pids):
                return f"PortInUse: its program wants port {port} of every address instead of $HOST alone, but {other}"
        if {one.host_port for one in self._given}.intersection(named):
            # it heeds PORT, and somebody has taken that port meanwhile
            return ""
        for port in dict.fromkeys([*named, *(one.container_port for one in self._given)]):
            if other := self.who_else(port, "", pids):
                return _conflict(port, other)
        return ""

    @property
    def note(self) -> str:
        """Where the program listens instead of where it should; "" if it listens there."""
        pairs = zip(self._given, self.bindings, strict=True)
        return "; ".join(filter(None, (_note(old, new, self.address) for old, new in pairs)))

    def _is_decided(self, binding: Binding, one: Listener, age: float) -> bool:
        since = self._since.setdefault(one, age)
        known = one.port in (binding.host_port, binding.container_port)
        return age - since >= (SURE_AFTER if known else LIKELY_AFTER)

    def _is_settled(self, found: Set[Listener], decided: Mapping[Binding, Listener]) -> bool:
        others = [one for one in self._given if one not in decided]
        return all(any(_reaches(found, one, self.address, one.host_port)) for one in others)


def _moved(binding: Binding, listener: Listener | None, address: str) -> Binding:
    if listener is None:
        return binding
    own = "" if listener.address in (address, *EVERY_ADDRESS) else listener.address
    return replace(binding, host_port=listener.port, host_ip=own)


def _seen(binding: Binding, found: Set[Listener], address: str, is_last: bool) -> Binding:
    """A fixed port with what is known of who listens there; only that is forwarded."""
    if not binding.requested_port:
        return binding
    place = (binding.host_port, binding.protocol)
    at = {one.address for one in found if (one.port, one.protocol) == place}
    seen = is_last or not at.isdisjoint({binding.host_ip or address, *EVERY_ADDRESS})
    return replace(binding, seen=seen, on_loopback=not at.isdisjoint({LOOPBACK, *EVERY_ADDRESS}))


def _note(given: Binding, real: Binding, address: str) -> str:
    if (given.host_port, given.host_ip) == (real.host_port, real.host_ip):
        if not real.fills_machine or address == LOOPBACK:
            return ""
        where = f"port {real.host_port} of every address instead of {address} alone (HOST)"
        return f"its program listens at {where}, so no other task on this machine can have that port"
    where = f"{real.host_ip}:{real.host_port}" if real.host_ip else f"port {real.host_port}"
    expected = f"{address}:{given.host_port}" if real.host_port == given.host_port else f"port {given.host_port}"
    variable = "HOST" if real.host_port == given.host_port else "PORT"
    only = "; in a container nobody could reach it at that address" if real.host_ip else ""
    return f"its program listens at {where} instead of {expected} ({variable}), and is registered there{only}"


def _conflict(port: int, other: str) -> str:
    return f"PortInUse: its program has port {port} built in and doesn't listen at $PORT, but {other}"


def _end_of(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - LOG_BYTES, 0))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
