"""`ecsconsul run`: runs a one-off task of a service, and exits with its exit code."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from ..errors import Interrupted
from .common import common_options, find_service, settings
from .complete import services
from .durations import in_seconds
from .interrupts import ended_like_ctrl_c
from .printable import as_written
from .variables import variables_of

if TYPE_CHECKING:
    from ..deploy.one_off_task import Ended, OneOffRun, StartedTask

SHELLS = ("sh", "bash", "ash", "dash", "zsh")


@click.command("run", context_settings={"allow_interspersed_args": False})
@click.argument("service", shell_complete=services)
@click.argument("words", nargs=-1, metavar="[[--] CMD...]", type=click.UNPROCESSED)
@click.option("--container", metavar="NAME", help="The container that runs CMD.  [default: the service's main one]")
@click.option("-e", "--env", "variables", multiple=True, metavar="NAME[=VALUE]", help="Set a variable (repeatable).")
@click.option(
    "--timeout", default="1h", show_default=True, callback=in_seconds, metavar="TIME",
    help="Stop the task after this long.",
)  # fmt: skip
@click.option("-d", "--detach", is_flag=True, help="Don't wait: print the task's ID.")
@common_options
def command(
    service: str,
    words: tuple[str, ...],
    container: str | None,
    variables: tuple[str, ...],
    timeout: float,
    detach: bool,
) -> int:
    """Run a one-off task of a service, such as a migration, and show its output. Exits with the task's exit code.

    Without CMD, the task runs the container's own command. It isn't registered in Consul. Options go before SERVICE.
    """
    from ..deploy.one_off_task import OneOff, OneOffRun

    begun = time.monotonic()
    argv = words[1:] if words[:1] == ("--",) else words
    request = OneOff(service, argv, container, dict(variables_of(variables, inherit=True)))
    lab = settings().lab(sources=False)
    find_service(lab, service)
    target = settings().open_target(lab)
    run = OneOffRun(lab.name, target)
    if argv and len(argv) == 1 and argv[0].rpartition("/")[2] in SHELLS:
        hint = settings().with_options(f"`ecsconsul exec {service} -- {argv[0]}` opens one in a running task")
        click.echo(f"A one-off task has no terminal, so the shell reads nothing; {hint}", err=True)
    task = run.start(request)
    document = {"lab": lab.name, "target": target.name, "service": service, "container": task.container}
    document |= {"task": task.id, "definition": task.revision}
    if detach:
        _show_started(document)
        return 0
    silent = "" if task.output else "; its output goes where ecsconsul can't read it"
    click.echo(f"Task {task.id[:8]} of {task.revision} starts{silent}", err=True)
    ended = _await(run, task, timeout)
    _show_ended(document, ended, time.monotonic() - begun)
    return 1 if ended.exit_code is None else ended.exit_code


def _await(run: OneOffRun, task: StartedTask, seconds: float) -> Ended:
    """Show the task's output until it has stopped. Stops the task if this command is interrupted."""
    from ..deploy.one_off_task import STOP_TIMEOUT

    with ended_like_ctrl_c():
        try:
            return run.follow(task, _show, seconds)
        except (KeyboardInterrupt, BrokenPipeError) as error:
            run.stop(task, "Stopped by ecsconsul run, which was interrupted")
            if isinstance(error, BrokenPipeError):
                raise
            click.echo(f"Stopping task {task.id[:8]}", err=True)
            run.follow(task, _show, STOP_TIMEOUT)
            raise Interrupted from error


def _show(line: str) -> None:
    """Write a line as the task wrote it; to stderr with --output json, whose document has stdout for itself.

    A terminal gets the line's colours, and nothing else that it would interpret.
    """
    stream = sys.stderr if settings().output == "json" else sys.stdout
    click.echo(as_written(line, stream), file=stream, color=True)


def _show_started(document: dict[str, Any]) -> None:
    if settings().output == "json":
        settings().view().result({**document, "detached": True})
    else:
        click.echo(document["task"])


def _show_ended(document: dict[str, Any], ended: Ended, seconds: float) -> None:
    if settings().output == "json":
        more = {"detached": False, "exit_code": ended.exit_code, "reason": ended.reason, "seconds": round(seconds, 1)}
        settings().view().result({**document, **more})
    elif ended.exit_code != 0:
        code = "without an exit code" if ended.exit_code is None else f"with {ended.exit_code}"
        reason = f": {ended.reason}" if ended.reason else ""
        click.echo(f"Task {document['task'][:8]} exited {code}{reason}", err=True)
