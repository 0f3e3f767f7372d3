"""`ecsconsul open`: opens the portal in a browser."""

from __future__ import annotations

import sys

import click

from ..errors import LabError
from .common import common_options, settings


@click.command("open")
@common_options
def command() -> None:
    """Open the portal in a browser. Without a browser or a terminal, only print its URL."""
    lab = settings().lab(sources=False)
    target = settings().open_target(lab)
    # raises TargetAbsent if the lab isn't running: the browser would show an error page
    target.client("ecs")
    url = target.portal_url()
    if url is None:
        raise _no_portal(lab.name, lab.portal.name if lab.portal else None)
    if settings().as_json:
        settings().view().result({"portal": url, "opened": _open(url)})
    else:
        click.echo(url)
        _open(url)


def _no_portal(lab: str, service: str | None) -> LabError:
    if service:
        hint = "`ecsconsul up` waits for it; `ecsconsul status` shows what is running"
        return LabError(f"No task of {service} is running yet", where=f"lab {lab}", hint=hint)
    return LabError(
        "The lab has no portal to open",
        where=f"lab {lab}",
        why="no service has a host_port",
        hint="give a service a host_port in the config, then run `ecsconsul up`",
    )


def _open(url: str) -> bool:
    """Opens the URL if stdout is a terminal; returns whether a browser opened."""
    if not sys.stdout.isatty():
        return False
    import webbrowser

    return webbrowser.open(url)
