"""Collects the facts from which `ecsconsul why` decides: asks ECS, Consul, its DNS, and the endpoints themselves."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ..config.lab import Lab
from ..consul.catalog import Consul
from ..errors import LabError, TargetAbsent
from ..observe.causes import LOG_LINES, Asked, Definition, Facts, has_failed
from ..observe.states import RUNNING, EcsState, Endpoint, Task, endpoints_in
from .common import REGISTRATOR

if TYPE_CHECKING:
    from ..targets.base import ConsulAddress
    from ..targets.commands import CommandTarget

CONNECT_SECONDS = 2.0
# connections at once; a service has a few instances, or hundreds
CONNECTORS = 16


def collect(lab: Lab, target: CommandTarget, asked: Asked) -> Facts:
    """All facts; whatever doesn't answer is a fact too."""
    given: dict[str, Any] = {"asked": asked, "lab": lab.name}
    given["configured"] = tuple(spec.name for spec in lab.services)
    try:
        given["stack_error"] = _stack_error(target, lab.name)
    except TargetAbsent as absent:
        return Facts(**given, now=time.time(), lab_error=absent.why or absent.what)
    with ThreadPoolExecutor(2) as pool:
        ecs, consul = pool.submit(_ecs, lab, target, asked), pool.submit(_consul, target, asked)
        given |= {**ecs.result(), **consul.result()}
    given["now"] = time.time()
    facts = Facts(**given)
    if asked.service in (*facts.configured, *facts.known) or facts.service:
        return facts
    return Facts(**given, elsewhere=tuple(target.labs_with(asked.service)))


def _stack_error(target: CommandTarget, name: str) -> str:
    """Raises TargetAbsent where the lab isn't."""
    from ..targets.client_errors import client_error

    cloudformation = target.client("cloudformation")
    try:
        stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    except client_error() as error:
        if "does not exist" not in str(error):
            return str(error)
        raise TargetAbsent(f"The lab {name} has no stack", why="it has no stack") from error
    status = str(stack["StackStatus"])
    if not status.endswith("FAILED") and "ROLLBACK" not in status:
        return ""
    # after an update that was rolled back, all is as it was before
    return "" if status == "UPDATE_ROLLBACK_COMPLETE" else f"{status} {stack.get('StackStatusReason', '')}".strip()


def _ecs(lab: Lab, target: CommandTarget, asked: Asked) -> dict[str, Any]:
    try:
        state, _ = target.ecs_state(-1, 0.0)
    except LabError as error:
        return {"ecs_error": error.why or error.what}
    service = next((one for one in state.services if one.name == asked.service), None)
    tasks = tuple(task for task in state.tasks if task.service == asked.service)
    found: dict[str, Any] = {"service": service, "tasks": tasks, "registrators": _registrators(target, state)}
    if service:
        found["definition"] = _definition(target.client("ecs"), service.revision)
        found["logs"] = _logs(target, asked.service, tasks)
    return found


def _registrators(target: CommandTarget, state: EcsState) -> frozenset[str] | None:
    if REGISTRATOR not in target.system_services:
        return None
    return frozenset(task.node for task in state.tasks if task.service == REGISTRATOR and task.status == RUNNING)


def _definition(ecs: Any, revision: str) -> Definition:
    containers = ecs.describe_task_definition(taskDefinition=revision)["taskDefinition"]["containerDefinitions"]
    names = {variable["name"] for one in containers for variable in one.get("environment") or () if variable["value"]}
    ports = [port for one in containers for port in one.get("portMappings") or ()]
    return Definition("SERVICE_IGNORE" in names, bool(ports))


def _logs(target: CommandTarget, service: str, tasks: Iterable[Task]) -> tuple[str, ...]:
    """The last lines of the task that failed last, or else of the newest; none where they can't be read."""
    chosen = max(tasks, key=lambda task: (has_failed(task), task.created), default=None)
    try:
        lines = target.last_lines(service, LOG_LINES, chosen.short) if chosen else []
    except LabError:
        return ()
    return tuple(line.text for line in lines[-LOG_LINES:])


def _consul(target: CommandTarget, asked: Asked) -> dict[str, Any]:
    found: dict[str, Any] = {}
    try:
        with target.consul() as address:
            consul = address.client()
            _members(consul, found)
            if not found["leader"]:
                # Consul would hold a question for its catalog until there is one
                return found
            catalog = consul.catalog()
            found |= {"registered": endpoints_in(catalog), "known": tuple(catalog)}
            found |= _dns(address, asked)
    except LabError as error:
        return {**found, "consul_error": error.why or error.what}
    if target.is_here:
        named = [e for e in found["registered"] if e.service == asked.service and e.status != "critical"]
        found["refused"] = _refused(named)
    return found


def _members(consul: Consul, found: dict[str, Any]) -> None:
    found["leader"] = consul.leader()
    found["members"] = tuple(consul.members())


def _dns(address: ConsulAddress, asked: Asked) -> dict[str, Any]:
    from ..consul.dns import lookup

    try:
        answer = lookup(asked.name, "SRV", address.dns_host, address.dns_port, tcp=address.dns_tcp_only)
    except LabError as error:
        return {"dns_error": error.why or error.what}
    return {"dns_answers": len(answer.answers)}


def _refused(endpoints: list[Endpoint]) -> dict[str, str]:
    """Why endpoints accept no connection; without those that do."""
    with ThreadPoolExecutor(CONNECTORS) as pool:
        results = dict(zip([one.at for one in endpoints], pool.map(_connect, endpoints), strict=True))
    return {at: why for at, why in results.items() if why}


def _connect(one: Endpoint) -> str:
    try:
        with socket.create_connection((one.address, one.port), timeout=CONNECT_SECONDS):
            return ""
    except TimeoutError:
        return f"no answer within {CONNECT_SECONDS:.0f} s"
    except OSError as error:
        return error.strerror or str(error)
