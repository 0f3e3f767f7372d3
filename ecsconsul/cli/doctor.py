"""`ecsconsul doctor`: checks everything `up` needs."""

from __future__ import annotations

import click

from ..errors import ExitCode
from .common import common_options, runtime_option, settings


@click.command("doctor")
@common_options
@runtime_option
def command() -> int:
    """Check everything `up` needs, and say how to fix what's missing. Exits with 1 if a check fails."""
    lab = settings().lab()
    target = settings().open_target(lab, runtime=lab.runtime)
    found = target.diagnostics()
    well = not any(one.state == "failed" for one in found)
    findings = [{"name": f.name, "state": f.state, "detail": f.detail, "hint": f.hint} for f in found]
    settings().view().doctor({"lab": lab.name, "target": target.name, "well": well, "findings": findings})
    return ExitCode.DONE if well else ExitCode.FAILED
