"""Opens the target that a command works on: the one place that chooses between a laptop and an AWS account."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..config.lab import Lab
    from ..targets.commands import CommandTarget


def open_target(
    name: str, lab: Lab, *, region: str | None = None, profile: str | None = None, runtime: str | None = None
) -> CommandTarget:
    """The target of that name for the lab; reads and creates nothing. Raises LabError.

    With a `runtime` (docker or processes), a lab that runs on the other one counts as absent.
    """
    if name == "local":
        from ..targets.local.target import LocalTarget

        return LocalTarget(lab, region=region, runtime=runtime)
    from ..targets.aws.target import AwsTarget

    return AwsTarget(lab, region=region, profile=profile)
