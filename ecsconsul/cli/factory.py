"""Creates the target of a command: the only module that chooses between this machine and an AWS account."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..config.lab import Lab
    from ..targets.commands import CommandTarget


def open_target(
    name: str, lab: Lab, *, region: str | None = None, profile: str | None = None, runtime: str | None = None
) -> CommandTarget:
    """The lab's target of that name. Does no I/O. Raises LabError.

    With a `runtime` (docker or processes), a lab on the other one counts as absent.
    """
    if name == "local":
        from ..targets.local.target import LocalTarget

        return LocalTarget(lab, region=region, runtime=runtime)
    from ..targets.aws.target import AwsTarget

    return AwsTarget(lab, region=region, profile=profile)
