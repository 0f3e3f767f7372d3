"""What follows from what a game day has measured."""

from __future__ import annotations

from ecsconsul.gameday.figures import Answer, Game, Outcome, Request, document, figures, left_at, totals

VICTIM, OTHER = "10.0.0.1:80", "10.0.0.2:80"


def listed(at: float, *endpoints: str, service: str = "web") -> Answer:
    return Answer(at, service, frozenset(endpoints))


def request(at: float, *, tries: int = 1, ok: bool = True, seconds: float = 0.01) -> Request:
    return Request(at, seconds, "web", tries, ok, error="" if ok else "refused")


def test_victim_has_left_with_the_first_answer_without_it() -> None:
    answers = [listed(1, VICTIM, OTHER), listed(2.1, VICTIM), listed(2.4, OTHER, service="api"), listed(2.5, OTHER)]
    assert left_at(answers, VICTIM, "web", began=2) == 2.5


def test_victim_that_is_listed_all_the_time_or_never_was_has_not_left() -> None:
    assert left_at([listed(1, VICTIM), listed(3, VICTIM)], VICTIM, "web", began=2) is None
    assert left_at([listed(1, OTHER), listed(3, OTHER)], VICTIM, "web", began=2) is None


def test_figures_tell_failed_from_retried() -> None:
    found = figures([request(1), request(2, tries=2), request(3, tries=2, ok=False), request(4, seconds=0.5)])
    assert (found["requests"], found["failed"], found["retried"]) == (4, 1, 1)
    assert (found["p50_ms"], found["max_ms"]) == (10.0, 500.0)


def test_without_requests_there_are_no_latencies() -> None:
    assert figures([])["p99_ms"] is None


def game(*outcomes: Outcome, requests: list[Request]) -> Game:
    return Game(outcomes, requests, [], [("fill-disk", "none")], 0.0, 20.0, {"lab": "x"})


def outcome(began: float, ended: float, *, left: float | None = None, healed: float | None = None) -> Outcome:
    return Outcome("kill-task", "killed", "web", VICTIM, began, ended, left, healed)


def test_fault_has_the_requests_that_were_in_flight_during_it() -> None:
    requests = [request(0.5, seconds=1.0), request(0.5), request(2.5, ok=False), request(4)]
    found = document(game(outcome(1, 3, left=1.25, healed=2.5), requests=requests))
    [one] = found["outcomes"]
    assert (one["requests"], one["failed"]) == (2, 1)
    assert (one["leave_seconds"], one["heal_seconds"]) == (0.25, 1.5)
    assert found["errors"] == ["refused"]
    assert found["skipped"] == [{"fault": "fill-disk", "why": "none"}]


def test_totals_are_the_worst_of_all_faults() -> None:
    found = totals(game(outcome(1, 3, left=2, healed=3), outcome(5, 9, healed=8), outcome(10, 12), requests=[]))
    assert (found["faults"], found["unhealed"]) == (3, 1)
    assert (found["leave_max"], found["heal_max"]) == (1.0, 3.0)
