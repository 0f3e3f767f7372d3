"""The tables of `status`: Consul's members, each instance of each service, and one-off tasks."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

Json = dict[str, Any]

HEALTH = {"passing": "green", "alive": "green", "warning": "yellow", "leaving": "yellow", "critical": "red"}
# of a failing check's output
OUTPUT_WIDTH = 100
COUNTED = ("running", "passing")


def members_table(consul: Json) -> Table:
    """The members of Consul's datacenter, servers first."""
    table = new_table("consul member", "address", "role", "status")
    address = consul["leader"].split(":")[0]
    # servers may share the leader's address; then nobody knows which of them leads
    leaders = [m["name"] for m in consul["members"] if m["role"] == "server" and m["address"] == address]
    for member in sorted(consul["members"], key=lambda m: (m["role"] != "server", m["name"])):
        role = f"{member['role']}, leader" if leaders == [member["name"]] else member["role"]
        status = Text(member["status"], HEALTH.get(member["status"], "red"))
        table.add_row(member["name"], member["address"], role, status)
    return table


def services_table(services: list[Json], *, answered: bool) -> Table:
    """The services; without an answer from Consul, their instances are unknown."""
    table = new_table("service", "running", "passing", "endpoint", "node", "health", whole=("endpoint", "node"))
    for service in services:
        canary = service.get("canary", 0)
        complete = service["desired"] == service["running"] == service["passing"] - canary
        counts = [Text(f"{service[key]}/{service['desired']}", "" if complete else "yellow") for key in COUNTED]
        instances = service["instances"] or [None]
        for number, instance in enumerate(instances):
            first = [Text(service["name"], "bold"), *counts] if number == 0 else ["", "", ""]
            is_ghost = bool(instance and instance["id"] in (service.get("ghosts") or ()))
            table.add_row(
                *first, *(_instance_cells(instance, is_ghost) if instance else _no_instance(service, answered))
            )
        if canary:
            text = f"{canary} of these {'is' if canary == 1 else 'are'} a canary of a new revision"
            table.add_row("", "", "", "", "", Text(text, "cyan"))
        for task in service.get("missing") or ():
            table.add_row("", "", "", "", "", Text(f"task {task[:8]} is running, but not in Consul", "red"))
    return table


def standalone_table(tasks: list[Json]) -> Table:
    """The tasks that belong to no service."""
    table = new_table("one-off task", "definition", "started by", "node", "in Consul as", whole=("node",))
    for task in tasks:
        registered = ", ".join(task["registered"]) or Text("not registered", "dim")
        table.add_row(task["id"][:8], task["definition"], task["started_by"], task["node"], registered)
    return table


def _no_instance(service: Json, answered: bool) -> list[Text | str]:
    if not answered:
        return [Text("no answer from Consul", "dim"), "", ""]
    return [Text("not in Consul", "red") if service["desired"] else Text("none desired", "dim"), "", ""]


def _instance_cells(instance: Json, is_ghost: bool) -> list[Text | str]:
    health = Text(instance["status"], HEALTH.get(instance["status"], "red"))
    if is_ghost:
        health.append("  ghost: its task isn't running", "red")
    outputs = [check["output"].strip() for check in instance["checks"] if check["status"] != "passing"]
    failing = next((output for output in outputs if output), "")
    if failing:
        health.append(f"  {failing.splitlines()[0][:OUTPUT_WIDTH]}", "dim")
    return [f"{instance['address']}:{instance['port']}", instance["node"], health]


def new_table(*columns: str, whole: tuple[str, ...] = ()) -> Table:
    """A table that folds its columns if space is short, except the `whole` ones, which users copy."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in whole)
    return table
