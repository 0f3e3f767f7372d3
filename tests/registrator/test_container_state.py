"""Whether a container belongs into the catalog, from what is known of it in whatever order that came."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecsconsul.registrator.container_snapshot import ContainerSnapshot, Event
from ecsconsul.registrator.container_state import Next, Presence, Watched
from ecsconsul.registrator.rules import Container

STARTED = 100


def facts(**told: object) -> ContainerSnapshot:
    known: dict[str, object] = {
        "container": Container("c1", "web", "web"),
        "running": True,
        "paused": False,
        "health": "none",
        "started_at": STARTED,
        "exit_code": 0,
        "stop_signal": "TERM",
        "shares_network_of": "",
    }
    return ContainerSnapshot(**{**known, **told})  # type: ignore[arg-type]


def event(action: str, at: int = STARTED + 1, **told: object) -> Event:
    return Event(action, "c1", at, **told)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("told", "presence"),
    [
        ({}, Presence.IN),
        ({"health": "starting"}, Presence.IN),
        ({"health": "healthy"}, Presence.IN),
        ({"health": "unhealthy"}, Presence.OUT),
        ({"paused": True}, Presence.OUT),
        ({"running": False}, Presence.OUT),
        ({"running": False, "exit_code": 137}, Presence.OUT),
        ({"running": False, "exit_code": 1}, Presence.OUT),
    ],
)
def test_where_a_container_belongs(told: dict[str, object], presence: Presence) -> None:
    assert Watched(facts(**told)).presence(deregister_failed=True) is presence


@pytest.mark.parametrize(
    ("code", "started_at", "presence"),
    [
        (0, STARTED, Presence.OUT),
        (137, STARTED, Presence.OUT),
        (143, STARTED, Presence.OUT),
        (1, STARTED, Presence.AS_IT_IS),
        (139, STARTED, Presence.AS_IT_IS),
        (1, 0, Presence.OUT),  # it was never started
    ],
)
def test_on_success_a_failure_stays(code: int, started_at: int, presence: Presence) -> None:
    ended = facts(running=False, exit_code=code, started_at=started_at)
    assert Watched(ended).presence(deregister_failed=False) is presence


@pytest.mark.parametrize(
    ("signal", "stop_signal", "is_out"),
    [
        ("TERM", "TERM", True),
        ("KILL", "TERM", True),
        ("INT", "TERM", True),
        ("TERM", "QUIT", True),
        ("QUIT", "QUIT", True),
        ("USR1", "USR1", True),
        ("QUIT", "TERM", False),
        ("HUP", "TERM", False),
        ("USR1", "TERM", False),
        ("WINCH", "TERM", False),
    ],
)
def test_which_signals_are_the_beginning_of_a_stop(signal: str, stop_signal: str, is_out: bool) -> None:
    watched = Watched(facts(stop_signal=stop_signal))
    assert watched.take(event("kill", signal=signal)) is Next.APPLY
    assert watched.take(event("kill", signal="HUP")) is Next.APPLY
    assert (watched.presence(deregister_failed=True) is Presence.OUT) is is_out


def test_a_signal_before_the_first_inspection_is_remembered() -> None:
    watched = Watched()
    assert watched.take(event("kill", signal="TERM")) is Next.NOTHING
    watched.learn(facts())
    assert watched.presence(deregister_failed=True) is Presence.OUT


def test_a_new_start_ends_a_stop() -> None:
    watched = Watched(facts())
    watched.take(event("kill", at=STARTED + 5, signal="TERM"))
    watched.learn(facts(started_at=STARTED + 10))
    assert watched.presence(deregister_failed=True) is Presence.IN


@pytest.mark.parametrize(
    ("action", "known", "needed"),
    [
        ("start", False, Next.INSPECT),
        ("start", True, Next.INSPECT),
        ("die", False, Next.INSPECT),
        ("die", True, Next.APPLY),
        ("pause", True, Next.APPLY),
        ("pause", False, Next.INSPECT),
        ("unpause", True, Next.INSPECT),
        ("health_status", True, Next.INSPECT),
        ("rename", True, Next.INSPECT),
        ("connect", True, Next.INSPECT),
        ("destroy", True, Next.FORGET),
        ("destroy", False, Next.FORGET),
    ],
)
def test_what_an_event_asks_for(action: str, known: bool, needed: Next) -> None:
    assert Watched(facts() if known else None).take(event(action)) is needed


@given(
    st.lists(
        st.tuples(st.sampled_from(["start", "die", "pause", "unpause", "kill"]), st.integers(0, STARTED - 1)),
        max_size=10,
    )
)
def test_what_happened_before_the_last_start_changes_nothing(history: list[tuple[str, int]]) -> None:
    watched = Watched(facts())
    for action, at in history:
        assert watched.take(event(action, at, signal="TERM")) in (Next.NOTHING, Next.APPLY)
    assert watched.presence(deregister_failed=False) is Presence.IN
    assert watched.asked_to_stop_at == 0


def test_asked_by_another_program_is_asked() -> None:
    watched = Watched(facts())
    watched.ask_to_stop(at=5)
    assert watched.asked_to_stop_at == STARTED
    assert watched.presence(deregister_failed=True) is Presence.OUT
