"""The command line: parse, call, print. One small module per verb, imported only when its verb is asked for."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from .. import __version__
from ..errors import ExitCode
from .common import Settings, common_options

# help texts stand here, so that `ecsconsul --help` need not import the verbs
VERBS = {
    "init": "Write a commented config.yaml here.",
    "doctor": "Look at all that `up` needs, and say how to mend what is not well.",
    "plan": "Show what `up` would change, and change nothing.",
    "up": "Make the lab as the config wants it; a second time changes nothing.",
    "status": "Show the lab, the Consul members, and every service with its endpoints and health.",
    "dig": "Look a service up through Consul's DNS.",
    "logs": "Show the last lines of a service's tasks.",
    "exec": "Run a command in a running task of a service.",
    "open": "Open the portal in a browser.",
    "scale": "Set how many tasks of a service run, and wait until Consul sees them.",
    "env": "Print what other AWS and Consul clients need to use this lab.",
    "registrator": "Keep a Consul agent's services those of this machine's running containers.",
    "down": "Take all of it away, and prove that nothing is left.",
}


class Verbs(click.Group):
    """Imports a verb's module when it is called, and not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        command = importlib.import_module(f".{name}", __package__).command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in VERBS:
            from difflib import get_close_matches

            close = get_close_matches(args[0], VERBS, n=1)
            ctx.fail(f"No such command {args[0]!r}." + (f" Did you mean {close[0]!r}?" if close else ""))
        return super().resolve_command(ctx, args)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="ecsconsul")
@common_options
def cli() -> None:
    """Consul service discovery on Amazon ECS in one command, on this machine or in an AWS account.

    `ecsconsul up` starts the lab, `ecsconsul down` takes it away. Without a config.yaml here it is the built-in
    lab: stock-price, weather, and a portal that finds the two through Consul.
    """


def _open_what_is_closed() -> None:
    """Whoever calls us with a stream closed does not want to read it; Python has None in its place."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - it stays open as long as we run


def main() -> NoReturn:
    """The console script. Every error is rendered here, once, and decides the exit code."""
    given = Settings()
    _open_what_is_closed()
    try:
        code = cli.main(standalone_mode=False, obj=given)
    except BaseException as error:  # noqa: BLE001 - the one place where nothing may escape as a traceback
        from .failure import render

        sys.exit(render(error, given))
    sys.exit(int(code or ExitCode.DONE))
