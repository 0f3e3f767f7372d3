"""The report's page: complete, and it loads nothing."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from ecsconsul.gameday.figures import Answer, Game, Outcome, Request
from ecsconsul.gameday.page import page

END, NAME = "10.0.0.1:80", "<script>alert(1)</script>"


def play(*, failed: bool = False) -> Game:
    requests = [Request(n / 10, 0.01, "web", 1, ok=not (failed and n == 30), error="x") for n in range(100)]
    answers = [Answer(0.0, "web", frozenset({END, "b:1"})), Answer(3.2, "web", frozenset({"b:1"}))]
    outcome = Outcome("kill-task", NAME, "web", END, 3.0, 6.0, 3.2, 5.0)
    facts = {"lab": NAME, "target": "local", "runtime": "docker", "services": {"web": 2}, "time": "2026-11-29T12:00:00"}
    return Game([outcome], requests, answers, [("fill-disk", "no quota")], 0.0, 10.0, facts)


def test_page_is_well_formed_and_loads_nothing() -> None:
    text = page(play())
    assert "No request failed." in text
    assert "no quota" in text
    assert re.findall(r"(?:src|href)=|url\(|@import", text) == []
    assert "<script" not in text
    seen: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in ("meta", "br"):
                seen.append(tag)

        def handle_startendtag(self, tag: str, attrs: object) -> None:
            pass

        def handle_endtag(self, tag: str) -> None:
            assert seen.pop() == tag

    Reader().feed(text)
    assert seen == []


def test_failed_requests_stand_out() -> None:
    assert page(play(failed=True)).count('fill="var(--bad)"') == 1
    assert "1 request failed." in page(play(failed=True))
