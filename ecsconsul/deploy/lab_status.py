"""Builds the document of `status`: joins the steps, ECS and Consul, whose whole catalog takes one request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..config.lab import Lab, ServiceSpec
from ..consul.catalog import Consul, Instance
from ..errors import LabError, TargetAbsent, Unreachable
from ..targets.base import Target
from ..targets.client_errors import client_error
from ..targets.commands import CommandTarget
from .canary import canary_endpoints, with_canaries
from .endpoints import Endpoint, by_service, endpoints_of, ghosts_and_missing, notes_of, standalone, without
from .executor import inspect_all
from .failed_boots import failed_boots
from .lab_steps import DISCOVERY, discovery_step, poller_for, steps_for
from .service_poller import ServicePoller
from .step import Change, Step, decide
from .step4_task_definitions import TaskDefinitionStep, revision_of
from .step5_services import desired_count
from .step6_discovery import DiscoveryStep

Catalog = Mapping[str, Sequence[Instance]]
Endpoints = Mapping[str, Sequence[Endpoint]]


def collect(lab: Lab, target: CommandTarget) -> dict[str, Any]:
    """The JSON document of `status` (docs/cli.md)."""
    # the catalog is requested once, and discovery is judged by it instead of being inspected with the other steps
    poller = poller_for(lab, target)
    steps = [step for step in steps_for(lab, target, poller) if step.name != DISCOVERY]
    with ThreadPoolExecutor(4) as pool:
        # the catalog first: it takes the longest
        consul_future = pool.submit(_consul, target)
        steps_future = pool.submit(_inspect, steps, poller)
        endpoints_future = pool.submit(_endpoints, lab, target)
        amis_future = pool.submit(_amis, target)
        alarms_future = pool.submit(_alarms, target)
        failed_future = pool.submit(_failed_boots, lab, target)
        changes, (consul, catalog, error) = steps_future.result(), consul_future.result()
    counts = {spec.name: _counts(spec, poller.seen.get(spec.name)) for spec in lab.services}
    # discovery expects ECS's desired counts, which `scale` may have changed since the config was applied
    tasks, absent = endpoints_future.result()
    one_off, grouped = standalone(tasks or ()), by_service(tasks or ())
    own = without(catalog, one_off)
    canaries = {spec.name: len(canary_endpoints(grouped, lab, spec.name)) for spec in lab.services}
    scaled = lab.with_counts({name: desired + canaries[name] for name, (desired, _) in counts.items()})
    changes.append(_discovery(discovery_step(scaled, target), own, error))
    alarms = alarms_future.result()
    endpoints = None if "error" in consul or tasks is None else with_canaries(grouped, lab)
    services = [_service(spec, counts[spec.name], own, endpoints, canaries[spec.name]) for spec in lab.services]
    healthy = all(_exists(change) for change in changes) and all(_is_healthy(service) for service in services)
    return {
        "lab": lab.name,
        "target": target.name,
        **runtime_of(target),
        "healthy": healthy and bool(consul.get("leader")),
        "portal": target.portal_url(),
        "aws": {
            "endpoint": target.endpoint,
            "region": target.region,
            "amis": amis_future.result(),
            **({"error": absent} if absent else {}),
        },
        "consul": consul,
        "alarms": alarms,
        "steps": [{"name": c.name, "op": c.op, "detail": c.detail} for c in changes],
        "services": services,
        "tasks": [_task(task, catalog) for task in one_off],
        "failed_boots": failed_future.result(),
        "notes": notes_of(tasks or ()),
        "others": sorted(set(catalog) - {"consul"} - {name for spec in lab.services for name in spec.registered_names}),
    }


def _alarms(target: CommandTarget) -> list[dict[str, Any]] | None:
    found = target.alarms()
    return None if found is None else [one._asdict() for one in found]


def _inspect(steps: Sequence[Step], poller: ServicePoller) -> list[Change]:
    """Inspect the steps; a task definition only if its service isn't as desired, or else by the service that runs it.

    A service's fingerprint includes its task definition's, and ECS describes ten services in one request.
    """
    changes = {one.name: one for one in inspect_all([s for s in steps if not isinstance(s, TaskDefinitionStep)])}
    definitions = [step for step in steps if isinstance(step, TaskDefinitionStep)]
    for step in definitions:
        service = poller.seen.get(step.service)
        if service and changes[f"services/{step.service}"].op == "keep":
            changes[step.name] = Change(step.name, "keep", revision_of(service["taskDefinition"]))
    # the prerequisites go first, as for all steps: without them there is nothing to inspect
    others = [step for step in definitions if step.name not in changes]
    changes |= {change.name: change for change in inspect_all([steps[0], *others])}
    return [changes[step.name] for step in steps]


def runtime_of(target: CommandTarget) -> dict[str, Any]:
    """What the lab's tasks run as, and why; null when no lab runs."""
    info = target.runtime_info
    return {"runtime": info.runtime if info else None, "runtime_why": info.why if info else None}


def _consul(target: Target) -> tuple[dict[str, Any], Catalog, LabError | None]:
    """The document's `consul` as far as Consul answers, its catalog, and the error if there is one."""
    document: dict[str, Any] = {"http": None, "dns": None, "leader": "", "members": []}
    try:
        with target.consul() as address:
            document |= {"http": address.http, "dns": address.dns}
            catalog = _fetch(address.client(), document)
    except TargetAbsent as error:
        return document, {}, error
    except LabError as error:
        document["error"] = str(error)
        return document, {}, error
    return document, catalog, None


def _discovery(step: DiscoveryStep, catalog: Catalog, error: LabError | None) -> Change:
    """The state of the discovery step according to a catalog that was fetched before."""
    if isinstance(error, TargetAbsent):
        return Change(DISCOVERY, decide(step.desired(), None), "")
    actual = step.unreachable(error) if error else step.judge(catalog)
    return Change(DISCOVERY, decide(step.desired(), actual), actual.detail)


def _fetch(consul: Consul, document: dict[str, Any]) -> Catalog:
    """The catalog; leader and members go into the document. Raises LabError, with the document filled so far.

    Without a leader, Consul holds a request for its catalog until there is one, so none is made.
    """
    document["leader"] = consul.leader()
    with ThreadPoolExecutor(1) as pool:
        catalog = pool.submit(consul.catalog) if document["leader"] else None
        document["members"] = [
            {"name": m.name, "address": m.address, "role": m.role, "status": m.status} for m in consul.members()
        ]
    if catalog is None:
        alive = [m["status"] == "alive" for m in document["members"] if m["role"] == "server"]
        raise Unreachable("Consul has no leader", why=f"{sum(alive)} of {len(alive)} servers are alive")
    return catalog.result()


def _counts(spec: ServiceSpec, service: Mapping[str, Any] | None) -> tuple[int, int]:
    """ECS's desired and running counts of a service."""
    return (service["desiredCount"], service["runningCount"]) if service else (desired_count(spec), 0)


def _endpoints(lab: Lab, target: Target) -> tuple[list[Endpoint] | None, str]:
    """The endpoints of all tasks; None when the target doesn't exist, and why."""
    try:
        return endpoints_of(target.client("ecs"), lab.name), ""
    except TargetAbsent as error:
        return None, error.why or error.what


def _amis(target: CommandTarget) -> list[dict[str, Any]]:
    """The AMIs of the lab's instances; none if AWS doesn't say, which is no reason for a status to fail."""
    try:
        return [{**one._asdict(), "used_by": list(one.used_by), "detail": one.described()} for one in target.amis()]
    except (LabError, client_error()):
        return []


def _failed_boots(lab: Lab, target: Target) -> list[dict[str, str]]:
    try:
        return failed_boots(target.client("ec2"), lab.name)
    except TargetAbsent:
        return []


def _service(
    spec: ServiceSpec,
    counts: tuple[int, int],
    catalog: Catalog,
    endpoints: Endpoints | None,
    canary: int,
) -> dict[str, Any]:
    """One service of the document. `desired` is ECS's, set by the config, by `scale` or by another client."""
    desired, running = counts
    instances = _instances(spec, catalog)
    # without an answer from Consul, nothing counts as missing from it
    joined: tuple[list[str] | None, list[str] | None] = ([], []) if endpoints is not None else (None, None)
    if endpoints is not None and spec.registered:
        joined = ghosts_and_missing(instances, endpoints.get(spec.name, []))
    return {
        "name": spec.name,
        "names": list(spec.registered_names),
        "tags": list(spec.tags),
        "desired": desired,
        "running": running,
        "passing": _passing(spec, catalog) if spec.registered else running,
        "canary": canary,
        "ghosts": joined[0],
        "missing": joined[1],
        "instances": [_instance(instance) for instance in instances],
    }


def _task(task: Endpoint, catalog: Catalog) -> dict[str, Any]:
    """One standalone task of the document, with the names under which Consul lists it."""
    registered = [name for name, instances in catalog.items() if any(task.has(one) for one in instances)]
    return {
        "id": task.task,
        "definition": task.definition,
        "group": task.group,
        "started_by": task.started_by,
        "node": task.node,
        "registered": sorted(registered),
    }


def _instances(spec: ServiceSpec, catalog: Catalog) -> list[Instance]:
    """What Consul knows of a service under all of its names."""
    return [instance for name in spec.registered_names for instance in catalog.get(name, [])]


def _passing(spec: ServiceSpec, catalog: Catalog) -> int:
    """How many tasks pass under all of the service's names; several ports may have the same one."""
    ports = Counter(str(port.name) for port in spec.registered)
    counts = {name: sum(one.status == "passing" for one in catalog.get(name, ())) for name in ports}
    return min(counts[name] // number for name, number in ports.items())


def _instance(instance: Instance) -> dict[str, Any]:
    return {
        "id": instance.id,
        "node": instance.node,
        "address": instance.address,
        "port": instance.port,
        "status": instance.status,
        "tags": list(instance.tags),
        "checks": [{"name": c.name, "status": c.status, "output": c.output} for c in instance.checks],
    }


def _exists(change: Change) -> bool:
    """Whether the step's resource exists, if only in an older version. Discovery is judged by its services instead."""
    return change.op in ("keep", "update") or change.name == DISCOVERY


def _is_healthy(service: dict[str, Any]) -> bool:
    joined = not service["ghosts"] and not service["missing"]
    passing = service["passing"] - service["canary"]
    return bool(service["running"] == service["desired"] == passing and joined)
