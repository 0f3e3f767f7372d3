"""A game with real clients and servers, and a directory that says what a test wants."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ecsconsul.errors import LabError
from ecsconsul.gameday import game as game_module
from ecsconsul.gameday import load as load_module
from ecsconsul.gameday.faults import Fault, Injected, Victim, World
from ecsconsul.gameday.figures import Game, document
from ecsconsul.gameday.game import Players
from ecsconsul.gameday.load import Directory, Load, Request

PATIENCE = 60.0


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@dataclass
class Town(Directory):
    """A service's instances, as DNS would list them: in turn, each lookup beginning with another one."""

    servers: dict[str, ThreadingHTTPServer] = field(default_factory=dict)
    listed: list[str] = field(default_factory=list)
    silent: bool = False
    load: Load | None = None
    _turn: int = 0

    def start(self) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        endpoint = f"127.0.0.1:{server.server_port}"
        self.servers[endpoint] = server
        self.listed = [*self.listed, endpoint]
        return endpoint

    def crash(self, endpoint: str) -> None:
        server = self.servers.pop(endpoint)
        server.shutdown()
        server.server_close()

    def until_a_request(self, matches: Callable[[Request], bool]) -> None:
        """Returns once one of the load's requests matches, and it has been seen what is listed now."""
        assert self.load
        end = time.monotonic() + PATIENCE
        while not (any(map(matches, tuple(self.load.requests))) and self.answers[-1].endpoints == {*self.listed}):
            assert time.monotonic() < end
            time.sleep(0.005)

    def now(self, service: str) -> list[str] | None:
        if self.silent:
            return None
        self._turn += 1
        turn = self._turn % max(1, len(self.listed))
        return [*self.listed[turn:], *self.listed[:turn]]


@pytest.fixture
def town() -> Iterator[Town]:
    town = Town("", 0, False, {"web": "web.service.consul."})
    town.start()
    town.start()
    yield town
    for endpoint in list(town.servers):
        town.crash(endpoint)


@pytest.fixture(autouse=True)
def short_calm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(game_module, "CALM", 0.2)
    # an instance that is slow has not failed
    monkeypatch.setattr(load_module, "REQUEST_TIMEOUT", PATIENCE)


def play(town: Town, *faults: Fault, wanted: int = 2) -> Game:
    load = town.load = Load(town, {"web": "/"}, threads=2, rate=200.0)
    world = World("lab", None, lambda: None, None, lambda: "", frozenset)

    def victims(service: str) -> list[Victim]:
        return [Victim(service, endpoint, "task", "1", "i-1") for endpoint in town.listed]

    return Players(world, town, load, {"web": wanted}, victims, lambda text: None).play(faults, [])


def fault(inject: Callable[[Victim], Injected], *, returns: bool = False) -> Fault:
    return Fault("test", "a test", lambda world, victim: inject(victim), returns=returns)


def test_killed_instance_is_retried_elsewhere_until_it_has_left(town: Town) -> None:
    def kill(victim: Victim) -> Injected:
        town.crash(victim.endpoint)

        def leave() -> None:
            # as long as it is listed, its callers meet it
            town.until_a_request(lambda one: one.tries > 1)
            unlisted.append(time.monotonic())
            town.listed = [one for one in town.listed if one != victim.endpoint]
            town.start()

        threading.Thread(target=leave, daemon=True).start()
        return Injected(lambda: True)

    unlisted: list[float] = []
    game = play(town, fault(kill))
    found = document(game)
    [one] = found["outcomes"]
    assert found["failed"] == 0
    assert one["retried"] > 0
    assert game.outcomes[0].left and game.outcomes[0].left >= unlisted[0]
    assert 0 < one["leave_seconds"] <= one["heal_seconds"]


def test_request_has_failed_when_no_record_answers(town: Town) -> None:
    def kill_all(victim: Victim) -> Injected:
        for endpoint in list(town.servers):
            town.crash(endpoint)
        town.listed = [*town.listed]

        def again() -> None:
            town.until_a_request(lambda one: "refused" in one.error.lower())
            town.listed = []
            town.start()
            town.start()

        threading.Thread(target=again, daemon=True).start()
        return Injected(lambda: True)

    found = document(play(town, fault(kill_all)))
    assert found["failed"] > 0
    assert any("refused" in error.lower() for error in found["errors"])


def test_silent_dns_fails_no_request_while_the_instances_run(town: Town) -> None:
    def silence(victim: Victim) -> Injected:
        town.silent = True

        def speak() -> bool:
            town.silent = False
            return True

        return Injected(speak, leaves=False)

    with slowly_noticed():
        found = document(play(town, fault(silence)))
    assert (found["failed"], found["unhealed"]) == (0, 0)


@contextmanager
def slowly_noticed() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(game_module, "DELAY", 0.2)
        yield


def test_service_that_is_listed_nowhere_for_a_moment_fails_no_request(town: Town) -> None:
    """As while a Consul server starts again; what is not listed is as before only when it is listed again."""
    before = list(town.listed)

    def forget(victim: Victim) -> Injected:
        town.listed = []

        def remember() -> None:
            town.until_a_request(lambda one: one.stale)
            listed_again.append(time.monotonic())
            town.listed = before

        threading.Thread(target=remember, daemon=True).start()
        return Injected(lambda: True)

    listed_again: list[float] = []
    game = play(town, fault(forget))
    found = document(game)
    assert (found["failed"], found["unhealed"]) == (0, 0)
    assert found["stale"] > 0
    assert game.outcomes[0].healed and game.outcomes[0].healed >= listed_again[0]


def test_what_is_undone_is_undone_even_if_the_game_is_interrupted(town: Town) -> None:
    undone = threading.Event()

    def freeze(victim: Victim) -> Injected:
        return Injected(lambda: True, undo=undone.set)

    players_pause = game_module.Players._pause

    def interrupt(self: Players, seconds: float) -> None:
        if self._outcomes == [] and seconds == game_module.DELAY:
            raise KeyboardInterrupt
        players_pause(self, seconds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(game_module.Players, "_pause", interrupt)
        with pytest.raises(KeyboardInterrupt):
            play(town, fault(freeze, returns=True))
    assert undone.is_set()


def test_service_that_leaves_again_is_not_as_before(town: Town) -> None:
    """As that of a Consul agent that has just started again, until its first check."""
    before = list(town.listed)
    looks = iter(range(100))

    def flap() -> bool:
        number = next(looks)
        town.listed = before[:1] if 1 <= number < 4 else before
        return True

    found = document(play(town, fault(lambda victim: Injected(flap, leaves=False))))
    assert found["outcomes"][0]["heal_seconds"] > 3 * game_module.DELAY


def test_game_ends_where_the_lab_does_not_heal(town: Town) -> None:
    def lose(victim: Victim) -> Injected:
        town.listed = [one for one in town.listed if one != victim.endpoint]
        return Injected(lambda: True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(game_module, "HEAL_TIMEOUT", 0.3)
        found = document(play(town, fault(lose), fault(lose)))
    assert (found["faults"], found["unhealed"]) == (1, 1)


def test_game_does_not_begin_in_a_lab_that_is_not_complete(town: Town) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(game_module, "HEAL_TIMEOUT", 0.2)
        with pytest.raises(LabError) as refused:
            play(town, fault(lambda victim: Injected(lambda: True)), wanted=3)
    assert "web 2 of 3" in refused.value.why


@pytest.mark.parametrize("moment", ["inject", "undo"])
def test_what_is_injected_is_undone_at_whatever_moment_the_interrupt_comes(town: Town, moment: str) -> None:
    undone = threading.Event()

    def undo() -> None:
        if moment == "undo":
            signal.raise_signal(signal.SIGINT)
        undone.set()

    def freeze(victim: Victim) -> Injected:
        if moment == "inject":
            signal.raise_signal(signal.SIGINT)
        return Injected(lambda: True, undo=undo, leaves=False)

    with pytest.raises(KeyboardInterrupt):
        play(town, fault(freeze, returns=True))
    assert undone.is_set()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
