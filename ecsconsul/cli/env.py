"""`ecsconsul env`: what other AWS and Consul clients need to use the lab."""

from __future__ import annotations

import shlex

import click

from .common import common_options, settings


@click.command("env")
@common_options
def command() -> None:
    """Print `export NAME=value ...` for other clients: eval "$(ecsconsul env)"."""
    target = settings().open_target(settings().lab(sources=False))
    found = dict(target.environment())
    if settings().output == "json":
        settings().view().result(found)
        return
    click.echo("export " + " ".join(f"{name}={shlex.quote(value)}" for name, value in found.items()))
