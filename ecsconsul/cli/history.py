"""`ecsconsul history`: the revisions of a service."""

from __future__ import annotations

import click

from .common import common_options, find_service, settings
from .complete import services


@click.command("history")
@click.argument("service", shell_complete=services)
@common_options
def command(service: str) -> None:
    """Show a service's revisions: image, time, who, whether they became stable, and which one runs."""
    from ..deploy.shipping import history_document

    lab = settings().lab(sources=False)
    find_service(lab, service)
    target = settings().open_target(lab)
    settings().view().history(history_document(lab, service, target))
