"""The AMIs of the lab's instances: which ones the stack keeps or gets, and how old they are.

An AMI is looked up when the stack is created, and stays until `up --update-ami` or an instance type of another
architecture asks for the current one. Another AMI replaces instances.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from functools import cached_property
from typing import Any, NamedTuple

from ...config.aws_settings import AwsSpec
from ...errors import LabError
from ..commands import AmiInfo, Finding, failed
from . import instance_type as instance_types
from .session import Session, unless_inconclusive
from .stack_info import StackInfo

# for emulators that lack AWS's parameters; they boot nothing
NO_AMI = "ami-00000000000000000"
# a newer AMI is worth a warning once the lab's own is this old
STALE_DAYS = 30
# of a stack of an earlier version, for all instances
OLD_PARAMETER = "EcsAmi"


class Role(NamedTuple):
    """Instances that share an AMI: who they are, and the stack's parameters for their AMI and their type."""

    who: str
    finding: str
    ami: str
    type: str
    key: str


INSTANCES = Role("ECS instances", "ami", "InstanceAmi", "InstanceType", "aws.instance_type")
SERVERS = Role("Consul servers", "server ami", "ServerAmi", "ServerInstanceType", "aws.server_instance_type")
ROLES = (INSTANCES, SERVERS)


class Amis:
    """The AMIs of one lab. `stack` returns the existing stack, `renew` asks for the current AMIs."""

    def __init__(
        self, session: Session, spec: AwsSpec, stack: Callable[[], StackInfo | None], *, renew: bool = False
    ) -> None:
        self._session = session
        self._spec = spec
        self._find_stack = stack
        self._renew = renew
        self._current: dict[str, str | LabError] = {}
        self._architectures: dict[str, str] = {}

    def parameters(self) -> dict[str, str]:
        """The stack's parameters. Raises LabError."""
        return {role.ami: self._chosen(role) for role in ROLES}

    def renewed(self) -> dict[str, str]:
        """The same if the current AMIs were asked for, else none. Raises LabError."""
        return self.parameters() if self._renew else {}

    def architecture(self, role: Role) -> str:
        """x86_64 or arm64, by the role's type in the config. Raises LabError."""
        found = self._type(role)
        if found not in self._architectures:
            self._architectures[found] = instance_types.architecture_of(self._ec2, found, role.key)
        return self._architectures[found]

    def in_use(self, now: datetime | None = None) -> list[AmiInfo]:
        """The AMIs that the stack has, each with those who use it. Raises LabError."""
        users: dict[str, list[Role]] = {}
        for role in ROLES:
            if found := self._had(role)[0]:
                users.setdefault(found, []).append(role)
        if not users:
            return []
        described = self._describe(list(users))
        return [self._info(ami, roles, described, now or _now()) for ami, roles in users.items()]

    def findings(self) -> list[Finding]:
        """One for the ECS instances, and one for the servers if theirs is another one."""
        in_use = {role: info for info in self.in_use() for role in info.used_by}
        found = [self._finding(role, in_use.get(role.who) if self._kept(role) else None) for role in ROLES]
        return found[:1] if found[0].detail == found[1].detail else found

    # which one

    @cached_property
    def _stack(self) -> StackInfo | None:
        found = self._find_stack()
        return found if found and found.lives else None

    @property
    def _ec2(self) -> Any:
        return self._session.client("ec2")

    def _type(self, role: Role) -> str:
        return self._spec.server_type if role is SERVERS else self._spec.instance_type

    def _chosen(self, role: Role) -> str:
        kept = None if self._renew else self._kept(role)
        if kept:
            return kept
        found = self._newest(self.architecture(role))
        if isinstance(found, str):
            return found
        if self._session.endpoint():
            return NO_AMI
        raise found

    def _had(self, role: Role) -> tuple[str, str]:
        """The AMI and the instance type that the stack has for the role, both empty if there is no stack.

        A stack of an earlier version has one of each for all, and the AMI's SSM parameter instead of its id.
        """
        stack = self._stack
        if stack is None:
            return "", ""
        known, parameters = stack.resolved.get(OLD_PARAMETER), stack.parameters
        # emulators describe such a parameter with the AMI itself
        old = known or parameters.get(OLD_PARAMETER, "")
        ami = parameters.get(role.ami) or (old if old.startswith("ami-") else "")
        return ami, parameters.get(role.type) or parameters.get(INSTANCES.type, "")

    def _kept(self, role: Role) -> str | None:
        """The stack's AMI for the role; None if there is none, or if it has another architecture than the config."""
        ami, _ = self._had(role)
        return ami if ami and self._architecture_had(role) == self.architecture(role) else None

    def _architecture_had(self, role: Role) -> str:
        _, had = self._had(role)
        if had in ("", self._type(role)):
            return self.architecture(role)
        try:
            return instance_types.architecture_of(self._ec2, had)
        except LabError:
            return instance_types.by_name(had)

    def _newest(self, architecture: str) -> str | LabError:
        """AWS's current AMI, or the error if there is none."""
        if architecture not in self._current:
            parameter = instance_types.ami_parameter(architecture)
            try:
                self._current[architecture] = instance_types.ami(self._session.client("ssm"), parameter)
            except LabError as error:
                self._current[architecture] = error
        return self._current[architecture]

    # how old

    def _describe(self, amis: list[str]) -> dict[str, dict[str, Any]] | None:
        """What EC2 says of each AMI that it still has; None if it doesn't say.

        A filter, because EC2 refuses an id that is gone; and a deprecated AMI must be asked for:
        https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ami-deprecate.html
        """
        filters = [{"Name": "image-id", "Values": amis}]
        found = unless_inconclusive(lambda: self._ec2.describe_images(Filters=filters, IncludeDeprecated=True))
        return None if found is None else {one["ImageId"]: one for one in found["Images"]}

    def _info(self, ami: str, roles: list[Role], described: dict[str, dict[str, Any]] | None, now: datetime) -> AmiInfo:
        image = (described or {}).get(ami, {})
        created, deprecated = _time(image.get("CreationDate")), _time(image.get("DeprecationTime"))
        newest = self._newest(self._architecture_had(roles[0]))
        return AmiInfo(
            ami,
            tuple(role.who for role in roles),
            (now - created).days if created else None,
            deprecated=bool(deprecated and deprecated <= now),
            gone=described is not None and not image and ami != NO_AMI,
            newer=newest if isinstance(newest, str) and newest != ami else "",
        )

    def _finding(self, role: Role, info: AmiInfo | None) -> Finding:
        if info is None:
            return self._of_new_stack(role)
        hint = "replace the instances by ones with the current AMI: `ecsconsul up --update-ami`"
        stale = info.newer and info.age_days is not None and info.age_days > STALE_DAYS
        if info.gone or info.deprecated or stale:
            return Finding(role.finding, "warning", info.described(), hint)
        return Finding(role.finding, "ok", info.described())

    def _of_new_stack(self, role: Role) -> Finding:
        architecture = self.architecture(role)
        newest, parameter = self._newest(architecture), instance_types.ami_parameter(architecture)
        if isinstance(newest, str):
            return Finding(role.finding, "ok", f"{newest}, from {parameter}")
        if self._session.endpoint():
            hint = "nothing to do: the emulator boots no instances, so a placeholder AMI is used"
            return Finding(role.finding, "warning", f"there is no {parameter}", hint)
        return failed(role.finding, newest)


def _time(text: str | None) -> datetime | None:
    """EC2's times, such as 2026-03-01T17:00:00.000Z; None for what an emulator writes instead."""
    try:
        found = datetime.fromisoformat((text or "").replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)


def _now() -> datetime:
    return datetime.now(timezone.utc)
