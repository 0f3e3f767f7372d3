"""Where a lab lives. Every difference between a laptop and an AWS account is behind `Target`, and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import ConsulAddress, Finding, Images, LogLine, Patience, RunsAs, Target

if TYPE_CHECKING:
    from ..lab import Lab

__all__ = ["ConsulAddress", "Finding", "Images", "LogLine", "Patience", "RunsAs", "Target", "open_target"]


def open_target(
    name: str, lab: Lab, *, region: str | None = None, profile: str | None = None, runtime: str | None = None
) -> Target:
    """The target of that name for the lab; nothing is read or made yet. Raises LabError.

    With a `runtime`, docker or processes, a lab that runs otherwise counts as absent.
    """
    if name == "local":
        from .local import LocalTarget

        return LocalTarget(lab.name, region=region, runtime=runtime)
    from .aws import AwsTarget

    return AwsTarget(lab, region=region, profile=profile)
