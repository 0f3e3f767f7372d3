"""The report as one page that loads nothing: figures, and for each service what its callers and DNS saw over time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from .figures import Answer, Game, Request, document

WIDTH, HEIGHT, LEFT, BOTTOM = 960, 220, 56, 34
# a plot shows as many points as a screen can; failed requests are all shown
MOST_POINTS = 4000
STYLE = """\
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --line: #d5dbe3; --good: #1f7a4d; --bad: #c0262d;
  --fault: #b3541e; --paper: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebf2; --soft: #a3afbf; --line: #3a4452; --good: #5fd39a;
  --bad: #ff7b80; --fault: #ffab73; --paper: #12171e; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto;
  max-width: 62rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
.wide { overflow-x: auto; } .bad { color: var(--bad); } .good { color: var(--good); } .soft { color: var(--soft); }
svg { width: 100%; height: auto; } svg text { fill: var(--soft); font-size: 12px; }
"""


def page(game: Game) -> str:
    """The whole page as HTML."""
    found = document(game)
    title = f"Game day of {found.get('lab', 'a lab')}"
    failed = found["failed"]
    verdict = f"{failed or 'No'} request{'s' if failed > 1 else ''} failed."
    kind = "bad" if found["failed"] or found["unhealed"] else "good"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="{kind}"><strong>{verdict}</strong></p>',
        f'<p class="soft">{escape(_facts(found))}</p>',
        f'<div class="wide">{_table(found)}</div>',
        *(f"<h2>{escape(service)}</h2>{_plot(game, service)}" for service in found.get("services", {})),
        *_skipped(found),
    ]
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{STYLE}</style></head>\n<body><main>\n" + "\n".join(parts) + "\n</main></body></html>\n"
    )


def _facts(found: dict[str, Any]) -> str:
    counts = ", ".join(f"{name} with {count} tasks" for name, count in found.get("services", {}).items())
    where = " ".join(filter(None, (found.get("target", ""), found.get("runtime", ""))))
    return (
        f"{found.get('time', '')} · {where} · {counts} · {found['requests']} requests in {found['seconds']} s,"
        f" {found['retried']} answered by another instance than the first, p99 {found['p99_ms']} ms"
    )


COLUMNS = ("fault", "victim", "requests", "failed", "retried", "leave_seconds", "heal_seconds", "p99_ms")
HEADS = ("fault", "victim", "requests", "failed", "retried", "out of DNS, s", "as before, s", "p99, ms")


def _table(found: dict[str, Any]) -> str:
    head = "".join(f'<th scope="col">{name}</th>' for name in HEADS)
    rows = "".join(f"<tr>{''.join(_cell(one, key) for key in COLUMNS)}</tr>" for one in found["outcomes"])
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _cell(one: dict[str, Any], key: str) -> str:
    text = "–" if one[key] is None else str(one[key])
    if key == "fault":
        return f'<th scope="row">{escape(text)}<br><span class="soft">{escape(one["what"])}</span></th>'
    if key == "victim":
        text = f"{one['service']} {text}"
    return f"<td{' class=bad' if key == 'failed' and one[key] else ''}>{escape(text)}</td>"


def _skipped(found: dict[str, Any]) -> Iterator[str]:
    if found["skipped"]:
        lines = "".join(f"<li>{escape(one['fault'])}: {escape(one['why'])}</li>" for one in found["skipped"])
        yield f"<h2>Not injected</h2><ul>{lines}</ul>"


def _plot(game: Game, service: str) -> str:
    """Latency of each request (failed ones in red), the number of instances in DNS, and the faults."""
    requests = [one for one in game.requests if one.service == service]
    top = max([one.seconds * 1000 for one in requests] + [1.0])
    seconds = max(game.seconds, 0.001)

    def x(at: float) -> float:
        return round(LEFT + (WIDTH - LEFT) * min(max((at - game.began) / seconds, 0.0), 1.0), 1)

    def y(share: float) -> float:
        return round((HEIGHT - BOTTOM) * (1 - share) + 8, 1)

    dots = "".join(
        f'<circle cx="{x(one.at)}" cy="{y(one.seconds * 1000 / top)}" r="{1.6 if one.ok else 3.5}"'
        f' fill="var(--{"good" if one.ok else "bad"})"/>'
        for one in _thinned(requests)
    )
    marks = "".join(
        f'<line x1="{x(one.began)}" x2="{x(one.began)}" y1="8" y2="{HEIGHT - BOTTOM + 8}" stroke="var(--fault)"'
        f' stroke-dasharray="4 3"/><text x="{x(one.began) + 3}" y="{18 + 13 * (number % 2)}">{escape(one.fault)}</text>'
        for number, one in enumerate(game.outcomes)
    )
    listed = [one for one in game.answers if one.service == service]
    most = max([len(one.endpoints) for one in listed] + [1])
    steps = " ".join(f"{x(one.at)},{y(0.9 * len(one.endpoints) / most)}" for one in _changes(listed, game))
    axis = (
        f'<text x="0" y="16">{top:.0f} ms</text><text x="0" y="{HEIGHT - BOTTOM + 8}">0</text>'
        f'<text x="{LEFT}" y="{HEIGHT - 6}">0 s</text>'
        f'<text x="{WIDTH}" y="{HEIGHT - 6}" text-anchor="end">{seconds:.0f} s</text>'
    )
    label = f"Latency of the requests to {service}, and how many instances DNS listed, over time"
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">{axis}{dots}'
        f'<polyline points="{steps}" fill="none" stroke="var(--ink)" stroke-width="1.5"/>{marks}</svg>'
        f'<p class="soft">dots: requests (red: failed); line: instances in DNS, at most {most}</p>'
    )


def _thinned(requests: Sequence[Request]) -> list[Request]:
    every = max(1, len(requests) // MOST_POINTS)
    return [one for number, one in enumerate(requests) if number % every == 0 or not one.ok]


def _changes(answers: Sequence[Answer], game: Game) -> Iterator[Answer]:
    """A stair: each answer that lists another number than the one before, with that one's number just before it."""
    before: Answer | None = None
    for answer in sorted(answers, key=lambda one: one.at):
        if before is None or len(answer.endpoints) != len(before.endpoints):
            if before:
                yield Answer(answer.at, answer.service, before.endpoints)
            yield answer
            before = answer
    if before:
        yield Answer(game.began + game.seconds, before.service, before.endpoints)
