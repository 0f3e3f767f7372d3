"""Where programs that have their port built in are found, and when they cannot be."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Set
from contextlib import closing
from pathlib import Path

import pytest

from ecsconsul.region.ecs.model import Binding
from ecsconsul.region.runtimes.interface import CannotStart
from ecsconsul.region.runtimes.processes.listening import (
    LAST_LOOK,
    LIKELY_AFTER,
    SURE_AFTER,
    Listener,
    PortWatch,
    elsewhere,
    listeners_of,
    processes_of,
    who_else,
)

HOST = "127.9.1.1"
WEB, DNS = Binding(5000, 32768), Binding(53, 32769, "udp")
# a shell, whose child listens at each port
SERVER = """
import socket, subprocess, sys, time
if sys.argv[1] == "parent":
    sys.exit(subprocess.call([sys.executable, "-c", sys.argv[2], "child", *sys.argv[2:]]))
sockets = [socket.create_server((address, int(port))) for address, _, port in (w.partition(":") for w in sys.argv[3:])]
time.sleep(60)
"""


def tcp(port: int, address: str = "0.0.0.0") -> Listener:
    return Listener(address, port, "tcp")


def udp(port: int, address: str = "0.0.0.0") -> Listener:
    return Listener(address, port, "udp")


@pytest.mark.parametrize(
    ("found", "moved"),
    [
        ({tcp(32768)}, {}),
        ({tcp(32768, HOST), tcp(5000)}, {}),
        ({tcp(32768, "::"), tcp(9090)}, {}),
        ({tcp(5000)}, {WEB: tcp(5000)}),
        ({tcp(5000, HOST), tcp(5000, "127.0.0.1")}, {WEB: tcp(5000, HOST)}),
        ({tcp(5000, "127.0.0.1")}, {WEB: tcp(5000, "127.0.0.1")}),
        ({tcp(32768, "127.0.0.1")}, {WEB: tcp(32768, "127.0.0.1")}),
        ({tcp(5000), tcp(9090)}, {WEB: tcp(5000)}),
        ({tcp(8000)}, {WEB: tcp(8000)}),
        ({tcp(8000), tcp(9090)}, {}),
        ({tcp(40000)}, {}),
        ({tcp(5000, "192.0.2.1"), tcp(5000, "::1")}, {}),
        ({udp(5000)}, {}),
        (set(), {}),
    ],
    # the order within a set differs from process to process, and workers must agree on names
    ids=lambda found: " ".join(sorted(map(str, found))),
)
def test_program_is_found_at_its_container_port_or_its_only_one(
    found: Set[Listener], moved: dict[Binding, Listener]
) -> None:
    assert elsewhere([WEB], HOST, found) == moved


def test_each_port_is_found_by_its_protocol() -> None:
    assert elsewhere([WEB, DNS], HOST, {tcp(5000), udp(53), udp(45000)}) == {WEB: tcp(5000), DNS: udp(53)}
    assert elsewhere([WEB, DNS], HOST, {tcp(5000), udp(5353)}) == {WEB: tcp(5000)}, "any UDP socket may be a client's"


def test_two_ports_are_not_guessed_from_one() -> None:
    other = Binding(6000, 32770)
    assert elsewhere([WEB, other], HOST, {tcp(8000)}) == {}
    assert elsewhere([WEB, other], HOST, {tcp(32768), tcp(8000)}) == {other: tcp(8000)}


def free_port() -> int:
    """A free port below those that the kernel hands out."""
    for port in range(20000 + os.getpid() % 5000, 32000):
        with closing(socket.socket()) as probe:
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


@pytest.fixture
def server() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a process in a session of its own, whose child listens."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*addresses: str) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-c", SERVER, "parent", SERVER, *addresses]
        started.append(subprocess.Popen(argv, start_new_session=True))
        return started[-1]

    yield start
    for process in started:
        os.killpg(process.pid, 9)
        process.wait()


def watch(leader: int, log: Path, *bindings: Binding, other: str = "") -> PortWatch:
    return PortWatch(leader, HOST, bindings, log, lambda port, address, own: other)


def test_childs_port_is_taken_once_it_has_listened_long_enough(
    server: Callable[..., subprocess.Popen[bytes]], until: Callable[..., None], tmp_path: Path
) -> None:
    port = free_port()
    leader = server(f"0.0.0.0:{port}").pid
    until(lambda: tcp(port) in listeners_of(processes_of(leader)))
    found = watch(leader, tmp_path / "log", Binding(port, 1))
    assert not found.look(1.0)
    assert not found.look(1.0 + SURE_AFTER / 2)
    assert found.look(1.0 + SURE_AFTER)
    assert found.bindings == (Binding(port, port),)
    assert found.settled
    assert found.note == f"its program listens at port {port} instead of port 1 (PORT), and is registered there"
    assert not found.look(10.0)


def test_unnamed_port_takes_longer_and_the_loopback_address_is_named(
    server: Callable[..., subprocess.Popen[bytes]], until: Callable[..., None], tmp_path: Path
) -> None:
    port = free_port()
    leader = server(f"127.0.0.1:{port}").pid
    until(lambda: tcp(port, "127.0.0.1") in listeners_of(processes_of(leader)))
    found = watch(leader, tmp_path / "log", Binding(2, 1))
    assert not found.look(1.0)
    assert not found.look(1.0 + SURE_AFTER)
    assert found.look(1.0 + LIKELY_AFTER)
    assert found.bindings == (Binding(2, port, host_ip="127.0.0.1"),)
    assert f"listens at 127.0.0.1:{port} instead of port 1 (PORT)" in found.note
    assert "in a container nobody could reach it" in found.note


def test_given_port_settles_it(
    server: Callable[..., subprocess.Popen[bytes]], until: Callable[..., None], tmp_path: Path
) -> None:
    port = free_port()
    leader = server(f"{HOST}:{port}").pid
    until(lambda: listeners_of(processes_of(leader)))
    found = watch(leader, tmp_path / "log", Binding(80, port))
    assert not found.look(1.0)
    assert (found.settled, found.note) == (True, "")


def test_port_of_another_task_is_refused(
    server: Callable[..., subprocess.Popen[bytes]], until: Callable[..., None], tmp_path: Path
) -> None:
    """As with SO_REUSEPORT, where both can listen."""
    port = free_port()
    leader = server(f"0.0.0.0:{port}").pid
    until(lambda: listeners_of(processes_of(leader)))
    found = watch(leader, tmp_path / "log", Binding(port, 1), other="web's task 1 already listens there")
    found.look(1.0)
    with pytest.raises(CannotStart, match=rf"^PortInUse: its program has port {port} built in .* but web's task 1"):
        found.look(1.0 + SURE_AFTER)


@pytest.mark.parametrize(
    ("log", "conflict"),
    [
        ("OSError: [Errno 98] Address already in use\n", 5000),
        ("Error: listen EADDRINUSE: address already in use :::3000\n", 3000),
        ("[ERROR] Connection in use: ('0.0.0.0', 8000)\n", 8000),
        ("Port 7000 is in use by another program.\n", 7000),
        ("address already in use: 32768\n", None),
        ("the house is in use\n", None),
        ("", None),
    ],
)
def test_conflict_is_read_from_the_log(tmp_path: Path, log: str, conflict: int | None) -> None:
    (tmp_path / "log").write_text(log)
    asked: list[int] = []

    def other(port: int, address: str, own: Set[int]) -> str:
        asked.append(port)
        return "" if port == 98 else "somebody listens there"

    text = PortWatch(1, HOST, (WEB,), tmp_path / "log", other).conflict()
    expected = f"PortInUse: its program has port {conflict} built in and doesn't listen at $PORT, but somebody"
    assert text.startswith(expected) if conflict else text == ""


@pytest.mark.parametrize("own", ["", "127.0.0.1", HOST])
def test_conflict_at_a_fixed_port_says_who_listens_everywhere(tmp_path: Path, own: str) -> None:
    """The log of many a program doesn't name the port."""
    (tmp_path / "log").write_text("OSError: [Errno 98] Address already in use\n")

    def other(port: int, address: str, pids: Set[int]) -> str:
        return "web's task 1 already listens there" if port == 8080 and (own in ("", address) or not address) else ""

    fixed = Binding(5000, 8080, requested_port=8080, seen=False)
    text = PortWatch(1, HOST, (fixed,), tmp_path / "log", other).conflict()
    assert text == (
        "PortInUse: its program wants port 8080 of every address instead of $HOST alone,"
        " but web's task 1 already listens there"
        if own == "127.0.0.1"
        else "PortInUse: its program can't listen at port 8080: web's task 1 already listens there,"
        " at every address of this machine"
    )


@pytest.mark.parametrize(
    ("address", "on_loopback", "note"),
    [("0.0.0.0", True, "of every address instead of 127.9.1.1 alone (HOST)"), (HOST, False, "")],
)
def test_fixed_port_is_forwarded_once_it_is_seen_who_listens_there(
    server: Callable[..., subprocess.Popen[bytes]],
    until: Callable[..., None],
    tmp_path: Path,
    address: str,
    on_loopback: bool,
    note: str,
) -> None:
    port = free_port()
    given = Binding(80, port, requested_port=port, seen=False)
    silent = watch(2**22 + 1, tmp_path / "log", given)
    assert not silent.look(1.0)
    assert not silent.bindings[0].is_forwarded
    leader = server(f"{address}:{port}").pid
    until(lambda: listeners_of(processes_of(leader)))
    found = watch(leader, tmp_path / "log", given)
    assert found.look(1.0)
    assert found.settled
    (real,) = found.bindings
    assert (real.seen, real.fills_machine, real.is_forwarded) == (True, on_loopback, not on_loopback)
    assert note in found.note
    assert bool(found.note) == bool(note)


def test_fixed_port_that_a_program_has_built_in_on_a_shared_address_is_not_forwarded(
    server: Callable[..., subprocess.Popen[bytes]], until: Callable[..., None], tmp_path: Path
) -> None:
    port = free_port()
    leader = server(f"127.0.0.1:{port}").pid
    until(lambda: listeners_of(processes_of(leader)))
    given = Binding(port, 40000, requested_port=port, seen=False)
    found = PortWatch(leader, "127.0.0.1", (given,), tmp_path / "log", lambda port, address, own: "")
    assert not found.look(1.0)
    assert found.look(1.0 + SURE_AFTER)
    assert not found.bindings[0].is_forwarded


def test_fixed_port_of_a_program_that_cannot_be_seen_is_forwarded_at_last(tmp_path: Path) -> None:
    found = watch(2**22 + 1, tmp_path / "log", Binding(80, 8080, requested_port=8080, seen=False))
    assert found.look(LAST_LOOK)
    assert found.bindings[0].is_forwarded


def test_program_that_waits_for_a_taken_port_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("Connection in use: ('0.0.0.0', 5000)\nRetrying in 1 second.\n")
    found = watch(2**22 + 1, tmp_path / "log", WEB, other="somebody")
    assert not found.look(LIKELY_AFTER)
    with pytest.raises(CannotStart, match="but somebody"):
        found.look(LIKELY_AFTER + 1)


def test_looking_ends(tmp_path: Path) -> None:
    found = watch(2**22 + 1, tmp_path / "log", WEB)
    assert not found.look(LAST_LOOK)
    assert found.settled
    assert watch(1, tmp_path / "log").settled, "it has no ports"


def test_who_else_listens_is_named_by_its_task(
    server: Callable[..., subprocess.Popen[bytes]], until: Callable[..., None]
) -> None:
    port = free_port()
    leader = server(f"{HOST}:{port}").pid
    until(lambda: listeners_of(processes_of(leader)))
    assert who_else(port, "", frozenset(), {leader: "web's task 1"}) == "web's task 1 already listens there"
    assert "(process " in who_else(port, "0.0.0.0", frozenset(), {})
    assert who_else(port, "127.9.1.2", frozenset(), {}) == ""
    assert who_else(port, "", processes_of(leader), {}) == ""
