"""What all verbs share: the common options, the lab, its target, and where output goes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from ..lab import Lab
    from ..targets import Target
    from ..view import View

F = TypeVar("F", bound=Callable[..., Any])

CONFIG = "config.yaml"
_META = "ecsconsul.options"


@dataclass
class Settings:
    """The common options, wherever on the command line they stood."""

    config: Path | None = None
    target: str | None = None
    output: str = "table"
    debug: bool = False
    no_color: bool = False
    profile: str | None = None
    region: str | None = None
    runtime: str | None = None

    def lab(self, *, sources: bool = True) -> Lab:
        """The lab that is wanted: of the file named, of config.yaml here, or the built-in one. Raises ConfigInvalid.

        Without `sources` a service's folder may be missing: a lab can be looked at and taken away all the same.
        """
        from ..config import load

        here = Path(CONFIG)
        lab = load(self.config or (here if here.exists() else None), sources=sources)
        if self.runtime is None:
            return lab
        from msgspec import structs

        return structs.replace(lab, runtime=self.runtime)

    def open_target(self, lab: Lab, *, runtime: str | None = None) -> Target:
        """The target of the lab; with a `runtime` a lab that runs otherwise counts as absent. Raises LabError."""
        from ..targets import open_target

        region = self.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        return open_target(self.target or lab.target, lab, region=region, profile=self.profile, runtime=runtime)

    def view(self) -> View:
        """Where results and progress are shown."""
        from ..view import View

        return View(as_json=self.output == "json", no_color=self.no_color or bool(os.environ.get("NO_COLOR")))


def settings() -> Settings:
    """The settings of the command that runs."""
    found = click.get_current_context().meta.setdefault(_META, Settings())
    assert isinstance(found, Settings)
    return found


def _remember(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Keep an option's value when it was given; an option of the verb beats the same one before the verb."""
    if parameter.name and ctx.get_parameter_source(parameter.name) != click.core.ParameterSource.DEFAULT:
        setattr(ctx.meta.setdefault(_META, Settings()), parameter.name, value)
        if parameter.name == "debug" and value:
            os.environ["ECSCONSUL_DEBUG"] = "1"
            _log_the_wire()


def _log_the_wire() -> None:
    import logging

    logging.basicConfig(level=logging.DEBUG, format="%(asctime)s %(name)s %(message)s")


_OPTIONS = (
    click.option(
        "-c", "--config", type=click.Path(path_type=Path), metavar="FILE",
        help="Config file.  [default: config.yaml here, else the built-in lab]",
    ),
    click.option("--target", type=click.Choice(["local", "aws"]), help="Where the lab lives.  [default: the config's]"),
    click.option("--output", type=click.Choice(["table", "json"]), help="Form of the result.  [default: table]"),
    click.option("--profile", metavar="NAME", help="AWS profile."),
    click.option("--region", metavar="NAME", help="AWS region."),
    click.option("--debug", is_flag=True, help="Tracebacks, and what goes over the wire."),
    click.option("--no-color", is_flag=True, help="No colour (as with NO_COLOR set)."),
)  # fmt: skip


RUNTIME_VARIABLE = "ECSCONSUL_RUNTIME"
runtime_option = click.option(
    "--runtime",
    type=click.Choice(["auto", "docker", "processes"]),
    envvar=RUNTIME_VARIABLE,
    help="What tasks run as: containers, processes, or containers where Docker is ready.  [default: the config's]",
)


def common_options(function: F) -> F:
    """Give a command the common options; their values are in settings(), not among its arguments."""
    for option in reversed(_OPTIONS):
        function = option(function)
    for parameter in function.__click_params__:  # type: ignore[attr-defined]
        if parameter.name in Settings.__dataclass_fields__:
            parameter.expose_value = False
            parameter.callback = _remember
    return function
