"""The command line: parses the arguments and runs the verb, whose module is only imported then."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from .. import __version__
from .common import Settings, common_options

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# here and not in the verbs' modules, so that `ecsconsul --help` imports none of them
VERBS = {
    "init": "Write a commented config.yaml to this folder.",
    "import": "Write a config.yaml from a compose file, task definitions, or a cluster in AWS.",
    "doctor": "Check everything `up` needs, and say how to fix what's missing.",
    "plan": "Show what `up` would change, without changing anything.",
    "diff": "Show what others than `up` have changed in the lab.",
    "up": "Create or update the lab; running it again changes nothing.",
    "status": "Show the lab, the Consul members, and each service with its endpoints and health.",
    "dig": "Look up a service in Consul's DNS.",
    "why": "Say why a name isn't found in Consul's DNS, and what is wrong.",
    "events": "Show what has changed in ECS, in its containers and in Consul, and what changes.",
    "watch": "Show the lab on a live screen, with keys to scale, see logs and open a shell.",
    "dashboard": "Show the lab on a page in the browser: its picture, tasks, events, and how a lookup goes.",
    "graph": "Write a picture of the lab as SVG or Mermaid.",
    "top": "Show the CPU and memory that tasks use, beside their limits.",
    "logs": "Show the last log lines of services' tasks.",
    "exec": "Run a command in a running task of a service.",
    "run": "Run a one-off task of a service, and exit with its exit code.",
    "open": "Open the portal in a browser.",
    "port-forward": "Forward a local port to a service's passing instances.",
    "scale": "Set a service's number of tasks, and wait until Consul sees them.",
    "deploy": "Build and ship one service alone.",
    "rollback": "Go back to an earlier revision of a service.",
    "history": "Show a service's revisions, and which of them became stable.",
    "env": "Print the environment variables that connect other AWS and Consul clients to the lab.",
    "gameday": "Inject faults under a load, and report what the services' callers noticed.",
    "rotate": "Replace Consul's tokens and its gossip key, and revoke the old ones.",
    "kv": "Read and write keys in Consul's key-value store.",
    "snapshot": "Save, list and restore snapshots of Consul's data.",
    "completion": "Print what makes bash, zsh or fish complete commands, options, services and tasks.",
    "registrator": "Register this machine's running containers in a Consul agent.",
    "down": "Remove everything, then check that nothing is left.",
}


class Verbs(click.Group):
    """A group of commands that imports a command's module when it's called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        from importlib import import_module

        if name not in VERBS:
            return None
        # `import` is a word of Python's, so its module has another name
        module = "import_" if name == "import" else name.replace("-", "_")
        command = import_module(f".{module}", __package__).command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The verbs, without importing their modules, and the options."""
        from click.shell_completion import CompletionItem

        verbs = [CompletionItem(name, help=text) for name, text in VERBS.items() if name.startswith(incomplete)]
        return verbs + click.Command.shell_complete(self, ctx, incomplete)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in VERBS and not ctx.resilient_parsing:
            from difflib import get_close_matches

            close = get_close_matches(args[0], VERBS, n=1)
            ctx.fail(f"No such command {args[0]!r}." + (f" Did you mean {close[0]!r}?" if close else ""))
        return super().resolve_command(ctx, args)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="ecsconsul")
@common_options
def cli() -> None:
    """Consul service discovery on Amazon ECS in one command, on this machine or in an AWS account.

    `ecsconsul up` starts the lab, and `ecsconsul down` removes it. Without a config.yaml in this folder, you get the
    built-in lab: stock-price, weather, and a portal that finds the other two through Consul.
    """


def _reopen_closed_streams() -> None:
    """Replaces a closed stdout or stderr, for which Python has None, by the null device."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))


def main() -> NoReturn:
    """Runs a command. Renders every error once, and exits with its code."""
    given = Settings()
    _reopen_closed_streams()
    try:
        code = cli.main(standalone_mode=False, obj=given)
    except BaseException as error:  # noqa: BLE001 - the only place that catches everything: no traceback may escape
        from .failure import render

        sys.exit(render(error, given))
    sys.exit(int(code or 0))
