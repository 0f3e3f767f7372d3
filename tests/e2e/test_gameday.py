"""A game day with a real lab: every fault is injected for real, and no caller that tries the next record notices."""

from __future__ import annotations

import pytest

from tests.e2e.lab import Lab

FAULTS = ("stop-task", "kill-task", "freeze-task", "kill-agent", "cut-network", "kill-leader")
SECONDS = 300.0


def test_no_request_fails(lab: Lab) -> None:
    words = [word for fault in FAULTS for word in ("--fault", fault)]
    done = lab.run("gameday", "weather", *words, "--assert", "failed == 0", "--page", "game.html", "--output", "json",
                   timeout=SECONDS)  # fmt: skip
    assert done.code == 0, done.err + done.out
    found = done.document
    outcomes = {one["fault"]: one for one in found["outcomes"]}
    assert tuple(outcomes) == FAULTS
    assert all(one["heal_seconds"] is not None for one in outcomes.values())
    left = ("stop-task", "kill-task", "freeze-task", "cut-network")
    assert [name for name in left if outcomes[name]["leave_seconds"] is None] == []
    assert outcomes["freeze-task"]["retried"] > 0, "it was injected for real"
    assert {one["fault"] for one in found["skipped"]} == set(), "only what was asked for"
    assert "No request failed." in (lab.folder / "game.html").read_text()
    assert len(lab.tasks("weather")) == 1, "scaled back"


@pytest.mark.parametrize("words", [("--fault", "nonsense"), ("--assert", "fialed == 0"), ("--fault", "fill-disk")])
def test_what_cannot_be_played_is_refused_before_anything_is_done(lab: Lab, words: tuple[str, ...]) -> None:
    done = lab.run("gameday", "weather", *words)
    assert (done.code, "Traceback" in done.err) == (2, False)
