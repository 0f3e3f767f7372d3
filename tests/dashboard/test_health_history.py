"""The history is bounded, and its line holds each value until the next."""

from __future__ import annotations

from msgspec.structs import replace

from ecsconsul.dashboard.health_history import MOST_POINTS, SECONDS, History, sparkline
from ecsconsul.observe.overview import overview
from tests.observe.samples import consul, ecs, endpoint, seen, service


def test_only_changes_are_points_and_old_ones_go_but_for_what_held_then() -> None:
    history = History()
    for at, status in ((0.0, "passing"), (10.0, "passing"), (20.0, "critical"), (900.0, "passing")):
        history.add(overview(replace(seen(at), consul=consul(endpoint(status)))))
    assert history.points("weather", 30.0) == [(0.0, 1, 1), (20.0, 0, 1), (900.0, 1, 1)]
    assert history.points("weather", 900.0) == [(20.0, 0, 1), (900.0, 1, 1)]
    history.add(overview(seen(ecs=ecs(services=(service(name="portal"),)), consul=consul())))
    assert history.points("weather", 30.0) == []


def test_a_service_that_flaps_keeps_the_newest_points() -> None:
    history = History()
    for at in range(MOST_POINTS + 100):
        history.add(overview(replace(seen(float(at)), consul=consul(endpoint("critical" if at % 2 else "passing")))))
    points = history.points("weather", float(MOST_POINTS))
    assert len(points) == MOST_POINTS


def test_line_has_steps_and_says_what_it_shows() -> None:
    found = sparkline([(0.0, 2, 2), (SECONDS / 2, 1, 2)], SECONDS)
    assert 'points="0.0,2.0 0.0,2.0 80.0,2.0 80.0,14.0 160.0,14.0"' in found
    assert "1 of 2 tasks pass; in the last 10 minutes at least 1" in found
    assert sparkline([], 0.0) == ""
