"""The health of each service over the last minutes, as a line of steps. Pure but for what it remembers."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from xml.sax.saxutils import escape

from ..observe.overview import Overview

SECONDS = 600.0
# a service that flaps all the time loses its oldest points, not this page's memory
MOST_POINTS = 300
WIDTH, HEIGHT = 160, 28

# when, how many of its tasks passed, and how many were desired
Point = tuple[float, int, int]


class History:
    """Remembers when a service's number of passing tasks changed."""

    def __init__(self) -> None:
        self._points: dict[str, deque[Point]] = {}

    def add(self, seen: Overview) -> None:
        """Take note of a snapshot; services that have gone are forgotten."""
        services = {one.name: one for one in seen.services if one.service}
        self._points = {name: self._points.get(name, deque(maxlen=MOST_POINTS)) for name in services}
        for name, points in self._points.items():
            counts = services[name].passing, services[name].desired
            if not points or points[-1][1:] != counts:
                points.append((seen.time, *counts))

    def points(self, service: str, now: float) -> list[Point]:
        """The points of the last minutes, of which the first may be older: what held when they began."""
        found = list(self._points.get(service, ()))
        old = [point for point in found if point[0] < now - SECONDS]
        return [*old[-1:], *found[len(old) :]]


def sparkline(points: Sequence[Point], now: float) -> str:
    """The points as a small SVG: passing tasks as a line, desired ones as a dotted one."""
    if not points:
        return ""
    most = max(1, *(max(passing, desired) for _, passing, desired in points))
    lowest = min(passing for _, passing, _ in points)
    label = f"{points[-1][1]} of {points[-1][2]} tasks pass; in the last {SECONDS / 60:.0f} minutes at least {lowest}"
    both = {"desired": [(at, count) for at, _, count in points], "line": [(at, count) for at, count, _ in points]}
    lines = "".join(
        f'<polyline class="{name}" fill="none" points="{_steps(line, now, most)}"/>' for name, line in both.items()
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="spark" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}"'
        f' height="{HEIGHT}" role="img" aria-label="{escape(label)}">'
        f'<rect class="plot" x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}"/>{lines}</svg>'
    )


def _steps(points: Sequence[tuple[float, int]], now: float, most: int) -> str:
    def x(time: float) -> float:
        return round(WIDTH * min(max((time - now + SECONDS) / SECONDS, 0.0), 1.0), 1)

    def y(count: int) -> float:
        return round(2 + (HEIGHT - 4) * (1 - count / most), 1)

    found, before = [], points[0][1]
    for time, count in points:
        found += [f"{x(time)},{y(before)}", f"{x(time)},{y(count)}"]
        before = count
    return " ".join([*found, f"{x(now)},{y(before)}"])
