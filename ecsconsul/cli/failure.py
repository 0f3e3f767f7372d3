"""Ends a command that failed: prints the error block on stderr, and decides the exit code."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback

import click

from ..errors import ExitCode, Interrupted, LabError
from .common import Settings
from .printable import printable

CONTINUES = " What was started may continue in the background; resume with `ecsconsul up` or `ecsconsul down`."


def render(error: BaseException, given: Settings) -> int:
    """Prints an error of a command with these settings on stderr, and returns its exit code."""
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
        click.echo("Interrupted." + (given.with_options(CONTINUES) if given.changing else ""), err=True)
        return ExitCode.INTERRUPTED
    if isinstance(error, BrokenPipeError):
        # the reader is gone, so there is nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    known = error if isinstance(error, LabError) else _translate(error)
    _print_block(known, given)
    _tell_programs(known, given)
    return known.exit_code


def _tell_programs(error: LabError, given: Settings) -> None:
    from .annotations import annotate, wanted

    if wanted():
        annotate(error)
    if given.output == "jsonl":
        from .json_lines import emit_error

        with contextlib.suppress(BrokenPipeError):
            emit_error(error)


def _translate(error: BaseException) -> LabError:
    """Turns an error of the AWS clients, of the operating system, or a bug into a LabError."""
    if type(error).__module__.startswith("botocore"):
        operation = getattr(error, "operation_name", "")
        return LabError(
            "AWS rejected the request" if operation else "Can't reach AWS",
            where=operation,
            why=str(error),
            hint="--debug logs the requests",
        )
    if isinstance(error, OSError):
        return LabError(
            "The operating system reported an error", where=str(error.filename or ""), why=error.strerror or str(error)
        )
    return LabError(
        f"Unexpected {type(error).__name__}",
        why=str(error),
        hint="run the command again with --debug, and report its output",
    )


def _print_block(error: LabError, given: Settings) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False, no_color=given.colourless or None, soft_wrap=True)
    console.print(Text.assemble(("Error: ", "bold red"), (printable(error.what), "bold")))
    for label, text in (("where", error.where), ("why", error.why), ("hint", given.with_options(error.hint))):
        if text:
            first, *rest = printable(text).splitlines()
            console.print(Text.assemble((f"  {label + ':':7}", "dim"), first))
            for line in rest:
                console.print(Text(f"         {line}"))
