"""`ecsconsul doctor`: all that is looked at before `up` begins, well or not, and how to mend it."""

from __future__ import annotations

import click

from ..errors import ExitCode
from .common import common_options, runtime_option, settings


@click.command("doctor")
@common_options
@runtime_option
def command() -> int:
    """Look at all that `up` needs, and say how to mend what is not well; exits 1 when something is in the way."""
    lab = settings().lab()
    target = settings().open_target(lab, runtime=lab.runtime)
    found = target.diagnostics()
    well = not any(one.state == "failed" for one in found)
    findings = [{"name": f.name, "state": f.state, "detail": f.detail, "hint": f.hint} for f in found]
    settings().view().doctor({"lab": lab.name, "target": target.name, "well": well, "findings": findings})
    return ExitCode.DONE if well else ExitCode.FAILED
