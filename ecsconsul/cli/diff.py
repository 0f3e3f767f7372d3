"""`ecsconsul diff`: shows what others than `up` have changed in the lab."""

from __future__ import annotations

import click

from ..errors import ExitCode
from .common import common_options, runtime_option, settings
from .field_changes import drift_as_json


@click.command("diff")
@click.option("--exit-code", is_flag=True, help="Exit with 5 if something has changed.")
@common_options
@runtime_option
def command(exit_code: bool) -> int:
    """Show what others have changed in the lab: with the AWS CLI, in the console, or with `scale`.

    What you have changed in the config since the last `up` is shown by `plan`.
    """
    from ..deploy.drift import find_drift
    from ..deploy.lab_steps import DISCOVERY, steps_for

    lab = settings().lab()
    target = settings().open_target(lab, runtime=lab.runtime)
    steps = [step for step in steps_for(lab, target) if step.name != DISCOVERY]
    found = drift_as_json(find_drift(steps))
    drifted = [one["name"] for one in found if one["drifted"]]
    settings().view().diff({"lab": lab.name, "target": target.name, "drifted": drifted, "steps": found})
    return ExitCode.CHANGES_PENDING if exit_code and drifted else ExitCode.DONE
