"""What a game day has measured, and what follows from it. Pure.

Times are seconds on one clock that never goes back (`time.monotonic`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Request:
    """One request of the load. `tries` counts the SRV records that were tried until one answered; `error` is the last.

    `stale`: DNS listed none or didn't answer, so the records were those of its last answer.
    """

    at: float
    seconds: float
    service: str
    tries: int
    ok: bool
    stale: bool = False
    error: str = ""


@dataclass(frozen=True)
class Answer:
    """What DNS answered, where that differs from the answer before: the endpoints (address:port) of a service."""

    at: float
    service: str
    endpoints: frozenset[str]


@dataclass(frozen=True)
class Outcome:
    """What one fault has done.

    `began` is when it was injected, `ended` when the figures of its requests end. `left` is when DNS no longer listed
    the victim, None if it listed it all the time; `healed` is when all was as before, None if it never was.
    """

    fault: str
    what: str
    service: str
    victim: str
    began: float
    ended: float
    left: float | None
    healed: float | None


@dataclass(frozen=True)
class Game:
    """A whole game day: its faults with their requests, and the faults that could not be injected, with reasons."""

    outcomes: Sequence[Outcome]
    requests: Sequence[Request]
    answers: Sequence[Answer]
    skipped: Sequence[tuple[str, str]]
    began: float
    seconds: float
    facts: dict[str, Any] = field(default_factory=dict)

    def during(self, outcome: Outcome) -> list[Request]:
        """The requests that were in flight while a fault lasted."""
        return [one for one in self.requests if one.at + one.seconds >= outcome.began and one.at <= outcome.ended]


def left_at(answers: Sequence[Answer], victim: str, service: str, began: float) -> float | None:
    """When DNS stopped listing an endpoint; None while it is listed, or if it never was."""
    mine = [one for one in answers if one.service == service]
    after = [one for one in mine if one.at >= began]
    if not any(victim in one.endpoints for one in mine if one.at < began):
        return None
    return next((one.at for one in after if victim not in one.endpoints), None)


def figures(requests: Sequence[Request]) -> dict[str, Any]:
    """Counts and latencies (milliseconds) of requests.

    `failed`: no SRV record's instance answered. `retried`: the first one tried didn't, and another one did.
    """
    latencies = sorted(one.seconds * 1000 for one in requests if one.ok)
    return {
        "requests": len(requests),
        "failed": sum(not one.ok for one in requests),
        "retried": sum(one.ok and one.tries > 1 for one in requests),
        "stale": sum(one.stale for one in requests),
        "p50_ms": _percentile(latencies, 0.50),
        "p99_ms": _percentile(latencies, 0.99),
        "max_ms": _percentile(latencies, 1.0),
    }


def _percentile(ordered: Sequence[float], share: float) -> float | None:
    """By the nearest rank."""
    return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 1) if ordered else None


def totals(game: Game) -> dict[str, Any]:
    """The names that an assertion can use (assertion.py): of all requests, and the worst of all faults."""
    left = [one.left - one.began for one in game.outcomes if one.left is not None]
    healed = [one.healed - one.began for one in game.outcomes if one.healed is not None]
    return {
        **figures(game.requests),
        "faults": len(game.outcomes),
        "unhealed": sum(one.healed is None for one in game.outcomes),
        "leave_max": round(max(left, default=0.0), 3),
        "heal_max": round(max(healed, default=0.0), 3),
    }


def document(game: Game) -> dict[str, Any]:
    """The JSON document (docs/cli.md)."""
    return {
        **game.facts,
        "seconds": round(game.seconds, 1),
        **totals(game),
        "outcomes": [_outcome(game, one) for one in game.outcomes],
        "skipped": [{"fault": fault, "why": why} for fault, why in game.skipped],
        "errors": sorted({one.error for one in game.requests if not one.ok and one.error})[:10],
    }


def _outcome(game: Game, one: Outcome) -> dict[str, Any]:
    return {
        "fault": one.fault,
        "what": one.what,
        "service": one.service,
        "victim": one.victim,
        **figures(game.during(one)),
        "leave_seconds": None if one.left is None else round(one.left - one.began, 3),
        "heal_seconds": None if one.healed is None else round(one.healed - one.began, 3),
    }
