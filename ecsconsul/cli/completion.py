"""`ecsconsul completion`: prints what makes a shell complete commands, options, services and tasks."""

from __future__ import annotations

import click

from .common import common_options

PROGRAM = "ecsconsul"
VARIABLE = f"_{PROGRAM.upper()}_COMPLETE"
INSTALL = {
    "bash": 'eval "$(ecsconsul completion bash)" in ~/.bashrc',
    "zsh": 'eval "$(ecsconsul completion zsh)" in ~/.zshrc, after compinit',
    "fish": "ecsconsul completion fish > ~/.config/fish/completions/ecsconsul.fish",
}


@click.command(
    "completion",
    epilog="\b\n" + "\n".join(f"{shell}: {line}" for shell, line in INSTALL.items()),
)
@click.argument("shell", type=click.Choice(list(INSTALL)))
@common_options
def command(shell: str) -> None:
    """Print what makes a shell complete commands, options, services and tasks."""
    from click.shell_completion import get_completion_class

    from .app import cli

    kind = get_completion_class(shell)
    assert kind is not None
    # without `source`, which starts bash to find out its version, and complains on stderr
    completer = kind(cli, {}, PROGRAM, VARIABLE)
    click.echo(completer.source_template % completer.source_vars())
