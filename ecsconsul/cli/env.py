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
    if "CONSUL_HTTP_ADDR" not in found:
        # where it is asked through a tunnel, that ends with each command
        click.echo(
            "CONSUL_HTTP_ADDR is not among them: no other client can reach the lab's Consul from here.", err=True
        )
    click.echo("export " + " ".join(f"{name}={shlex.quote(value)}" for name, value in found.items()))
