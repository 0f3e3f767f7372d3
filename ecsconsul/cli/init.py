"""`ecsconsul init`: a commented config.yaml beside the user's services."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import LabError
from .common import CONFIG, common_options, settings


@click.command("init")
@common_options
def command() -> None:
    """Write a commented config.yaml here (or to the file that -c names); never overwrites one."""
    from ..config.loader import init_text

    path = settings().config or Path(CONFIG)
    if path.is_dir():
        raise LabError("A config is a file, and this is a folder", where=str(path), hint=f"-c {path / CONFIG}")
    if not path.parent.is_dir():
        raise LabError("There is no such folder", where=str(path.parent), hint=f"mkdir -p {path.parent}")
    try:
        with path.open("x") as file:
            file.write(init_text(path.parent))
    except FileExistsError as error:
        raise LabError(
            "A config is there already, and stays as it is",
            where=str(path),
            hint="remove it, or write another one with `ecsconsul init -c other.yaml`",
        ) from error
    if settings().output == "json":
        settings().view().result({"config": str(path)})
    else:
        click.echo(settings().again(f"{path} written. Edit it, then: ecsconsul up"))
