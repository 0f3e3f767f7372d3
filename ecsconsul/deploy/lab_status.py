"""What `status` says: the steps, ECS's counts and Consul's catalog joined, in a number of requests that does not grow.

Of Consul: its leader, its members, and the whole catalog, one request each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..config.lab import Lab, ServiceSpec
from ..consul.catalog import Consul, Instance
from ..errors import LabError, TargetAbsent, Unreachable
from ..targets.base import Target
from .endpoints import Endpoint, endpoints_of, ghosts_and_missing
from .executor import inspect_all
from .lab_steps import DISCOVERY, poller_for, steps_for
from .step import Change, decide
from .step6_discovery import Discovery

Catalog = Mapping[str, Sequence[Instance]]


def collect(lab: Lab, target: Target) -> dict[str, Any]:
    """The JSON document of `status` (docs/cli.md)."""
    # the catalog is asked for once: discovery is judged by it here, and not looked for by its step
    watch = poller_for(lab, target)
    steps = [step for step in steps_for(lab, target, watch) if step.name != DISCOVERY]
    with ThreadPoolExecutor(3) as pool:
        # the catalog first: Consul takes the longest over it, and the others have the time to themselves
        seen = pool.submit(_consul, target)
        looked = pool.submit(inspect_all, steps)
        tasks = pool.submit(_endpoints, lab, target)
        changes, (consul, catalog, error) = looked.result(), seen.result()
    counts = {spec.name: _counts(spec, watch.seen.get(spec.name)) for spec in lab.services}
    # by what ECS is to run, which `scale` may have changed since the config was applied
    wanted = lab.with_counts({name: desired for name, (desired, _) in counts.items()})
    changes.append(_discovery(Discovery(wanted, target, needs=()), catalog, error))
    ends, absent = tasks.result()
    ends = None if "error" in consul else ends
    # the steps have looked at ECS's services: what they saw is not asked for again
    services = [_service(spec, counts[spec.name], catalog.get(spec.name, []), ends) for spec in lab.services]
    healthy = all(_is_there(change) for change in changes) and all(_is_well(service) for service in services)
    return {
        "lab": lab.name,
        "target": target.name,
        **runtime_of(target),
        "healthy": healthy and bool(consul.get("leader")),
        "portal": target.portal_url(lab),
        "aws": {"endpoint": target.endpoint, "region": target.region, **({"error": absent} if absent else {})},
        "consul": consul,
        "steps": [{"name": c.name, "op": c.op, "detail": c.detail} for c in changes],
        "services": services,
        "others": sorted(set(catalog) - {"consul"} - {spec.name for spec in lab.services}),
    }


def runtime_of(target: Target) -> dict[str, Any]:
    """What the tasks that are there run as, and why; null when nothing is there."""
    found = target.runtime_info
    return {"runtime": found.runtime if found else None, "runtime_why": found.why if found else None}


def _consul(target: Target) -> tuple[dict[str, Any], Catalog, LabError | None]:
    """What Consul says, as far as it says anything, its catalog, and why there is no more of it."""
    said: dict[str, Any] = {"http": None, "dns": None, "leader": "", "members": []}
    try:
        with target.consul() as address:
            said |= {"http": address.http, "dns": address.dns}
            catalog = _hear(Consul(address.http_host, address.http_port), said)
    except TargetAbsent as error:
        return said, {}, error
    except LabError as error:
        said["error"] = str(error)
        return said, {}, error
    return said, catalog, None


def _discovery(step: Discovery, catalog: Catalog, error: LabError | None) -> Change:
    """What was seen means for the last step, which is not looked for again."""
    if isinstance(error, TargetAbsent):
        return Change(DISCOVERY, decide(step.wanted(), None), "")
    found = step.unseen(error) if error else step.judge(catalog)
    return Change(DISCOVERY, decide(step.wanted(), found), found.detail)


def _hear(consul: Consul, said: dict[str, Any]) -> Catalog:
    """The catalog; leader and members go into `said`. Raises LabError, with `said` as far as it was heard.

    Without a leader Consul holds the question for its catalog back until there is one, so it is not asked.
    """
    said["leader"] = consul.leader()
    with ThreadPoolExecutor(1) as pool:
        catalog = pool.submit(consul.catalog) if said["leader"] else None
        said["members"] = [
            {"name": m.name, "address": m.address, "role": m.role, "status": m.status} for m in consul.members()
        ]
    if catalog is None:
        alive = [m["status"] == "alive" for m in said["members"] if m["role"] == "server"]
        raise Unreachable("Consul has no leader", why=f"{sum(alive)} of {len(alive)} servers are alive")
    return catalog.result()


def _counts(spec: ServiceSpec, service: Mapping[str, Any] | None) -> tuple[int, int]:
    """How many tasks of a service ECS is to run, and runs."""
    return (service["desiredCount"], service["runningCount"]) if service else (spec.count, 0)


def _endpoints(lab: Lab, target: Target) -> tuple[list[Endpoint] | None, str]:
    """Where the tasks of the lab's services listen; None where nobody can be asked, and why."""
    try:
        return endpoints_of(target.client("ecs"), lab.name), ""
    except TargetAbsent as error:
        return None, error.why or error.what


def _service(
    spec: ServiceSpec, counts: tuple[int, int], instances: Sequence[Instance], endpoints: Sequence[Endpoint] | None
) -> dict[str, Any]:
    """Desired is what ECS was told last, by the config, by `scale` or by another client."""
    desired, running = counts
    # where Consul says nothing, nothing is missed in it
    own = endpoints and [one for one in endpoints if one.service == spec.name]
    ghosts, missing = (None, None) if own is None else ghosts_and_missing(instances, own)
    return {
        "name": spec.name,
        "tags": list(spec.tags),
        "desired": desired,
        "running": running,
        "passing": sum(instance.status == "passing" for instance in instances),
        "ghosts": ghosts,
        "missing": missing,
        "instances": [_instance(instance) for instance in instances],
    }


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


def _is_there(change: Change) -> bool:
    """Whether what a step wants is there, if only in an older form. Discovery is judged by its services."""
    return change.op in ("keep", "update") or change.name == DISCOVERY


def _is_well(service: dict[str, Any]) -> bool:
    joined = not service["ghosts"] and not service["missing"]
    return bool(service["running"] == service["desired"] == service["passing"] and joined)
