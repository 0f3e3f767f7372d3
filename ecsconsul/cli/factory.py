"""Creates what a command works on: the only module that chooses between this machine and an AWS account."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import WrongUsage

if TYPE_CHECKING:
    from ..config.lab import Lab
    from ..targets.aws.cluster_reader import ClusterReader
    from ..targets.commands import CommandTarget


def open_target(
    name: str,
    lab: Lab,
    *,
    region: str | None = None,
    profile: str | None = None,
    runtime: str | None = None,
    update_ami: bool = False,
) -> CommandTarget:
    """The lab's target of that name. Does no I/O. Raises LabError.

    With a `runtime` (docker or processes), a lab on the other one counts as absent. `update_ami` asks for the current
    AMIs instead of those that the stack has.
    """
    if name == "local":
        if update_ami:
            raise WrongUsage(
                "--update-ami is for labs in AWS",
                why="a lab on this machine has no AMI: nothing boots here",
                hint="add --target aws",
            )
        from ..targets.local.target import LocalTarget

        return LocalTarget(lab, region=region, runtime=runtime)
    from ..targets.aws.target import AwsTarget

    return AwsTarget(lab, region=region, profile=profile, update_ami=update_ami)


def open_cluster(name: str, *, region: str | None, profile: str | None) -> ClusterReader:
    """What reads an ECS cluster that exists in an account. Does no I/O."""
    from ..targets.aws.cluster_reader import ClusterReader
    from ..targets.aws.session import Session

    return ClusterReader(Session(region, profile), name)
