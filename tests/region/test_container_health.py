"""What the results of a container's own check mean, and when it runs."""

from __future__ import annotations

import queue
from collections.abc import Sequence

from ecsconsul.region.container_health import HealthCheck, HealthMonitor, HealthRecord
from ecsconsul.region.ecs.model import HEALTHY, UNHEALTHY, UNKNOWN

TIMEOUT = 30.0
CHECK = HealthCheck(("true",), interval=10.0, retries=2, start_period=25.0)


def test_definition_gives_command_and_numbers() -> None:
    shell = HealthCheck.of({"healthCheck": {"command": ["CMD-SHELL", "a && b"], "interval": 7, "startPeriod": 9}})
    assert shell == HealthCheck(("/bin/sh", "-c", "a && b"), 7.0, 5.0, 3, 9.0)
    assert HealthCheck.of({"healthCheck": {"command": ["CMD", "a", "b"]}}) == HealthCheck(("a", "b"))
    assert HealthCheck.of({}) is None


def test_first_success_is_healthy_even_in_the_start_period() -> None:
    assert HealthRecord(CHECK).add(0.3, ok=True) == HEALTHY


def test_failures_of_the_start_period_do_not_count() -> None:
    record = HealthRecord(CHECK)
    assert [record.add(age, ok=False) for age in (5, 15, 24, 30, 35, 39.9)] == [UNKNOWN] * 6
    assert record.add(40, ok=False) == UNHEALTHY


def test_tries_in_between_do_not_count() -> None:
    record = HealthRecord(HealthCheck(("true",), interval=10.0, retries=2))
    assert [record.add(age / 10, ok=False) for age in range(100)] == [UNKNOWN] * 100
    assert record.add(10, ok=False) == UNKNOWN
    assert record.add(20, ok=False) == UNHEALTHY


def test_success_forgets_failures() -> None:
    record = HealthRecord(CHECK)
    found = [record.add(age, ok=ok) for age, ok in ((1, True), (11, False), (21, True), (31, False), (41, False))]
    assert found == [HEALTHY, HEALTHY, HEALTHY, HEALTHY, UNHEALTHY]
    assert record.add(51, ok=True) == HEALTHY


def test_delay_grows_while_starting_up_to_the_interval() -> None:
    record = HealthRecord(CHECK)
    assert [record.delay(age) for age in (0.0, 2.0, 60.0)] == [0.3, 1.0, 10.0]
    record.add(2.0, ok=True)
    assert record.delay(2.0) == 10.0


def test_monitor_reports_each_change_and_tries_when_it_is_woken() -> None:
    results, reports = queue.Queue[str](), queue.Queue[tuple[str, str]]()

    def probe(words: Sequence[str], timeout: float) -> str:
        return results.get(timeout=TIMEOUT)

    monitor = HealthMonitor(HealthCheck(("true",), interval=3600.0), probe, lambda *report: reports.put(report))
    monitor.start()
    for result in ("not yet", ""):
        results.put(result)
    monitor.wake()
    assert reports.get(timeout=TIMEOUT) == (HEALTHY, "")
    monitor.close()
