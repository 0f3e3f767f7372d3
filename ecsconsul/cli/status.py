"""`ecsconsul status`: shows the lab, the Consul members, and each service with its endpoints and health."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..errors import ExitCode, WrongUsage
from .common import common_options, settings
from .moments import DURATION_OR_TIME, Moment

if TYPE_CHECKING:
    from ..config.lab import Lab
    from ..observe.journal import Past


@click.command("status")
@click.option(
    "--at", type=Moment(), metavar=DURATION_OR_TIME, help="What Consul's DNS would have answered then, as recorded."
)
@click.option("--watch", is_flag=True, help="Show it on a live screen, as `ecsconsul watch` does.")
@common_options
def command(at: float | None, watch: bool) -> int:
    """Show the lab, the Consul members, and each service with its endpoints and health. Exits with 4 if unhealthy."""
    if watch:
        if at is not None:
            raise WrongUsage("--watch shows what is now, and --at what was", hint="give one of them")
        from .watch import run

        run()
        return ExitCode.DONE
    lab = settings().lab(sources=False)
    if at is not None:
        return _status_at(lab, at)
    from ..deploy.lab_status import collect

    target = settings().open_target(lab)
    found = collect(lab, target)
    settings().view().status(found)
    return ExitCode.DONE if found["healthy"] else ExitCode.UNHEALTHY


def _status_at(lab: Lab, at: float) -> int:
    import time

    from ..observe.journal import past, read

    if at > time.time():
        raise WrongUsage("--at takes a time in the past", hint="12:03:07 is the last one that was")
    target = settings().open_target(lab)
    document = past_document(lab, target.name, past(read(target.journals()), at))
    settings().view().past_status(document)
    return ExitCode.DONE


def past_document(lab: Lab, target: str, past: Past) -> dict[str, Any]:
    """The JSON document of `status --at` (docs/cli.md)."""
    from .moments import iso

    names = dict.fromkeys([*(spec.name for spec in lab.services), *sorted(one.service for one in past.endpoints)])
    found = {name: [one for one in past.endpoints if one.service == name] for name in names}
    return {
        "lab": lab.name,
        "target": target,
        "at": iso(past.at),
        "consul": {"error": past.lost} if past.lost else {},
        "services": [
            {
                "name": name,
                # https://developer.hashicorp.com/consul/docs/services/discovery/dns-static-lookups
                "answered": 0 if past.lost else sum(one.status != "critical" for one in endpoints),
                "instances": [
                    {
                        "id": one.id,
                        "node": one.node,
                        "address": one.address,
                        "port": one.port,
                        "status": one.status,
                        "tags": list(one.tags),
                    }
                    for one in sorted(endpoints, key=lambda one: (one.address, one.port))
                ],
            }
            for name, endpoints in found.items()
        ],
    }
