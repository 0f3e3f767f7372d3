"""`ecsconsul registrator`: a drop-in replacement for gliderlabs/registrator, with its options instead of click's."""

from __future__ import annotations

import click


@click.command(
    "registrator",
    context_settings={
        "ignore_unknown_options": True,
        "allow_extra_args": True,
        "allow_interspersed_args": False,
        "help_option_names": [],
    },
    options_metavar="[-options]",
)
@click.argument("words", nargs=-1, metavar="URI", type=click.UNPROCESSED)
def command(words: tuple[str, ...]) -> int:
    """Register this machine's running containers in a Consul agent."""
    from ..registrator.program import run

    return run(words)
