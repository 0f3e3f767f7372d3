"""`ecsconsul env`: prints the environment variables that connect other AWS and Consul clients to the lab."""

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
    if "CONSUL_HTTP_ADDR" not in found:
        # a tunnel to Consul closes when its command ends
        click.echo("CONSUL_HTTP_ADDR is left out: other clients can't reach the lab's Consul from here.", err=True)
    click.echo("export " + " ".join(f"{name}={shlex.quote(value)}" for name, value in found.items()))
