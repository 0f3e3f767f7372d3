"""`ecsconsul kv`: reads and writes keys in Consul's key-value store, with the lab's own token."""

from __future__ import annotations

import io
import sys
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from ..errors import NameNotFound, WrongUsage
from .common import common_options, settings
from .printable import as_written

if TYPE_CHECKING:
    from ..consul.catalog import Consul

# Consul's default for kv_max_value_size
MOST_BYTES = 512 * 1024


@click.group("kv")
@common_options
def command() -> None:
    """Read and write keys in Consul's key-value store, with a token that may do everything."""


@command.command("get")
@click.argument("key")
@common_options
def get(key: str) -> None:
    """Print the value of KEY as it is. Exits with 1 if there is no such key."""
    from ..consul.catalog import Refused

    with _consul() as consul:
        try:
            # the client quotes what it sends, unlike an upload
            [found] = consul.send("get", f"/v1/kv/{_checked(key)}")
        except Refused as refused:
            if not refused.why.startswith("404"):
                raise
            raise NameNotFound(f"Consul has no key {key}", hint="`ecsconsul kv put KEY VALUE` writes one") from refused
    value = b64decode(found["Value"] or "")
    if settings().as_json:
        settings().view().result({"key": key, "value": value.decode(errors="replace")})
        return
    if sys.stdout.isatty():
        # whoever wrote it must not move the cursor or set the title
        click.echo(as_written(value.decode(errors="replace"), sys.stdout))
    else:
        # what a file gets must be the value alone
        click.echo(value, nl=False)


@command.command("put")
@click.argument("key")
@click.argument("value")
@common_options
def put(key: str, value: str) -> None:
    """Set KEY to VALUE, or to what standard input has if VALUE is -, which keeps a secret out of the command line."""
    content = sys.stdin.buffer.read(MOST_BYTES + 1) if value == "-" else value.encode()
    if len(content) > MOST_BYTES:
        raise WrongUsage(f"The value of {key} is too large", why=f"Consul takes at most {MOST_BYTES} bytes")
    with _consul() as consul:
        consul.upload(f"/v1/kv/{quote(_checked(key))}", io.BytesIO(content))
    if settings().as_json:
        settings().view().result({"key": key, "bytes": len(content)})


def _checked(key: str) -> str:
    """Raises WrongUsage."""
    if not key or key.startswith("/"):
        raise WrongUsage(f"{key!r} can't be a key", hint="use a key like config/weather, without a slash at its start")
    return key


@contextmanager
def _consul() -> Iterator[Consul]:
    from ..consul.lab_secrets import MANAGEMENT

    target = settings().open_target(settings().lab(sources=False))
    token = target.consul_secrets().token(MANAGEMENT)
    with target.consul() as address:
        yield address.client(token)
