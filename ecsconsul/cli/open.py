"""`ecsconsul open`: the portal in a browser."""

from __future__ import annotations

import sys

import click

from ..errors import LabError
from .common import common_options, settings


@click.command("open")
@common_options
def command() -> None:
    """Open the portal in a browser; where there is none, or nobody to look at it, its address is only printed."""
    lab = settings().lab(sources=False)
    target = settings().open_target(lab)
    # a portal of a lab that is not there would open as an error page
    target.client("ecs")
    url = target.portal_url()
    if url is None and lab.portal:
        raise LabError(
            f"No task of {lab.portal.name} runs yet",
            where=f"lab {lab.name}",
            hint="`ecsconsul up` waits for it; `ecsconsul status` shows what there is",
        )
    if url is None:
        raise LabError(
            "The lab has no portal to open",
            where=f"lab {lab.name}",
            why="no service has a host_port",
            hint="give one a host_port in the config, and run `ecsconsul up`",
        )
    if settings().output == "json":
        settings().view().result({"portal": url, "opened": _opened(url)})
    else:
        click.echo(url)
        _opened(url)


def _opened(url: str) -> bool:
    """Whether a browser was opened; not from a script or a pipe."""
    if not sys.stdout.isatty():
        return False
    import webbrowser

    return webbrowser.open(url)
