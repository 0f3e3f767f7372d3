"""`ecsconsul dig`: a lookup through Consul's DNS, as the lab's text shows it with BIND's dig."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..errors import LabError, NameNotFound, WrongUsage
from .common import common_options, settings

if TYPE_CHECKING:
    from ..consul.dns import Answer
    from ..targets.base import ConsulAddress

TYPES = ("A", "AAAA", "SRV", "TXT", "PTR", "ANY")
DNS_PORT = 53


@click.command("dig")
@click.argument("words", nargs=-1, required=True, metavar="NAME [@SERVER]")
@click.option(
    "-t",
    "--type",
    "rrtype",
    type=click.Choice(TYPES, case_sensitive=False),
    metavar="TYPE",
    default="SRV",
    help=f"{', '.join(TYPES[:-1])} or {TYPES[-1]}.  [default: SRV]",
)
@click.option("--tag", metavar="TAG", help="Only instances with this tag.")
@click.option(
    "-p",
    "--port",
    type=click.IntRange(1, 65535),
    metavar="PORT",
    help=f"Port of the DNS server.  [default: that of the lab's Consul; {DNS_PORT} with @SERVER]",
)
@click.option("--tcp", is_flag=True, help="Ask over TCP at once.")
@click.option("--short", is_flag=True, help="Only what `dig +short` prints.")
@common_options
def command(words: tuple[str, ...], rrtype: str, tag: str | None, port: int | None, tcp: bool, short: bool) -> None:
    """Look a service up through Consul's DNS: `ecsconsul dig weather` asks SRV of weather.service.consul."""
    name, server = _name_and_server(words)
    if server:
        answer = _ask(name, rrtype, tag, server, port or DNS_PORT, tcp)
        _show(answer, short)
        if not answer.answers:
            raise _not_found(answer, f"`ecsconsul dig {name}`, without @server, asks the lab's Consul")
        return
    lab = settings().lab(sources=False)
    with settings().open_target(lab).consul() as consul:
        answer = _ask(name, rrtype, tag, consul.dns_host, port or consul.dns_port, tcp or consul.dns_tcp_only)
        _show(answer, short)
        if not answer.answers:
            raise _not_found(answer, f"the services that Consul knows: {_known(consul)}")


def _name_and_server(words: tuple[str, ...]) -> tuple[str, str | None]:
    names = [word for word in words if not word.startswith("@")]
    servers = [word[1:] for word in words if word.startswith("@")]
    if len(names) != 1 or len(servers) > 1 or "" in servers:
        raise WrongUsage(
            "dig takes one name and at most one @server", why=" ".join(words), hint="ecsconsul dig weather"
        )
    return names[0], servers[0] if servers else None


def _ask(name: str, rrtype: str, tag: str | None, server: str, port: int, tcp: bool) -> Answer:
    from ..consul.dns import lookup, question

    return lookup(question(name, rrtype=rrtype, tag=tag), rrtype, server, port, tcp=tcp)


def _show(answer: Answer, short: bool) -> None:
    """The answer on stdout; a terminal and a pipe get the same."""
    if settings().output == "json":
        from json import dumps

        click.echo(dumps(answer.to_json(), indent=2))
        return
    from .dig_format import dig_text, short_text

    text = short_text(answer) if short else dig_text(answer)
    if text:
        click.echo(text)


def _known(address: ConsulAddress) -> str:
    """The services that there are."""
    from ..consul.catalog import Consul

    try:
        return ", ".join(Consul(address.http_host, address.http_port).catalog()) or "none"
    except LabError as error:
        return f"unknown ({error.what})"


def _not_found(answer: Answer, hint: str) -> NameNotFound:
    return NameNotFound(f"{answer.name} has no {answer.type} record", where=answer.server, why=answer.rcode, hint=hint)
