"""`ecsconsul dig`: looks up a name in Consul's DNS, and prints the answer as BIND's dig does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..consul import RECORD_TYPES
from ..errors import LabError, NameNotFound, WrongUsage
from .common import common_options, settings
from .complete import services

if TYPE_CHECKING:
    from ..consul.dns import Answer
    from ..targets.base import ConsulAddress

DNS_PORT = 53


@click.command("dig")
@click.argument("words", nargs=-1, required=True, metavar="NAME [@SERVER]", shell_complete=services)
@click.option(
    "-t",
    "--type",
    "rrtype",
    type=click.Choice(RECORD_TYPES, case_sensitive=False),
    metavar="TYPE",
    default="SRV",
    help=f"{', '.join(RECORD_TYPES[:-1])} or {RECORD_TYPES[-1]}.  [default: SRV]",
)
@click.option("--tag", metavar="TAG", help="Only instances with this tag.")
@click.option(
    "-p",
    "--port",
    type=click.IntRange(1, 65535),
    metavar="PORT",
    help=f"Port of the DNS server.  [default: the lab's Consul's, or {DNS_PORT} with @SERVER]",
)
@click.option("--tcp", is_flag=True, help="Use TCP instead of UDP.")
@click.option("--short", is_flag=True, help="Print only what `dig +short` prints.")
@common_options
def command(words: tuple[str, ...], rrtype: str, tag: str | None, port: int | None, tcp: bool, short: bool) -> None:
    """Look up a name in Consul's DNS: `ecsconsul dig weather` queries SRV of weather.service.consul."""
    from ..consul.dns import lookup, question

    name, server = _name_and_server(words)
    # before the target opens a tunnel to Consul: a wrong name is refused without one
    full = question(name, rrtype=rrtype, tag=tag)
    if server:
        answer = lookup(full, rrtype, server, port or DNS_PORT, tcp=tcp)
        _print(answer, short)
        if not answer.answers:
            raise _not_found(answer, f"`ecsconsul dig {name}`, without @server, asks the lab's Consul")
        return
    lab = settings().lab(sources=False)
    with settings().open_target(lab).consul() as consul:
        answer = lookup(full, rrtype, consul.dns_host, port or consul.dns_port, tcp=tcp or consul.dns_tcp_only)
        _print(answer, short)
        if not answer.answers:
            raise _not_found(answer, f"Consul knows these services: {_known(consul)}")


def _name_and_server(words: tuple[str, ...]) -> tuple[str, str | None]:
    names = [word for word in words if not word.startswith("@")]
    servers = [word[1:] for word in words if word.startswith("@")]
    if len(names) != 1 or len(servers) > 1 or "" in servers:
        raise WrongUsage(
            "dig takes one name and at most one @server", why=" ".join(words), hint="ecsconsul dig weather"
        )
    return names[0], servers[0] if servers else None


def _print(answer: Answer, short: bool) -> None:
    if settings().as_json:
        from json import dumps

        click.echo(dumps(answer.to_json(), indent=2))
        return
    from .dig_format import dig_text, short_text

    text = short_text(answer) if short else dig_text(answer)
    if text:
        click.echo(text)


def _known(address: ConsulAddress) -> str:
    """The names of the services in Consul."""

    try:
        return ", ".join(address.client().catalog()) or "none"
    except LabError as error:
        return f"unknown ({error.what})"


def _not_found(answer: Answer, hint: str) -> NameNotFound:
    return NameNotFound(f"{answer.name} has no {answer.type} record", where=answer.server, why=answer.rcode, hint=hint)
