"""`ecsconsul why`: says why a name isn't found, from the cause to what follows from it."""

from __future__ import annotations

import click

from ..errors import ExitCode, WrongUsage
from .common import common_options, settings
from .complete import services
from .printable import printable


@click.command("why")
@click.argument("name", shell_complete=services)
@common_options
def command(name: str) -> int:
    """Say why Consul's DNS doesn't find NAME (weather, http.weather.service.consul or _weather._tcp), or only partly.

    The first line names the cause; the chain of what holds and what doesn't follows. Exits with 1 unless all is well.
    """
    from ..observe.causes import decide, lines, parse
    from .why_facts import collect

    asked = parse(name)
    if asked is None:
        raise WrongUsage(
            f"{name} isn't the name of a service",
            hint="use weather, weather.service.consul, http.weather.service.consul or _weather._tcp",
        )
    lab = settings().lab(sources=False)
    target = settings().open_target(lab)
    verdict = decide(collect(lab, target, asked))
    cause = verdict.cause
    if settings().as_json:
        document = {
            "name": asked.name,
            "service": asked.service,
            "tag": asked.tag,
            "fine": cause is None,
            "cause": cause and {"kind": cause.kind, "partly": cause.partly, "hint": cause.hint},
            "text": verdict.first_line,
            "holds": list(verdict.holds),
            "details": list(cause.details) if cause else [],
        }
        settings().view().result(document)
    else:
        for line in lines(verdict):
            click.echo(printable(line))
        if cause and cause.hint:
            click.echo(f"hint: {settings().with_options(cause.hint)}")
    return ExitCode.FAILED if cause else ExitCode.DONE
