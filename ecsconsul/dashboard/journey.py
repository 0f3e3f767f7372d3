"""Follows one lookup for real: the question, the agent that answers, the records, and the tasks behind them."""

from __future__ import annotations

from typing import Any

from ..consul.dns import Answer, Record, lookup, question
from ..observe.states import Endpoint, Snapshot, Task, tasks_by_port
from ..targets.base import Target

SECONDS = 2.0


def travel(target: Target, snapshot: Snapshot, name: str) -> dict[str, Any]:
    """Ask Consul's DNS for the SRV records of a name. Raises LabError, also for what isn't a name."""
    full = question(name.strip())
    with target.consul() as at:
        answer = lookup(full, "SRV", at.dns_host, at.dns_port, tcp=at.dns_tcp_only, timeout=SECONDS)
    return document(answer, snapshot)


def document(answer: Answer, snapshot: Snapshot) -> dict[str, Any]:
    """The journey for the page: the answer, with what is known of each record's instance and task. Pure."""
    endpoints = {(one.address, one.port): one for one in snapshot.endpoints}
    tasks = tasks_by_port(snapshot.tasks)
    return {
        "name": answer.name,
        "type": answer.type,
        "server": answer.server,
        "transport": answer.transport,
        "milliseconds": round(answer.milliseconds, 1),
        "rcode": answer.rcode,
        "records": [_record(one, endpoints, tasks) for one in answer.answers],
    }


def _record(
    one: Record, endpoints: dict[tuple[str, int], Endpoint], tasks: dict[tuple[str, int], Task]
) -> dict[str, Any]:
    endpoint = endpoints.get((one.address or "", one.port or 0))
    task = tasks.get((endpoint.node, endpoint.port)) if endpoint else None
    return {
        "data": one.data,
        "address": one.address or "",
        "port": one.port,
        "node": endpoint.node if endpoint else "",
        "status": endpoint.status if endpoint else "",
        "task": task.short if task else "",
    }
