"""Decides why a name is not found, from facts that were collected before. Pure.

A name is found if a chain holds: there is such a service, ECS runs tasks for it, they are registered and passing, they
accept connections, and Consul's DNS names them. `decide` follows the chain and stops at the first link that is broken
altogether; if none is, at the first that holds only for some of the tasks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches

import msgspec

from ..consul.catalog import DATACENTER, Member
from .states import RUNNING, STOPPED, Endpoint, Service, Task

LOG_LINES = 5
# what ECS says: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages-list.html
UNPLACED = "was unable to place a task"
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html
FAILED_CODES = ("TaskFailedToStart", "EssentialContainerExited")
# a task that fails again sooner than this after the last one belongs to the same row of failures
ROW_SECONDS = 120.0
NO_IMAGE = ("CannotPullContainerError", "CannotPullImageManifestError", "No such image")
MISSING = (
    (r"insufficient memory|RESOURCE:MEMORY", "no instance has enough free memory"),
    (r"insufficient CPU|RESOURCE:CPU", "no instance has enough free CPU"),
    (r"already using a port|RESOURCE:PORTS", "its fixed host port is taken on every instance"),
    (r"constraint|missing an attribute|ATTRIBUTE", "no instance meets its placement constraints"),
    (r"No Container Instances were found", "the cluster has no instance"),
)


class Asked(msgspec.Struct, frozen=True):
    """A service's name, and the tag and datacenter that its instances must have, "" for any.

    `name` is the whole DNS name.
    """

    name: str
    service: str
    tag: str = ""
    datacenter: str = ""


class Definition(msgspec.Struct, frozen=True):
    """What a task definition says that decides about registration."""

    ignored: bool = False
    publishes: bool = True


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known. A field that ends in `_error` is "" if what it is about works.

    `configured` are the services of the config, `known` those of Consul's catalog, `elsewhere` the other labs that have
    the service. `logs` are the last lines of the task that stopped last. `registered` are the instances of all
    services, `refused` says by an endpoint's address and port why no connection was made, and is without those that
    accepted one; None if none was tried. `registrators` are the nodes with a running Registrator, None where the region
    itself registers.
    """

    asked: Asked
    now: float
    lab: str = "lab"
    configured: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    lab_error: str = ""
    stack_error: str = ""
    ecs_error: str = ""
    consul_error: str = ""
    leader: str = ""
    members: tuple[Member, ...] = ()
    service: Service | None = None
    tasks: tuple[Task, ...] = ()
    definition: Definition = Definition()
    logs: tuple[str, ...] = ()
    registered: tuple[Endpoint, ...] = ()
    registrators: frozenset[str] | None = None
    refused: Mapping[str, str] | None = None
    dns_error: str = ""
    dns_answers: int = 0

    @property
    def endpoints(self) -> list[Endpoint]:
        return [one for one in self.registered if one.service == self.asked.service]

    @property
    def named(self) -> list[Endpoint]:
        """Those that Consul's DNS should name."""
        return [one for one in self.endpoints if one.status != "critical" and self.has_tag(one)]

    def has_tag(self, one: Endpoint) -> bool:
        """Whether an endpoint has the tag that was asked for."""
        return not self.asked.tag or self.asked.tag.lower() in [tag.lower() for tag in one.tags]

    @property
    def running(self) -> list[Task]:
        return [task for task in self.tasks if task.status == RUNNING and task.desired != STOPPED]

    @property
    def last_failed(self) -> Task | None:
        """The task that failed last, of the revision that ECS is to run."""
        revision = self.service.revision if self.service else ""
        failed = [task for task in self.tasks if has_failed(task) and task.revision == revision]
        return max(failed, key=lambda task: task.stopped or 0.0, default=None)


def has_failed(task: Task) -> bool:
    """Whether a task has stopped by itself; ECS stops others when a service is scaled or deployed."""
    return task.status == STOPPED and task.stop_code in FAILED_CODES


class Cause(msgspec.Struct, frozen=True):
    """What is wrong, in one sentence, and what to do about it. `partly`: some instances are found nevertheless."""

    kind: str
    text: str
    details: tuple[str, ...] = ()
    hint: str = ""
    partly: bool = False


class Verdict(msgspec.Struct, frozen=True):
    """The cause, None if all is well, and the links of the chain that hold, up to the broken one."""

    cause: Cause | None
    holds: tuple[str, ...]

    @property
    def first_line(self) -> str:
        return self.cause.text if self.cause else self.holds[-1]


# A link says what holds, or what is wrong.
Link = Callable[[Facts], "str | Cause"]


def decide(facts: Facts) -> Verdict:
    """Follow the chain."""
    holds: list[str] = []
    partial: tuple[Cause, tuple[str, ...]] | None = None
    for link in LINKS:
        found = link(facts)
        if isinstance(found, str):
            holds += [found] if found else []
        elif found.partly:
            partial = partial or (found, tuple(holds))
        else:
            return Verdict(found, tuple(holds))
    return Verdict(*partial) if partial else Verdict(None, tuple(holds))


def parse(name: str, domain: str = "consul") -> Asked | None:
    """What a name asks for; None if it isn't the name of a service.

    weather, weather.service.consul, http.weather.service.dc1.consul and RFC 2782's _weather._tcp are understood:
    https://developer.hashicorp.com/consul/docs/services/discovery/dns-static-lookups
    """
    labels = name.rstrip(".").split(".")
    if labels[-1].lower() == domain and len(labels) > 1:
        labels = labels[:-1]
        if "service" not in labels:
            return None
    kinds = [number for number, label in enumerate(labels) if label.lower() == "service"]
    before, after = (labels[: kinds[-1]], labels[kinds[-1] + 1 :]) if kinds and kinds[-1] else (labels, [])
    if len(after) > 1 or not all(before) or not 1 <= len(before) <= 2:
        return None
    full = ".".join([*before, "service", *after, domain]) + "."
    if len(before) == 2 and all(label.startswith("_") for label in before):
        service, tag = before[0][1:], before[1][1:]
        return Asked(full, service, "" if tag.lower() in ("tcp", "udp") else tag, "".join(after))
    if len(before) == 2 and not kinds:
        return None
    return Asked(full, before[-1], before[0] if len(before) == 2 else "", "".join(after))


# the links


def _lab(facts: Facts) -> str | Cause:
    if facts.lab_error:
        text = f"The lab {facts.lab} isn't running: {facts.lab_error}"
        return Cause("lab-absent", text, hint="`ecsconsul up` starts it")
    if facts.stack_error:
        return Cause("stack-failed", f"The lab's stack has failed: {facts.stack_error}", hint="`ecsconsul up` mends it")
    return f"the lab {facts.lab} is running"


def _name(facts: Facts) -> str | Cause:
    name, datacenter = facts.asked.service, facts.asked.datacenter
    if datacenter.lower() not in ("", DATACENTER):
        return Cause("no-such-name", f"There is no datacenter {datacenter}; the lab {facts.lab} is {DATACENTER}")
    if facts.service or name in facts.configured or name in facts.known:
        return ""
    if facts.consul_error and not facts.known:
        # it may be one that somebody else registers
        return _consul(facts)
    names = sorted({*facts.configured, *facts.known} - {"consul"})
    close = get_close_matches(name, names, n=1)
    mean = f"; did you mean {close[0]}?" if close else ""
    other = "".join(f"; the lab {lab} has one" for lab in facts.elsewhere)
    text = f"There is no service {name} in the lab {facts.lab}{other}{mean}"
    return Cause("no-such-name", text, hint=f"services: {', '.join(names) or 'none'}")


def _service(facts: Facts) -> str | Cause:
    name = facts.asked.service
    if facts.ecs_error:
        return Cause("ecs-silent", f"ECS does not answer: {facts.ecs_error}", partly=bool(facts.named))
    if facts.service is None and name in facts.configured:
        text = f"The service {name} is in the config, but ECS has no such service"
        return Cause("not-deployed", text, hint="`ecsconsul up` creates it")
    if facts.service is None:
        return f"{name} is no ECS service of this lab; something else has registered it in Consul"
    if facts.service.desired == 0:
        text = f"The service {name} has a count of 0, so ECS runs no task"
        return Cause("count-zero", text, hint=f"`ecsconsul scale {name}=1` starts one")
    return f"ECS is to run {_tasks(facts.service.desired)} of {facts.service.revision}"


def _placement(facts: Facts) -> str | Cause:
    service = facts.service
    if service is None:
        return ""
    running = [task for task in facts.running if task.revision == service.revision]
    if len(running) >= service.desired:
        return f"{_tasks(len(facts.running))} running"
    lead, partly = _lead(facts, service, len(running)), bool(facts.running)
    # what starts now only needs time, unless it has failed before
    starting = [task for task in facts.tasks if task.status not in (RUNNING, STOPPED) and task.desired == RUNNING]
    failed = facts.last_failed
    unplaced = next((one for one in service.events if UNPLACED in one.text), None)
    if unplaced and not starting and (failed is None or unplaced.time >= (failed.stopped or 0.0)):
        return _unplaced(lead, unplaced.text, partly=partly)
    if failed:
        return _stopped(lead, facts, failed, partly=partly)
    details = tuple(event.text for event in service.events[:1])
    return Cause("starting", f"{lead} yet: ECS is starting {_tasks(len(starting))}", details, partly=partly)


def _lead(facts: Facts, service: Service, running: int) -> str:
    if not facts.running:
        return f"No task of {service.name} runs"
    if len(facts.running) > running:
        return f"Of {service.name}'s new revision {service.revision} only {running} of {_tasks(service.desired)} run"
    return f"Only {running} of {service.desired} tasks of {service.name} run"


def _unplaced(lead: str, text: str, *, partly: bool) -> Cause:
    missing = next((words for pattern, words in MISSING if re.search(pattern, text, re.IGNORECASE)), text)
    hint = "`ecsconsul status` shows the instances; lower what the task needs, or raise `instances` in the config"
    return Cause("not-placed", f"{lead}, because ECS can't place it: {missing}", (text,), hint, partly)


def _stopped(lead: str, facts: Facts, task: Task, *, partly: bool) -> Cause:
    reason = next((one.reason for one in task.containers if one.reason), "") or task.reason
    details = (*([task.reason] if task.reason not in ("", reason) else []), *facts.logs[-LOG_LINES:])
    if any(words in f"{reason} {task.reason}" for words in NO_IMAGE):
        text = f"{lead}, because its image can't be had: {reason}"
        return Cause("image-missing", text, details, "`ecsconsul up` publishes the images of the config", partly)
    codes = f" with {task.exit_codes}" if task.exit_codes else ""
    text = f"{lead}, because its tasks stop{codes}: {reason}"
    hint = f"`ecsconsul logs {facts.asked.service}` shows more of what they write"
    return Cause("task-stopped", text, details, hint, partly)


def _consul(facts: Facts) -> str | Cause:
    silent = [member.name for member in facts.members if member.role == "server" and member.status != "alive"]
    if facts.members and not facts.leader:
        details = tuple(f"server {name} isn't alive" for name in silent)
        text = "Consul has no leader, so it answers nothing about services"
        return Cause("no-leader", text, details, "a majority of the servers must be alive (`ecsconsul status`)")
    if facts.consul_error:
        return Cause("consul-silent", f"Consul does not answer: {facts.consul_error}", hint="is the lab up?")
    return f"Consul answers, and its leader is {facts.leader}"


def _registration(facts: Facts) -> str | Cause:
    if facts.service is None:
        return ""
    ports = {(one.node, one.port) for one in facts.endpoints}
    missing = [t for t in facts.running if ports.isdisjoint((t.node, port) for port in t.ports)]
    if not missing:
        return f"{_tasks(len(facts.running))} registered in Consul"
    task, partly = missing[-1], bool(facts.named)
    name = f"Task {task.short} of {facts.asked.service} is running and not registered"
    if facts.definition.ignored:
        return Cause(
            "ignored", f"{name}: its variable SERVICE_IGNORE says so", hint="remove the variable", partly=partly
        )
    if not facts.definition.publishes or not task.ports:
        return Cause("no-port", f"{name}: it publishes no port", hint="add a port mapping", partly=partly)
    other = [one for one in facts.registered if (one.node, one.port) in {(task.node, port) for port in task.ports}]
    if other:
        text = f"{name} under this name, but as {other[0].service}"
        return Cause("other-name", text, hint="SERVICE_NAME sets the name", partly=partly)
    return _unregistered(facts, task, name, partly=partly)


def _unregistered(facts: Facts, task: Task, name: str, *, partly: bool) -> Cause:
    if dead := _dead_agent(facts, task.node):
        return Cause("agent-down", f"{name}: {dead}", partly=partly)
    hint = "`ecsconsul status` and the logs of the Registrator show more"
    failed = facts.last_failed
    if failed and facts.now - (failed.stopped or 0.0) < ROW_SECONDS:
        # the next one will stop as well
        return _stopped(f"No task of {facts.asked.service} stays running", facts, failed, partly=partly)
    if facts.registrators is not None and task.node not in facts.registrators:
        return Cause("registrator-down", f"{name}: no Registrator runs on {task.node}", hint=hint, partly=partly)
    age = f", {facts.now - task.started:.0f} s after its start" if task.started else ""
    why = "the Registrator waits for its port, its image's HEALTHCHECK fails, or the Registrator has been stopped"
    text = f"{name}{age}: {why}"
    return Cause("not-registered", text, tuple(facts.logs[-LOG_LINES:]), hint, partly)


def _dead_agent(facts: Facts, node: str) -> str:
    """What is wrong with the agent of a node; "" if nothing is."""
    member = next((one for one in facts.members if one.name == node), None)
    if member is None:
        return f"the Consul agent on {node} is no member" if facts.members else ""
    return f"the Consul agent on {node} is {member.status}" if member.status != "alive" else ""


def _tag(facts: Facts) -> str | Cause:
    tag, endpoints = facts.asked.tag, facts.endpoints
    if not tag or not endpoints or any(facts.has_tag(one) for one in endpoints):
        return f"{_instances(len([e for e in endpoints if facts.has_tag(e)]))} with the tag {tag}" if tag else ""
    have = sorted({tag for one in endpoints for tag in one.tags})
    text = f"No instance of {facts.asked.service} has the tag {tag}; they have {', '.join(have) or 'none'}"
    return Cause("no-such-tag", text, hint="the config's `tags`, or the variable SERVICE_TAGS, sets them")


def _health(facts: Facts) -> str | Cause:
    critical = [one for one in facts.endpoints if one.status == "critical" and facts.has_tag(one)]
    if not critical:
        return f"{_instances(len(facts.named))} passing" if facts.named else ""
    partly = bool(facts.named)
    some = f"{len(critical)} of the {len(critical) + len(facts.named)} instances" if partly else "No instance"
    text = f"{some} of {facts.asked.service} {'are critical' if partly else 'is passing'}"
    details = tuple(f"{one.at} on {one.node}: {one.output}" for one in critical)
    dead = [why for one in critical if (why := _dead_agent(facts, one.node))]
    if dead and len(dead) == len(critical):
        return Cause("agent-down", f"{text}: {dead[0]}", details, partly=partly)
    first = next(one for one in critical if not _dead_agent(facts, one.node))
    return Cause("not-passing", f"{text}: {first.output or 'a check fails'}", details, partly=partly)


def _reach(facts: Facts) -> str | Cause:
    if facts.refused is None:
        return ""
    lost = [one for one in facts.named if one.at in facts.refused]
    if not lost:
        return f"{_instances(len(facts.named))} accepting connections" if facts.named else ""
    details = tuple(f"{one.at} on {one.node}: {facts.refused[one.at]}" for one in lost)
    where = f"{lost[0].at}: {facts.refused[lost[0].at]}"
    text = f"{facts.asked.service} is passing in Consul, but can't be reached at {where}"
    return Cause("unreachable", text, details, partly=len(lost) < len(facts.named))


def _dns(facts: Facts) -> str | Cause:
    if facts.dns_error:
        return Cause("dns-silent", f"Consul's DNS does not answer: {facts.dns_error}")
    if facts.dns_answers == 0:
        text = f"Consul's DNS has no answer for {facts.asked.name}, although its catalog has {len(facts.named)}"
        return Cause("dns-empty", text if facts.named else f"Nothing is registered in Consul as {facts.asked.service}")
    return f"{facts.asked.name} is found: {_records(facts.dns_answers)}"


LINKS: Sequence[Link] = (
    _lab, _name, _service, _placement, _consul, _registration, _tag, _health, _reach, _dns,
)  # fmt: skip


def _tasks(number: int) -> str:
    return f"{number} task{'' if number == 1 else 's'}"


def _instances(number: int) -> str:
    return f"{number} instance{'' if number == 1 else 's'}"


def _records(number: int) -> str:
    return f"{number} SRV record{'' if number == 1 else 's'}"


def lines(verdict: Verdict) -> Iterator[str]:
    """The verdict for humans: the cause, then the chain up to it."""
    yield verdict.first_line
    for link in verdict.holds if verdict.cause else verdict.holds[:-1]:
        yield f"  ok    {link}"
    if verdict.cause:
        yield f"  here  {verdict.cause.text}"
        yield from (f"        {detail}" for detail in verdict.cause.details)
