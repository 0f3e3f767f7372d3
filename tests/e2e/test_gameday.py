"""A game day with a real lab: every fault is injected for real, and no caller that tries the next record notices."""

from __future__ import annotations

import pytest

from tests.e2e.lab import Lab

FAULTS = {
    "processes": ("stop-task", "kill-task", "freeze-task", "kill-agent", "cut-network", "kill-leader"),
    "docker": ("kill-task", "freeze-task", "kill-agent"),
}
LEAVES = {"stop-task", "kill-task", "freeze-task", "cut-network"}
SECONDS = 600.0


def test_no_request_fails(lab: Lab) -> None:
    faults = FAULTS[lab.runtime]
    words = [word for fault in faults for word in ("--fault", fault)]
    done = lab.run("gameday", "weather", *words, "--assert", "failed == 0", "--page", "game.html", "--output", "json",
                   timeout=SECONDS)  # fmt: skip
    assert done.code == 0, done.err + done.out
    found = done.document
    outcomes = {one["fault"]: one for one in found["outcomes"]}
    assert tuple(outcomes) == faults
    assert all(one["heal_seconds"] is not None for one in outcomes.values())
    assert [name for name in LEAVES.intersection(faults) if outcomes[name]["leave_seconds"] is None] == []
    if lab.runtime == "processes":
        # Docker says when a container is paused, so it has left at once
        assert outcomes["freeze-task"]["retried"] > 0, "it was injected for real"
    assert {one["fault"] for one in found["skipped"]} == set(), "only what was asked for"
    assert "No request failed." in (lab.folder / "game.html").read_text()
    assert len(lab.tasks("weather")) == 1, "scaled back"


@pytest.mark.parametrize("words", [("--fault", "nonsense"), ("--assert", "fialed == 0"), ("--fault", "fill-disk")])
def test_what_cannot_be_played_is_refused_before_anything_is_done(lab: Lab, words: tuple[str, ...]) -> None:
    done = lab.run("gameday", "weather", *words)
    assert (done.code, "Traceback" in done.err) == (2, False)
