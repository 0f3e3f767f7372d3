"""One task of a daemon on each active instance."""

from __future__ import annotations

from typing import Any

from ecsconsul.region.ecs.daemons import plan_daemon
from ecsconsul.region.ecs.model import DAEMON, DRAINING, STOPPED, Deployment, Service, Task
from tests.region.ecs.factories import definition, service, task

NOW = 1_000_000.0
TWO = ("i-1", "i-2")


def daemon(**more: Any) -> Service:
    return service(strategy=DAEMON, minimum_healthy_percent=more.pop("floor", 0), maximum_percent=100, **more)


def rolling(**more: Any) -> Service:
    one = daemon(**more)
    one.deployments.insert(0, Deployment("ecs-svc/2", definition(revision=2)))
    return one


def on(instance: str, **more: Any) -> Task:
    return task(instance_id=instance, passing=True, **more)


def test_each_active_instance_gets_a_task() -> None:
    assert plan_daemon(daemon(), [], TWO, (), NOW).start_on == TWO
    assert plan_daemon(daemon(), [on("i-1")], TWO, (), NOW).start_on == ("i-2",)


def test_instance_whose_task_still_stops_waits() -> None:
    stopping = on("i-1", desired_status=STOPPED)
    assert plan_daemon(daemon(), [stopping], ("i-1",), (), NOW).start_on == ()
    stopping.last_status = STOPPED
    assert plan_daemon(daemon(), [stopping], ("i-1",), (), NOW).start_on == ("i-1",)


def test_draining_instance_keeps_its_daemon_until_the_others_have_left() -> None:
    staying = on("i-2", evicted=True)
    assert plan_daemon(daemon(), [on("i-1"), staying], ("i-1",), {"i-2"}, NOW).stop == ()
    ((stopped, _),) = plan_daemon(daemon(), [on("i-1"), staying], ("i-1",), (), NOW).stop
    assert stopped is staying


def test_deployment_stops_the_old_tasks_first() -> None:
    old = [on("i-1"), on("i-2")]
    found = plan_daemon(rolling(), old, TWO, (), NOW)
    assert ([one for one, _ in found.stop], found.start_on) == (old, ())


def test_deployment_keeps_as_many_healthy_as_it_must() -> None:
    old = [on("i-1"), on("i-2")]
    assert [one for one, _ in plan_daemon(rolling(floor=50), old, TWO, (), NOW).stop] == old[:1]


def test_deleted_daemon_stops_everywhere() -> None:
    found = plan_daemon(daemon(status=DRAINING), [on("i-1"), on("i-2")], TWO, (), NOW)
    assert (len(found.stop), found.start_on) == (2, ())


def test_start_waits_for_its_delay() -> None:
    assert plan_daemon(daemon(not_before=NOW + 1), [], TWO, (), NOW).start_on == ()
