"""`ecsconsul status`: shows the lab, the Consul members, and each service with its endpoints and health."""

from __future__ import annotations

import click

from ..errors import ExitCode
from .common import common_options, settings


@click.command("status")
@common_options
def command() -> int:
    """Show the lab, the Consul members, and each service with its endpoints and health. Exits with 4 if unhealthy."""
    from ..deploy.lab_status import collect

    lab = settings().lab(sources=False)
    target = settings().open_target(lab)
    found = collect(lab, target)
    settings().view().status(found)
    return ExitCode.DONE if found["healthy"] else ExitCode.UNHEALTHY
