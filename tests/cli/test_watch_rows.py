"""The lines of watch's screen fit it, and show what is selected."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ecsconsul.cli.watch_rows import Line, Shown, Table, column_widths, screen_lines, scrolled, split, table
from ecsconsul.observe.overview import overview
from ecsconsul.observe.states import Event, Snapshot
from tests.observe.samples import consul, ecs, endpoint, members, seen, service, task

SIZES = [(80, 24), (200, 50), (40, 8)]
NOW = 75.0


def many(number: int) -> Snapshot:
    tasks = [task(id=f"{n:032x}", port=32768 + n) for n in range(number)]
    found = [endpoint(port=32768 + n) for n in range(number)]
    return seen(ecs=ecs(*tasks, services=(service(number, number),)), consul=consul(*found))


def shown(snapshot: Snapshot, **more: object) -> Shown:
    found = overview(snapshot)
    given = {"lab": "lab", "target": "local", "overview": found, "table": table(found)}
    return Shown(**{**given, **more})  # type: ignore[arg-type]


def text(line: Line) -> str:
    return "".join(part for part, _ in line)


def texts(lines: Sequence[Line]) -> list[str]:
    return [text(line).rstrip() for line in lines]


def test_a_task_has_its_endpoint_health_age_revision_and_node() -> None:
    lines = texts(screen_lines(shown(seen()), 80, 24, NOW))
    assert lines[3].split() == ["weather", "1/1", "running", "1", "passing", "weather:1"]
    assert lines[4].split() == ["3f2a0000", "127.0.9.2:32768", "passing", "1m", "weather:1", "i-0a1b"]
    assert lines[0].startswith("lab (local)  1/1 running, 1 passing")
    assert lines[1] == "Consul  leader i-1  1 of 1 members alive  i-1 server"


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("number", [0, 1, 1000])
@pytest.mark.parametrize("help", [False, True])
def test_a_screen_has_exactly_its_lines_and_the_table_fits_80_columns(
    width: int, height: int, number: int, help: bool
) -> None:
    events = [Event(float(n), "task-running", f"event {n}") for n in range(100)]
    lines = screen_lines(shown(many(number), events=events, help=help), width, height, NOW)
    assert len(lines) == height
    assert all(len(text(line)) <= max(width, 80) for line in lines[2:-1])
    assert texts(lines)[-1].startswith("q quit")
    if not help:
        assert "event 99" in texts(lines)[-2]


def test_only_visible_rows_are_in_it() -> None:
    found = shown(many(1000), selected=900, top=890)
    lines = screen_lines(found, 80, 24, NOW)
    assert "rows 891 to 905 of 1001" in text(lines[18])
    [selected] = [line for line in lines if any("reverse" in style for _, style in line)]
    assert f":{32768 + 899}" in text(selected)


@pytest.mark.parametrize(
    ("height", "rows", "expected"), [(24, 4, (4, 15)), (24, 1000, (15, 4)), (50, 1000, (34, 11)), (8, 10, (1, 2))]
)
def test_table_takes_what_it_needs_and_leaves_room_for_events(
    height: int, rows: int, expected: tuple[int, int]
) -> None:
    assert split(height, rows) == expected


def test_the_selected_row_is_scrolled_into_view() -> None:
    assert scrolled(0, 5, 100, 10) == 0
    assert scrolled(0, 10, 100, 10) == 1
    assert scrolled(50, 20, 100, 10) == 20
    assert scrolled(90, 95, 96, 10) == 86, "no empty lines at the end"
    assert scrolled(5, 0, 3, 10) == 0


def test_the_selection_stays_with_its_task_and_moves_to_the_next_when_that_has_gone() -> None:
    first, second = task(), task(id="9c1d" + "0" * 28, port=32769, started=11.0)
    both = seen(ecs=ecs(first, second), consul=consul(endpoint(), endpoint(port=32769)))
    before = table(overview(both))
    key = before.items[1].key
    assert before.position(key) == 1
    after = table(overview(seen(ecs=ecs(second), consul=consul(endpoint(port=32769)))))
    assert after.position(key, 1) == 1
    assert after.position(before.items[2].key) == 1
    assert Table((), {}).position(key, 7) == 0


def test_members_that_fail_come_first() -> None:
    line = text(screen_lines(shown(seen(members=members("alive", "failed", leader=""))), 80, 24, NOW)[1])
    assert line == "Consul  no leader  1 of 2 members alive  i-2 server failed"


def test_what_services_say_controls_no_terminal() -> None:
    event = Event(1.0, "service-event", "\x1b[2Jweather\nis\x07 here")
    assert text(screen_lines(shown(seen(), events=[event]), 80, 24, NOW)[6]).endswith("weather is\ufffd here")


def test_columns_share_a_wide_screen() -> None:
    assert sum(column_widths(80)) + len(column_widths(80)) == 80
    assert sum(column_widths(200)) > sum(column_widths(120)) > sum(column_widths(80))


def test_a_source_that_does_not_answer_is_on_the_first_line() -> None:
    assert "ECS does not answer: refused" in text(screen_lines(shown(seen(lost={"ECS": "refused"})), 120, 24, NOW)[0])
