"""`ecsconsul graph`: writes a picture of the lab, for a README."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import LabError, TargetAbsent
from .common import check_folder, common_options, settings

if TYPE_CHECKING:
    from ..config.lab import Lab
    from ..observe.overview import Overview
    from ..targets.commands import CommandTarget

COMPLETE_SECONDS = 30.0


@click.command("graph")
@click.option(
    "--format",
    "form",
    type=click.Choice(["svg", "mermaid"]),
    default="svg",
    show_default=True,
    help="Format of the picture.",
)
@click.option(
    "-o",
    "--output-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write it to this file instead of stdout.",
)
@click.option("--planned", is_flag=True, help="Only what the config describes, without tasks and instances.")
@common_options
def command(form: str, output_file: Path | None, planned: bool) -> None:
    """Write a picture of the lab: its services, who looks up whom, and the instances with their tasks.

    Of a lab that isn't running, only what the config describes is in it.
    """
    from msgspec import to_builtins

    from ..dashboard.drawing import draw
    from ..dashboard.lookups import image_variables, lookups
    from ..dashboard.mermaid import mermaid

    if output_file:
        check_folder(output_file)
    lab = settings().lab(sources=False)
    seen = _seen(lab, settings().open_target(lab), only_planned=planned)
    edges = lookups(lab, image_variables(lab))
    text = mermaid(seen, edges) if form == "mermaid" else draw(seen, edges, lab.name, standalone=True) + "\n"
    if output_file:
        output_file.write_text(text, encoding="utf-8")
    if settings().as_json:
        found = {"format": form, "file": str(output_file) if output_file else None, "text": text}
        settings().view().result({"lab": lab.name, **found, "lookups": [to_builtins(one) for one in edges]})
    elif output_file is None:
        click.echo(text, nl=False)


def _seen(lab: Lab, target: CommandTarget, *, only_planned: bool) -> Overview:
    """What runs; what the config describes if nothing does. Raises LabError."""
    from ..dashboard.drawing import planned
    from ..observe.overview import overview

    if only_planned:
        return planned(lab)
    try:
        target.client("ecs")
    except TargetAbsent:
        return planned(lab)
    from ..observe.observation import Observation

    with Observation(target) as seen:
        seen.wait_until_complete(COMPLETE_SECONDS)
        snapshot = seen.snapshot()
    if snapshot.lost or not snapshot.is_complete:
        why = "; ".join(f"{name} does not answer: {why}" for name, why in snapshot.lost.items()) or "no answer in time"
        raise LabError(
            "The lab can't be drawn as it runs", why=why, hint="`ecsconsul graph --planned` draws the config"
        )
    registers = [service.name for service in lab.services if service.registered_names]
    return overview(snapshot, [service.name for service in lab.services], registers)
