"""Whether a container belongs in the catalog, in whatever order events and inspections arrive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecsconsul.registrator.container_snapshot import ContainerSnapshot, Event
from ecsconsul.registrator.container_state import ContainerState, Desired, Followup
from ecsconsul.registrator.rules import Container

STARTED = 100


def snapshot(**fields: object) -> ContainerSnapshot:
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
    return ContainerSnapshot(**{**known, **fields})  # type: ignore[arg-type]


def event(action: str, at: int = STARTED + 1, **fields: object) -> Event:
    return Event(action, "c1", at, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "desired"),
    [
        ({}, Desired.REGISTERED),
        ({"health": "starting"}, Desired.REGISTERED),
        ({"health": "healthy"}, Desired.REGISTERED),
        ({"health": "unhealthy"}, Desired.DEREGISTERED),
        ({"paused": True}, Desired.DEREGISTERED),
        ({"running": False}, Desired.DEREGISTERED),
        ({"running": False, "exit_code": 137}, Desired.DEREGISTERED),
        ({"running": False, "exit_code": 1}, Desired.DEREGISTERED),
    ],
)
def test_desired_state_of_a_container(fields: dict[str, object], desired: Desired) -> None:
    assert ContainerState(snapshot(**fields)).desired(deregister_failed=True) is desired


@pytest.mark.parametrize(
    ("code", "started_at", "desired"),
    [
        (0, STARTED, Desired.DEREGISTERED),
        (137, STARTED, Desired.DEREGISTERED),
        (143, STARTED, Desired.DEREGISTERED),
        (1, STARTED, Desired.RETAINED),
        (139, STARTED, Desired.RETAINED),
        (1, 0, Desired.DEREGISTERED),  # it never started
    ],
)
def test_on_success_retains_failures(code: int, started_at: int, desired: Desired) -> None:
    ended = snapshot(running=False, exit_code=code, started_at=started_at)
    assert ContainerState(ended).desired(deregister_failed=False) is desired


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
def test_stop_signals(signal: str, stop_signal: str, is_out: bool) -> None:
    container = ContainerState(snapshot(stop_signal=stop_signal))
    assert container.handle(event("kill", signal=signal)) is Followup.RECONCILE
    assert container.handle(event("kill", signal="HUP")) is Followup.RECONCILE
    assert (container.desired(deregister_failed=True) is Desired.DEREGISTERED) is is_out


def test_signal_before_the_first_inspection_counts() -> None:
    container = ContainerState()
    assert container.handle(event("kill", signal="TERM")) is Followup.NONE
    container.update(snapshot())
    assert container.desired(deregister_failed=True) is Desired.DEREGISTERED


def test_restart_ends_a_stop() -> None:
    container = ContainerState(snapshot())
    container.handle(event("kill", at=STARTED + 5, signal="TERM"))
    container.update(snapshot(started_at=STARTED + 10))
    assert container.desired(deregister_failed=True) is Desired.REGISTERED


@pytest.mark.parametrize(
    ("action", "known", "needed"),
    [
        ("start", False, Followup.INSPECT),
        ("start", True, Followup.INSPECT),
        ("die", False, Followup.INSPECT),
        ("die", True, Followup.RECONCILE),
        ("pause", True, Followup.RECONCILE),
        ("pause", False, Followup.INSPECT),
        ("unpause", True, Followup.INSPECT),
        ("health_status", True, Followup.INSPECT),
        ("rename", True, Followup.INSPECT),
        ("connect", True, Followup.INSPECT),
        ("destroy", True, Followup.FORGET),
        ("destroy", False, Followup.FORGET),
    ],
)
def test_followup_of_an_event(action: str, known: bool, needed: Followup) -> None:
    assert ContainerState(snapshot() if known else None).handle(event(action)) is needed


@given(
    st.lists(
        st.tuples(st.sampled_from(["start", "die", "pause", "unpause", "kill"]), st.integers(0, STARTED - 1)),
        max_size=10,
    )
)
def test_events_before_the_last_start_are_ignored(history: list[tuple[str, int]]) -> None:
    container = ContainerState(snapshot())
    for action, at in history:
        assert container.handle(event(action, at, signal="TERM")) in (Followup.NONE, Followup.RECONCILE)
    assert container.desired(deregister_failed=False) is Desired.REGISTERED
    assert container.stopping_since == 0


def test_begin_stop() -> None:
    container = ContainerState(snapshot())
    container.begin_stop(at=5)
    assert container.stopping_since == STARTED
    assert container.desired(deregister_failed=True) is Desired.DEREGISTERED
