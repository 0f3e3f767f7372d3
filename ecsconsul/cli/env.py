"""`ecsconsul env`: prints the environment variables that connect other AWS and Consul clients to the lab."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Mapping

import click

from .common import common_options, settings

# AWS's clients prefer these, or what they name, to the keys and the endpoint that are printed.
_OVERRIDING = re.compile(
    "AWS_(DEFAULT_)?PROFILE|AWS_SE(SSION|CURITY)_TOKEN|AWS_CREDENTIAL_EXPIRATION"
    "|AWS_IGNORE_CONFIGURED_ENDPOINT_URLS|AWS_ENDPOINT_URL_[A-Z0-9_]+"
)


@click.command("env")
@common_options
def command() -> None:
    """Print `export NAME=value ...` for other clients: eval "$(ecsconsul env)"."""
    target = settings().open_target(settings().lab(sources=False))
    found = dict(target.environment())
    if settings().as_json:
        settings().view().result(found)
        return
    if "CONSUL_HTTP_ADDR" not in found:
        # a tunnel to Consul closes when its command ends
        click.echo("CONSUL_HTTP_ADDR is left out: other clients can't reach the lab's Consul from here.", err=True)
    click.echo("export " + " ".join(f"{name}={shlex.quote(value)}" for name, value in found.items()))
    if overriding := overriding_variables(found, os.environ):
        click.echo("unset " + " ".join(overriding))


def overriding_variables(printed: Mapping[str, str], current: Iterable[str]) -> list[str]:
    """The variables of the current environment that would lead AWS's clients past the printed access key, if any."""
    if "AWS_SECRET_ACCESS_KEY" not in printed:
        return []
    return sorted(name for name in current if _OVERRIDING.fullmatch(name) and name not in printed)
