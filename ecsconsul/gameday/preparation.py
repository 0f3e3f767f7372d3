"""What a game day needs of a lab: its tasks as victims, its leader, and a client for each chosen service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..config.lab import Lab, ServiceSpec
from ..consul.dns import question
from ..errors import LabError
from ..targets.base import ConsulAddress
from ..targets.commands import CommandTarget
from .faults import FAULTS, NEVER, Fault, Victim, World
from .load import Directory, Load

LEAST_TASKS = 2


def playable(lab: Lab) -> list[ServiceSpec]:
    """The services that a game can be played with: Consul lists them over TCP, and their tasks can be counted."""
    return [one for one in lab.services if _is_playable(one)]


def _is_playable(service: ServiceSpec) -> bool:
    first = next(iter(service.registered), None)
    return bool(first and first.protocol == "tcp" and not service.is_daemon and not (first.check and first.check.ttl))


def faults_for(target: CommandTarget, names: Sequence[str]) -> tuple[list[Fault], list[tuple[str, str]]]:
    """The faults of these names (all, without any) that can be injected, and the others with the reasons."""
    wanted = [fault for fault in FAULTS if not names or fault.name in names]
    away = not target.is_here
    skipped = [(one.name, "it needs the machine on which the lab runs") for one in wanted if one.local and away]
    skipped += [(name, why) for name, why in NEVER.items() if not names or name in names]
    return [one for one in wanted if not (one.local and away)], skipped


def world_of(lab: Lab, target: CommandTarget, consul: ConsulAddress) -> World:
    """What the faults act upon."""
    ecs = target.client("ecs")

    def leader() -> str:
        client = consul.client()
        address = client.leader().rpartition(":")[0]
        servers = [one for one in client.members() if one.role == "server"]
        found = [one.name for one in servers if one.address == address] or [one.name for one in servers[:1]]
        if not found:
            raise LabError("Consul has no leader to kill")
        return found[0]

    def nodes() -> frozenset[str]:
        arns = ecs.list_container_instances(cluster=lab.name, status="ACTIVE")["containerInstanceArns"]
        if not arns:
            return frozenset()
        found = ecs.describe_container_instances(cluster=lab.name, containerInstances=arns)["containerInstances"]
        return frozenset(one["ec2InstanceId"] for one in found if one["agentConnected"])

    return World(lab.name, ecs, lambda: target.client("autoscaling"), target.machine(), leader, nodes)


def victims_of(lab: Lab, target: CommandTarget, service: ServiceSpec) -> list[Victim]:
    """The running tasks of a service, where they listen, and on which instance."""
    ecs = target.client("ecs")
    arns = ecs.list_tasks(cluster=lab.name, serviceName=service.name)["taskArns"]
    if not arns:
        return []
    tasks = ecs.describe_tasks(cluster=lab.name, tasks=arns)["tasks"]
    instances = {one["containerInstanceArn"] for one in tasks}
    found = ecs.describe_container_instances(cluster=lab.name, containerInstances=list(instances))
    nodes = {one["containerInstanceArn"]: one["ec2InstanceId"] for one in found["containerInstances"]}
    return [
        victim
        for task in tasks
        if task["lastStatus"] == "RUNNING"
        for victim in _victims(task, service, nodes[task["containerInstanceArn"]])
    ]


def _victims(task: Any, service: ServiceSpec, node: str) -> list[Victim]:
    return [
        Victim(
            service.name,
            f"{binding['bindIP']}:{binding['hostPort']}",
            task["taskArn"],
            str(container.get("runtimeId") or ""),
            node,
        )
        for container in task["containers"]
        for binding in container.get("networkBindings") or ()
        if binding["containerPort"] == service.port
    ]


def load_of(lab: Lab, consul: ConsulAddress, services: Sequence[ServiceSpec], *, threads: int, rate: float) -> Load:
    """Clients of these services. Raises LabError when one can't be reached from here."""
    names = {one.name: question(one.name) for one in services}
    directory = Directory(consul.dns_host, consul.dns_port, consul.dns_tcp_only, names)
    paths = {one.name: (one.check.http if one.check and one.check.http else "") or "" for one in services}
    load = Load(directory, paths, threads, rate)
    for service in services:
        first = load.request(service.name)
        if not first.ok:
            raise LabError(
                f"{service.name} can't be reached from here",
                where=", ".join(directory.ask(service.name)[0]) or names[service.name],
                why=first.error,
                hint="a game is played where the services' callers are: in AWS, from a machine in the VPC",
            )
    return load
