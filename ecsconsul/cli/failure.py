"""How a command ends when it fails: the error block on stderr, and the exit code."""

from __future__ import annotations

import os
import sys
import traceback

import click

from ..errors import ExitCode, Interrupted, LabError
from .common import Settings
from .printable import printable

ON_ITS_WAY = " What was begun may still go on; `ecsconsul up` or `ecsconsul down` takes it from here."


def render(error: BaseException, given: Settings) -> int:
    """Show an error of a command with these settings once, on stderr; the exit code that it means."""
    if isinstance(error, SystemExit):
        return int(error.code or 0) if isinstance(error.code, int | None) else 1
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if os.environ.get("ECSCONSUL_DEBUG"):
        traceback.print_exception(error)
    if isinstance(error, KeyboardInterrupt | click.Abort | Interrupted):
        _say("Interrupted." + (given.again(ON_ITS_WAY) if given.begun else ""))
        return ExitCode.INTERRUPTED
    if isinstance(error, BrokenPipeError):
        # whoever read the output has gone; there is nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    known = error if isinstance(error, LabError) else _translated(error)
    _block(known, given)
    return known.exit_code


def _translated(error: BaseException) -> LabError:
    """An error of AWS's clients, or one that nobody foresaw, in our own form."""
    name = type(error).__module__
    if name.startswith("botocore"):
        operation = getattr(error, "operation_name", "")
        return LabError(
            "AWS refuses" if operation else "AWS cannot be asked",
            where=operation,
            why=str(error),
            hint="--debug shows what went over the wire",
        )
    if isinstance(error, OSError):
        return LabError(
            "The operating system refuses", where=str(error.filename or ""), why=error.strerror or str(error)
        )
    return LabError(
        f"{type(error).__name__}, which should not happen",
        why=str(error),
        hint="run it again with --debug, and report what it prints",
    )


def _block(error: LabError, given: Settings) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False, no_color=given.colourless or None, soft_wrap=True)
    console.print(Text.assemble(("Error: ", "bold red"), (printable(error.what), "bold")))
    for label, text in (("where", error.where), ("why", error.why), ("hint", given.again(error.hint))):
        if text:
            first, *rest = printable(text).splitlines()
            console.print(Text.assemble((f"  {label + ':':7}", "dim"), first))
            for line in rest:
                console.print(Text(f"         {line}"))


def _say(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201 - the last words of a command that was interrupted
