"""Each fault that keeps a name from being found is named in the first line."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from ecsconsul.observe.causes import Asked, Cause, Definition, Facts, Verdict, decide, lines, parse
from ecsconsul.observe.states import STOPPED, Container
from tests.observe.samples import NODE, endpoint, members, service, task

WEATHER = Asked("weather.service.consul.", "weather")
TAGGED = Asked("v2.weather.service.consul.", "weather", "v2")
PULL = "CannotPullContainerError: no image lab/weather:1 was published to this lab"
UNABLE = "(service weather) was unable to place a task because no container instance met all of its requirements."


def stopped(
    code: str = "EssentialContainerExited", reason: str = "Essential container in task exited", **more: Any
) -> Any:
    return task(STOPPED, stop_code=code, reason=reason, stopped=13.0, **more)


def facts(**changed: Any) -> Facts:
    """A lab in which weather is found."""
    fine = Facts(
        asked=WEATHER,
        now=20.0,
        lab="lab",
        configured=("weather", "stock-price"),
        known=("consul", "weather", "stock-price"),
        leader="127.0.9.1:8300",
        members=(*members("alive").members, replace(members("alive").members[0], name=NODE, role="client")),
        service=service(),
        tasks=(task(),),
        registered=(endpoint(),),
        refused={},
        dns_answers=1,
    )
    return replace(fine, **changed)


def member(status: str) -> tuple[Any, ...]:
    return (*members("alive").members, replace(members("alive").members[0], name=NODE, role="client", status=status))


EXITED = replace(stopped(), containers=(Container("weather", STOPPED, exit_code=3),))
MEMORY = f"{UNABLE} Reason: The closest matching container-instance i-1 has insufficient memory available."
NOTHING: dict[str, Any] = {"tasks": (), "registered": (), "dns_answers": 0}
UNKNOWN = Asked("wether.service.consul.", "wether")

FAULTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "no lab": ({"lab_error": "no region"}, "lab-absent", "The lab lab isn't running: no region"),
    "stack failed": (
        {"stack_error": "ROLLBACK_COMPLETE"}, "stack-failed", "The lab's stack has failed: ROLLBACK_COMPLETE",
    ),
    "a typo": (
        {"asked": UNKNOWN, "service": None, **NOTHING},
        "no-such-name", "There is no service wether in the lab lab; did you mean weather?",
    ),
    "another lab's": (
        {"asked": Asked("x", "ledger"), "service": None, "elsewhere": ("shop",), **NOTHING},
        "no-such-name", "There is no service ledger in the lab lab; the lab shop has one",
    ),
    "another datacenter": (
        {"asked": Asked("weather.service.eu.consul.", "weather", datacenter="eu"), "dns_answers": 0},
        "no-such-name", "There is no datacenter eu; the lab lab is dc1",
    ),
    "not deployed": (
        {"service": None, **NOTHING}, "not-deployed",
        "The service weather is in the config, but ECS has no such service",
    ),
    "count 0": (
        {"service": service(0, 0), **NOTHING}, "count-zero",
        "The service weather has a count of 0, so ECS runs no task",
    ),
    "no memory": (
        {"service": service(1, 0, MEMORY), **NOTHING},
        "not-placed", "No task of weather runs, because ECS can't place it: no instance has enough free memory",
    ),
    "no cpu": (
        {"service": service(1, 0, f"{UNABLE} Reason: ... has insufficient CPU units available."), **NOTHING},
        "not-placed", "No task of weather runs, because ECS can't place it: no instance has enough free CPU",
    ),
    "port taken": (
        {"service": service(1, 0, f"{UNABLE} Reason: ... is already using a port required by your task."), **NOTHING},
        "not-placed",
        "No task of weather runs, because ECS can't place it: its fixed host port is taken on every instance",
    ),
    "constraint": (
        {"service": service(1, 0, f"{UNABLE} Reason: ... is missing an attribute required by your task."), **NOTHING},
        "not-placed",
        "No task of weather runs, because ECS can't place it: no instance meets its placement constraints",
    ),
    "image missing": (
        {"service": service(1, 0), **NOTHING, "tasks": (stopped("TaskFailedToStart", PULL),)},
        "image-missing", f"No task of weather runs, because its image can't be had: {PULL}",
    ),
    "task exits": (
        {"service": service(1, 0), **NOTHING, "tasks": (EXITED,), "logs": ("KeyError: 'PROVIDER'",)},
        "task-stopped",
        "No task of weather runs, because its tasks stop with exit code 3: Essential container in task exited",
    ),
    "starting": (
        {"service": service(1, 0), **NOTHING, "tasks": (task("PENDING", port=0),)},
        "starting", "No task of weather runs yet: ECS is starting 1 task",
    ),
    "ignored": (
        {**NOTHING, "tasks": (task(),), "definition": Definition(ignored=True)},
        "ignored", "Task 3f2a0000 of weather is running and not registered: its variable SERVICE_IGNORE says so",
    ),
    "no port": (
        {**NOTHING, "tasks": (task(port=0),), "definition": Definition(publishes=False)},
        "no-port", "Task 3f2a0000 of weather is running and not registered: it publishes no port",
    ),
    "other name": (
        {"registered": (endpoint(name="climate"),), "dns_answers": 0},
        "other-name", "Task 3f2a0000 of weather is running and not registered under this name, but as climate",
    ),
    "registrator down": (
        {**NOTHING, "tasks": (task(),), "registrators": frozenset({"i-other"})},
        "registrator-down", f"Task 3f2a0000 of weather is running and not registered: no Registrator runs on {NODE}",
    ),
    "not registered": (
        {**NOTHING, "tasks": (task(),)},
        "not-registered",
        "Task 3f2a0000 of weather is running and not registered, 10 s after its start: "
        "the Registrator waits for its port, its image's HEALTHCHECK fails, or the Registrator has been stopped",
    ),
    "agent down before it registered": (
        {**NOTHING, "tasks": (task(),), "members": member("failed")},
        "agent-down", f"Task 3f2a0000 of weather is running and not registered: the Consul agent on {NODE} is failed",
    ),
    "check fails": (
        {"registered": (endpoint("critical", output="http: 500 Internal Server Error"),), "dns_answers": 0},
        "not-passing", "No instance of weather is passing: http: 500 Internal Server Error",
    ),
    "agent down": (
        {"registered": (endpoint("critical", output="Serf Health Status: failed"),), "members": member("failed")},
        "agent-down", f"No instance of weather is passing: the Consul agent on {NODE} is failed",
    ),
    "refused": (
        {"refused": {"127.0.9.2:32768": "Connection refused"}},
        "unreachable", "weather is passing in Consul, but can't be reached at 127.0.9.2:32768: Connection refused",
    ),
    "no leader": (
        {"leader": "", "registered": (), "members": members("failed", "alive", "failed", leader="").members},
        "no-leader", "Consul has no leader, so it answers nothing about services",
    ),
    "consul silent": (
        {"consul_error": "Connection refused", "registered": (), "leader": "", "members": ()},
        "consul-silent", "Consul does not answer: Connection refused",
    ),
    "ecs silent": (
        {"ecs_error": "no answer in time", "service": None, **NOTHING}, "ecs-silent",
        "ECS does not answer: no answer in time",
    ),
    "dns silent": ({"dns_error": "timed out"}, "dns-silent", "Consul's DNS does not answer: timed out"),
    "dns empty": (
        {"dns_answers": 0}, "dns-empty",
        "Consul's DNS has no answer for weather.service.consul., although its catalog has 1",
    ),
    "no such tag": (
        {"asked": TAGGED, "dns_answers": 0}, "no-such-tag", "No instance of weather has the tag v2; they have http",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_the_first_line_names_the_fault(fault: str) -> None:
    changed, kind, text = FAULTS[fault]
    verdict = decide(facts(**changed))
    assert verdict.cause is not None
    assert (verdict.cause.kind, verdict.first_line) == (kind, text)
    assert not verdict.cause.partly


def test_all_is_well() -> None:
    verdict = decide(facts())
    assert verdict.cause is None
    assert list(lines(verdict)) == [
        "weather.service.consul. is found: 1 SRV record",
        "  ok    the lab lab is running",
        "  ok    ECS is to run 1 task of lab-weather:1",
        "  ok    1 task running",
        "  ok    Consul answers, and its leader is 127.0.9.1:8300",
        "  ok    1 task registered in Consul",
        "  ok    1 instance passing",
        "  ok    1 instance accepting connections",
    ]


def test_chain_ends_where_it_is_broken_with_the_last_lines_of_the_task() -> None:
    verdict = decide(facts(**FAULTS["task exits"][0]))
    assert list(lines(verdict))[1:] == [
        "  ok    the lab lab is running",
        "  ok    ECS is to run 1 task of lab-weather:1",
        f"  here  {verdict.first_line}",
        "        KeyError: 'PROVIDER'",
    ]


TWO = (task(), task(id="b" * 32, port=32769))
BOTH = (endpoint(), endpoint(port=32769))


@pytest.mark.parametrize(
    ("changed", "kind", "text"),
    [
        (
            {"registered": (endpoint(), endpoint("critical", port=32769, output="http: 500"))},
            "not-passing", "1 of the 2 instances of weather are critical: http: 500",
        ),
        ({"registered": BOTH[:1]}, "not-registered", "Task bbbbbbbb of weather is running and not registered, 10 s"),
        ({"registered": BOTH, "refused": {"127.0.9.2:32769": "refused"}}, "unreachable", "weather is passing"),
        (
            {"tasks": TWO[:1], "registered": BOTH[:1], "service": service(2, 1, MEMORY)},
            "not-placed", "Only 1 of 2 tasks of weather run, because ECS can't place it",
        ),
    ],
)  # fmt: skip
def test_what_holds_only_for_some_is_a_cause_too(changed: dict[str, Any], kind: str, text: str) -> None:
    given = {"service": service(2, 2), "tasks": TWO, "dns_answers": 1, **changed}
    cause = decide(facts(**given)).cause
    assert cause is not None
    assert cause.text.startswith(text)
    assert (cause.kind, cause.partly) == (kind, True)


def test_tasks_that_stop_again_and_again_are_told_from_one_that_only_starts() -> None:
    """The next one runs already, for as long as it takes to fail."""
    given = {**NOTHING, "tasks": (task(), replace(EXITED, id="b" * 32, stopped=19.0)), "logs": ("KeyError",)}
    cause = decide(facts(**given)).cause
    assert cause is not None
    assert cause.text.startswith("No task of weather stays running, because its tasks stop with exit code 3")
    assert cause.details == ("KeyError",)


def test_new_revision_that_is_not_placed_is_named_while_the_old_one_is_found() -> None:
    new = service(1, 1, MEMORY, revision=2)
    cause = decide(facts(service=new)).cause
    assert cause is not None
    assert cause.text == (
        "Of weather's new revision lab-weather:2 only 0 of 1 task run, because ECS can't place it: "
        "no instance has enough free memory"
    )
    assert cause.partly


def test_what_is_broken_altogether_comes_before_what_holds_for_some() -> None:
    given = {"service": service(2, 2), "tasks": TWO, "registered": BOTH[:1], "dns_error": "timed out"}
    cause = decide(facts(**given)).cause
    assert cause is not None
    assert cause.kind == "dns-silent"


def test_a_service_of_somebody_else_is_followed_in_consul() -> None:
    other = Asked("db.service.consul.", "db")
    given = {"asked": other, "service": None, "tasks": (), "known": ("db",), "registered": (endpoint(name="db"),)}
    assert decide(facts(**given)).cause is None
    critical = (endpoint("critical", name="db", output="tcp: refused"),)
    cause = decide(facts(**{**given, "registered": critical})).cause
    assert cause == Cause("not-passing", "No instance of db is passing: tcp: refused", (
        f"127.0.9.2:32768 on {NODE}: tcp: refused",))  # fmt: skip


@pytest.mark.parametrize(
    ("name", "service", "tag"),
    [
        ("weather", "weather", ""),
        ("weather.service", "weather", ""),
        ("weather.service.consul", "weather", ""),
        ("weather.service.consul.", "weather", ""),
        ("weather.service.dc1.consul", "weather", ""),
        ("http.weather.service.consul", "weather", "http"),
        ("_weather._tcp", "weather", ""),
        ("_weather._http.service.consul", "weather", "http"),
        ("service.service.consul", "service", ""),
    ],
)
def test_names(name: str, service: str, tag: str) -> None:
    asked = parse(name)
    assert asked is not None
    assert (asked.service, asked.tag) == (service, tag)
    assert asked.name.endswith(".consul.")


@pytest.mark.parametrize(
    "name", ["", ".", "i-0a1b.node.consul", "www.example.com", "a.b", "x.y.weather.service.consul"]
)
def test_what_is_no_name_of_a_service(name: str) -> None:
    assert parse(name) is None


def test_verdict_without_a_cause_says_what_was_found() -> None:
    assert Verdict(None, ("a", "b")).first_line == "b"
