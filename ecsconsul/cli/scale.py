"""`ecsconsul scale`: sets services' numbers of tasks, and waits until Consul sees them."""

from __future__ import annotations

import time

import click

from ..config.lab import Lab
from ..config.scalars import MAX_TASKS
from ..errors import WrongUsage
from .changes import document
from .common import common_options, find_service, settings
from .complete import counts
from .durations import timeout_option, wait_option


@click.command("scale")
@click.argument("requests", nargs=-1, required=True, metavar="SERVICE=N...", shell_complete=counts)
@wait_option
@timeout_option
@common_options
def command(requests: tuple[str, ...], wait: bool, timeout: float | None) -> None:
    """Set a service's number of tasks, and wait until Consul sees them. Doesn't change the config."""
    from ..deploy import executor
    from ..deploy.lab_steps import scaling_steps

    begun = time.monotonic()
    lab = settings().lab(sources=False)
    counts = _counts(lab, requests)
    target = settings().open_target(lab)
    # raises TargetAbsent if the lab isn't running: `scale` doesn't create it
    target.client("ecs")
    view = settings().view()
    settings().changing = True
    with target.lock("scale"), view.progress() as observer:
        changes = executor.up(scaling_steps(lab, counts, target, wait=wait), observer, timeout=timeout)
    view.scale({**document(lab, target, changes, time.monotonic() - begun), "waited": wait})


def _counts(lab: Lab, requests: tuple[str, ...]) -> dict[str, int]:
    """The requested number of tasks by service. Raises WrongUsage."""
    counts: dict[str, int] = {}
    for request in requests:
        name, count = _parse(lab, request)
        if counts.setdefault(name, count) != count:
            raise WrongUsage(f"{name} is given twice", where=" ".join(requests), hint="name each service once")
    return counts


def _parse(lab: Lab, request: str) -> tuple[str, int]:
    name, _, count = request.partition("=")
    service = find_service(lab, name)
    if not count.isdecimal() or len(count) > len(str(MAX_TASKS)) or int(count) > MAX_TASKS:
        why = f"the number of tasks must be from 0 to {MAX_TASKS}"
        raise WrongUsage(f"{request} isn't a valid number of tasks", why=why, hint=f"ecsconsul scale {name}=3")
    if service.is_daemon:
        raise WrongUsage(
            f"{name} can't be scaled",
            where=f"service {name}",
            why="its schedule is daemon: it has one task on each ECS instance",
            hint="change `instances` in the config, or remove `schedule: daemon`",
        )
    if service.host_ports and int(count) > lab.max_instances:
        limit = "instances" if lab.max_instances == lab.min_instances else "instances.max"
        port = service.host_ports[0].host_port
        why = f"only one task per instance can use port {port}, and {limit} is {lab.max_instances}"
        hint = "increase `instances` in the config, or remove host_port"
        raise WrongUsage(f"{request} is too many", why=why, hint=hint)
    return name, int(count)
