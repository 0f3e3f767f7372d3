"""What all commands share: the common options, and how they lead to the lab, its target and the output."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    import logging

    from ..config.lab import Lab, ServiceSpec
    from ..errors import WrongUsage
    from ..targets.commands import CommandTarget
    from .output import View

F = TypeVar("F", bound=Callable[..., Any])

CONFIG = "config.yaml"
RUNTIME_VARIABLE = "ECSCONSUL_RUNTIME"
REGISTRATOR = "registrator"
# an ecsconsul command within a text, and what follows its verb
_VERBS = (
    "doctor|plan|up|status|dig|events|why|top|logs|scale|deploy|rollback|history|rotate|exec|run|open|env|down"
    "|snapshot (?:save|list|restore)|kv (?:get|put)|watch|dashboard|graph|port-forward"
)
_COMMAND = rf"\becsconsul ({_VERBS})\b(?=([^`|\n]*))"
_TAKE_RUNTIME = ("doctor", "plan", "up")
# they log the bodies of requests and responses, and headers with session tokens
_LOGS_CONTENTS = ("botocore.endpoint", "botocore.parsers", "botocore.auth")


class Settings:
    """The values of the common options; `changing` is set once a command starts to change the lab."""

    # no dataclass: its import alone would take 3 % of `ecsconsul --help`
    def __init__(
        self,
        config: Path | None = None,
        target: str | None = None,
        output: str = "table",
        *,
        debug: bool = False,
        no_color: bool = False,
        profile: str | None = None,
        region: str | None = None,
        runtime: str | None = None,
        changing: bool = False,
    ) -> None:
        self.config = config
        self.target = target
        self.output = output
        self.debug = debug
        self.no_color = no_color
        self.profile = profile
        self.region = region
        self.runtime = runtime
        self.changing = changing

    def lab(self, *, sources: bool = True) -> Lab:
        """The lab of --config, of config.yaml in this folder, or the built-in one. Raises ConfigInvalid.

        Without `sources`, the services' folders don't have to exist: `status` and `down` don't need them.
        """
        from ..config.loader import load

        here = Path(CONFIG)
        lab = load(self.config or (here if here.exists() else None), sources=sources, warn=_warn)
        if self.runtime is None:
            return lab
        from msgspec import structs

        return structs.replace(lab, runtime=self.runtime)

    def open_target(self, lab: Lab, *, runtime: str | None = None, update_ami: bool = False) -> CommandTarget:
        """The lab's target. With a `runtime`, a lab on another runtime counts as absent. Raises LabError."""
        from .factory import open_target

        region = self.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        given = {"region": region, "profile": self.profile, "runtime": runtime}
        return open_target(self.target or lab.target, lab, **given, update_ami=update_ami)

    def view(self) -> View:
        """Shows results and progress."""
        from .output import View

        forms = {"as_json": self.as_json, "as_lines": self.output == "jsonl"}
        return View(**forms, no_color=self.colourless, with_options=self.with_options)

    @property
    def as_json(self) -> bool:
        return self.output != "table"

    @property
    def colourless(self) -> bool:
        return self.no_color or bool(os.environ.get("NO_COLOR"))

    def with_options(self, text: str) -> str:
        """Adds this call's options to the ecsconsul commands in a text, unless the text already has them."""
        return re.sub(_COMMAND, self._add_options, text)

    def _add_options(self, command: re.Match[str]) -> str:
        from shlex import quote

        given = [("--config", self.config), ("--target", self.target)]
        given += [("--profile", self.profile), ("--region", self.region)]
        if self.runtime != os.environ.get(RUNTIME_VARIABLE) and command[1] in _TAKE_RUNTIME:
            given.append(("--runtime", self.runtime))
        added = [f" {name} {quote(str(value))}" for name, value in given if value and name not in command[2]]
        return command[0] + "".join(added)


def settings() -> Settings:
    """The settings of the running command."""
    return click.get_current_context().ensure_object(Settings)


def check_folder(path: Path) -> None:
    """Refuse a file to write whose folder doesn't exist, before anything is done. Raises LabError."""
    from ..errors import LabError

    if not path.absolute().parent.is_dir():
        raise LabError("The folder doesn't exist", where=str(path.parent), hint=f"mkdir -p {path.parent}")


def find_service(lab: Lab, name: str) -> ServiceSpec:
    """The service of that name. Raises WrongUsage."""
    service = lab.service(name)
    if service is None:
        raise _no_service(lab, name, ())
    return service


def check_has_tasks(lab: Lab, target: CommandTarget, name: str) -> None:
    """Raises WrongUsage unless `name` is one of the lab's services, or a service that the target runs for the lab."""
    system = target.system_services
    if lab.service(name) or name in system:
        return
    if name == REGISTRATOR:
        from ..errors import WrongUsage
        from ..paths import region_log

        raise WrongUsage(
            "The registrator isn't a service here",
            where=f"lab {lab.name}",
            why="on this machine the region itself registers tasks",
            hint=f"the region's log is {region_log(lab.name)}",
        )
    raise _no_service(lab, name, system)


def _no_service(lab: Lab, name: str, system: tuple[str, ...]) -> WrongUsage:
    from difflib import get_close_matches

    from ..errors import WrongUsage

    known = [*(service.name for service in lab.services), *system]
    close = get_close_matches(name, known, n=1)
    hint = f"it has: {', '.join(known)}" + (f"; did you mean {close[0]}?" if close else "")
    return WrongUsage(f"The lab has no service {name}", where=f"lab {lab.name}", hint=hint)


def _warn(text: str) -> None:
    from .annotations import wanted, warn

    click.echo(f"Warning: {text}", err=True)
    if wanted():
        warn(text)


def _store(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Stores an option in the settings if it was given; one after the verb overrides one before it."""
    if parameter.name and ctx.get_parameter_source(parameter.name) != click.core.ParameterSource.DEFAULT:
        setattr(ctx.ensure_object(Settings), parameter.name, value)
        if parameter.name == "debug" and value:
            os.environ["ECSCONSUL_DEBUG"] = "1"
            _log_requests()


def _log_requests() -> None:
    import logging

    logging.basicConfig(level=logging.DEBUG, format="%(asctime)s %(name)s %(message)s")
    for handler in logging.getLogger().handlers:
        handler.addFilter(_without_secrets)


def _without_secrets(record: logging.LogRecord) -> bool:
    """Whether a log record may be shown: botocore logs what requests and responses contain, such as SSM's secrets.

    Of a request only its operation is kept. What is shown ends up in bug reports.
    """
    if record.name == "botocore.endpoint" and str(record.msg).startswith("Making request for %s"):
        record.msg, record.args = "Making request for %s", record.args[:1] if isinstance(record.args, tuple) else ()
        return True
    return record.name not in _LOGS_CONTENTS


_OPTIONS = (
    click.option(
        "-c", "--config", type=click.Path(path_type=Path), metavar="FILE",
        help="Config file.  [default: config.yaml in this folder, or the built-in lab]",
    ),
    click.option("--target", type=click.Choice(["local", "aws"]), help="Where the lab runs.  [default: from config]"),
    click.option("--output", type=click.Choice(["table", "json", "jsonl"]), help="Output format.  [default: table]"),
    click.option("--profile", metavar="NAME", help="AWS profile."),
    click.option("--region", metavar="NAME", help="AWS region."),
    click.option("--debug", is_flag=True, help="Show tracebacks, and log requests."),
    click.option("--no-color", is_flag=True, help="Disable colors (like NO_COLOR)."),
)  # fmt: skip
_STORED = {"config", "target", "output", "debug", "no_color", "profile", "region", "runtime"}


runtime_option = click.option(
    "--runtime",
    type=click.Choice(["auto", "docker", "processes"]),
    envvar=RUNTIME_VARIABLE,
    help="Run tasks as containers or processes; auto uses containers if Docker is ready.  [default: from config]",
)


update_ami_option = click.option(
    "--update-ami", is_flag=True, help="In AWS, replace the instances by ones with the current AMI."
)


def common_options(function: F) -> F:
    """Adds the common options to a command; their values go to settings() instead of its arguments."""
    for option in reversed(_OPTIONS):
        function = option(function)
    for parameter in function.__click_params__:  # type: ignore[attr-defined]
        if parameter.name in _STORED:
            parameter.expose_value = False
            parameter.callback = _store
    return function
