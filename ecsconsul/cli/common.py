"""What all verbs share: the common options, the lab, its target, and where output goes."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from ..config.lab import Lab
    from ..targets.commands import CommandTarget
    from .output import View

F = TypeVar("F", bound=Callable[..., Any])

CONFIG = "config.yaml"
RUNTIME_VARIABLE = "ECSCONSUL_RUNTIME"
# a command that a text tells to type, and what it says behind the verb
_COMMAND = re.compile(r"\becsconsul (doctor|plan|up|status|dig|logs|scale|exec|open|env|down)\b(?=([^`|\n]*))")
_TAKE_RUNTIME = ("doctor", "plan", "up")


@dataclass
class Settings:
    """The common options, wherever on the command line they stood; `begun` when something is being changed."""

    config: Path | None = None
    target: str | None = None
    output: str = "table"
    debug: bool = False
    no_color: bool = False
    profile: str | None = None
    region: str | None = None
    runtime: str | None = None
    begun: bool = False

    def lab(self, *, sources: bool = True) -> Lab:
        """The lab that is wanted: of the file named, of config.yaml here, or the built-in one. Raises ConfigInvalid.

        Without `sources` a service's folder may be missing: a lab can be looked at and taken away all the same.
        """
        from ..config.loader import load

        here = Path(CONFIG)
        lab = load(self.config or (here if here.exists() else None), sources=sources)
        if self.runtime is None:
            return lab
        from msgspec import structs

        return structs.replace(lab, runtime=self.runtime)

    def open_target(self, lab: Lab, *, runtime: str | None = None) -> CommandTarget:
        """The target of the lab; with a `runtime` a lab that runs otherwise counts as absent. Raises LabError."""
        from .factory import open_target

        region = self.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        return open_target(self.target or lab.target, lab, region=region, profile=self.profile, runtime=runtime)

    def view(self) -> View:
        """Where results and progress are shown."""
        from .output import View

        return View(as_json=self.output == "json", no_color=self.colourless, again=self.again)

    @property
    def colourless(self) -> bool:
        return self.no_color or bool(os.environ.get("NO_COLOR"))

    def again(self, text: str) -> str:
        """A text whose commands act on the lab of this call: with its options, but for those that the text has."""
        return _COMMAND.sub(self._with_options, text)

    def _with_options(self, command: re.Match[str]) -> str:
        given = [("--config", self.config), ("--target", self.target)]
        given += [("--profile", self.profile), ("--region", self.region)]
        if self.runtime != os.environ.get(RUNTIME_VARIABLE) and command[1] in _TAKE_RUNTIME:
            given.append(("--runtime", self.runtime))
        told = [f" {name} {shlex.quote(str(value))}" for name, value in given if value and name not in command[2]]
        return command[0] + "".join(told)


def settings() -> Settings:
    """The settings of the command that runs."""
    return click.get_current_context().ensure_object(Settings)


def _remember(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Keep an option's value when it was given; an option of the verb beats the same one before the verb."""
    if parameter.name and ctx.get_parameter_source(parameter.name) != click.core.ParameterSource.DEFAULT:
        setattr(ctx.ensure_object(Settings), parameter.name, value)
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
