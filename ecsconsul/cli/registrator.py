"""`ecsconsul registrator`: a drop-in for gliderlabs/registrator; its options are the original's, and not click's."""

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
    """Keep a Consul agent's services those of this machine's running containers."""
    from ..registrator.program import run

    return run(words)
