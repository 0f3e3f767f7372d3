"""`ecsconsul init`: writes a commented config.yaml."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import LabError
from .common import CONFIG, check_folder, common_options, settings


@click.command("init")
@common_options
def command() -> None:
    """Write a commented config.yaml to this folder, or to the file of -c. Never overwrites a file."""
    from ..config.loader import init_text

    path = settings().config or Path(CONFIG)
    if path.is_dir():
        raise LabError("Can't write the config to a folder", where=str(path), hint=f"-c {path / CONFIG}")
    check_folder(path)
    try:
        with path.open("x") as file:
            file.write(init_text(path.parent))
    except FileExistsError as error:
        raise LabError(
            "The config already exists and isn't overwritten",
            where=str(path),
            hint="remove it, or write another one with `ecsconsul init -c other.yaml`",
        ) from error
    if settings().as_json:
        settings().view().result({"config": str(path)})
    else:
        click.echo(settings().with_options(f"Wrote {path}. Edit it, then run: ecsconsul up"))
