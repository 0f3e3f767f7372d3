"""Which AMIs a lab gets, keeps and renews, and how old they are."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from ecsconsul.config.aws_settings import AwsSpec
from ecsconsul.errors import LabError
from ecsconsul.targets.aws.amis import NO_AMI, Amis
from ecsconsul.targets.aws.instance_type import ami_parameter
from ecsconsul.targets.aws.session import Session
from ecsconsul.targets.aws.stack_info import StackInfo
from ecsconsul.targets.commands import AmiInfo, Finding
from tests.deploy.world import REGION
from tests.targets.aws.conftest import ACCOUNT

Account = Callable[[str], Any]
HAS, OTHER = "ami-00000000000000001", "ami-00000000000000002"


def publish(ami: str, architecture: str = "x86_64") -> None:
    """AWS publishes a new AMI; its parameters are reserved, in moto's API too."""
    from moto import backends

    parameter = ami_parameter(architecture)
    backend = backends.get_backend("ssm")[ACCOUNT][REGION]
    backend._parameters[parameter][-1].value = ami


def published(account: Account, architecture: str = "x86_64") -> str:
    return str(account("ssm").get_parameter(Name=ami_parameter(architecture))["Parameter"]["Value"])


def stack(status: str = "CREATE_COMPLETE", **parameters: str) -> StackInfo:
    types = {"InstanceType": "t3.small", "ServerInstanceType": "t3.small"}
    return StackInfo(status, {**types, "InstanceAmi": HAS, "ServerAmi": HAS, **parameters}, {})


def amis(found: StackInfo | None, *, renew: bool = False, region: str | None = None, **spec: Any) -> Amis:
    return Amis(Session(region, None), AwsSpec(**spec), lambda: found, renew=renew)


def both(ami: str) -> dict[str, str]:
    return {"InstanceAmi": ami, "ServerAmi": ami}


# --- which one


def test_new_stack_gets_the_current_one_of_each_architecture(account: Account) -> None:
    x86, arm = published(account), published(account, "arm64")
    assert x86 != arm
    assert amis(None).parameters() == both(x86)
    assert amis(None, instance_type="t4g.small").parameters() == both(arm)
    mixed = amis(None, instance_type="t4g.small", server_instance_type="t3.small")
    assert mixed.parameters() == {"InstanceAmi": arm, "ServerAmi": x86}


def test_existing_stack_keeps_its_own(account: Account) -> None:
    assert amis(stack()).parameters() == both(HAS)
    assert amis(stack(ServerAmi=OTHER)).parameters() == {"InstanceAmi": HAS, "ServerAmi": OTHER}


def test_dead_stack_has_none(account: Account) -> None:
    assert amis(stack("ROLLBACK_COMPLETE")).parameters() == both(published(account))


def test_stack_of_an_earlier_version_keeps_what_its_parameter_contained(account: Account) -> None:
    known = {"InstanceType": "t3.small", "EcsAmi": ami_parameter("x86_64")}
    old = StackInfo("UPDATE_COMPLETE", known, {}, {"EcsAmi": HAS})
    assert amis(old).parameters() == both(HAS)
    # moto describes the parameter with its content
    assert amis(StackInfo("UPDATE_COMPLETE", {**known, "EcsAmi": HAS}, {})).parameters() == both(HAS)


def test_another_type_of_the_same_architecture_keeps_it(account: Account) -> None:
    assert amis(stack(), instance_type="m5.large").parameters() == both(HAS)
    assert amis(stack(InstanceType="retired.type"), instance_type="m5.large").parameters() == both(HAS)


def test_another_architecture_needs_another_one(account: Account) -> None:
    arm = published(account, "arm64")
    found = amis(stack(), instance_type="t4g.small", server_instance_type="t3.small").parameters()
    assert found == {"InstanceAmi": arm, "ServerAmi": HAS}
    assert amis(stack(), server_instance_type="t4g.small").parameters() == {"InstanceAmi": HAS, "ServerAmi": arm}


def test_renewal_asks_for_the_current_one(account: Account) -> None:
    assert amis(stack()).renewed() == {}
    publish(OTHER)
    renewing = amis(stack(), renew=True)
    assert renewing.renewed() == renewing.parameters() == both(OTHER)


def test_region_without_one(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """moto has none in this one. In AWS that's an error; an emulator gets a placeholder."""
    nowhere = "mx-central-1"
    assert amis(None, region=nowhere).parameters() == both(NO_AMI)
    (told,) = amis(None, region=nowhere).findings()
    assert (told.name, told.state, "a placeholder AMI is used" in told.hint) == ("ami", "warning", True)

    class InAws(Session):
        def endpoint(self) -> str | None:
            return None

    strict = Amis(InAws(nowhere, None), AwsSpec(), lambda: None)
    with pytest.raises(LabError, match="This region has no ECS-optimized Amazon Linux 2023"):
        strict.parameters()
    assert [one.state for one in strict.findings()] == ["failed"]


# --- how old


class RecordedEc2:
    """EC2's images in the form that it documents, and moto's other answers.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeImages.html
    """

    def __init__(self, ec2: Any, *images: dict[str, str]) -> None:
        self._ec2 = ec2
        self._images = images

    def describe_images(self, Filters: list[dict[str, Any]], IncludeDeprecated: bool) -> dict[str, Any]:
        assert IncludeDeprecated
        ((name, values),) = [(one["Name"], one["Values"]) for one in Filters]
        assert name == "image-id"
        return {"Images": [one for one in self._images if one["ImageId"] in values]}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ec2, name)


NOW = datetime(2026, 4, 10, 12, tzinfo=timezone.utc)


def image(days: int, ami: str = HAS, **more: str) -> dict[str, str]:
    created = NOW - timedelta(days=days)
    return {"ImageId": ami, "CreationDate": created.strftime("%Y-%m-%dT%H:%M:%S.000Z"), **more}


class RecordedSession(Session):
    images: tuple[dict[str, str], ...] = ()

    def client(self, service: str) -> Any:
        found = super().client(service)
        return RecordedEc2(found, *self.images) if service == "ec2" else found


def described(monkeypatch: pytest.MonkeyPatch, found: StackInfo | None, *images: dict[str, str], **spec: Any) -> Amis:
    monkeypatch.setattr("ecsconsul.targets.aws.amis._now", lambda: NOW)
    session = RecordedSession(None, None)
    session.images = images
    return Amis(session, AwsSpec(**spec), lambda: found)


def test_age_and_users_are_told(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(HAS)
    everybody = ("ECS instances", "Consul servers")
    (found,) = described(monkeypatch, stack(), image(12)).in_use()
    assert found == AmiInfo(HAS, everybody, 12, deprecated=False, gone=False, newer="")
    assert found.described() == f"{HAS}, 12 days old"
    two = described(monkeypatch, stack(ServerAmi=OTHER), image(12), image(1, OTHER)).in_use()
    assert [(one.id, one.used_by, one.age_days, one.newer) for one in two] == [
        (HAS, everybody[:1], 12, ""),
        (OTHER, everybody[1:], 1, HAS),
    ]
    assert two[1].described() == f"{OTHER}, 1 day old, {HAS} is current"


def test_lab_without_a_stack_has_none(account: Account) -> None:
    assert amis(None).in_use() == []


DEPRECATED = {"DeprecationTime": "2026-04-09T00:00:00.000Z"}
TO_BE_DEPRECATED = {"DeprecationTime": "2028-02-29T00:00:00.000Z"}


@pytest.mark.parametrize(
    ("current", "images", "state", "detail"),
    [
        (HAS, [image(12)], "ok", f"{HAS}, 12 days old"),
        (HAS, [image(400, **TO_BE_DEPRECATED)], "ok", f"{HAS}, 400 days old"),
        (OTHER, [image(30)], "ok", f"{HAS}, 30 days old, {OTHER} is current"),
        (OTHER, [image(31)], "warning", f"{HAS}, 31 days old, {OTHER} is current"),
        (OTHER, [image(5, **DEPRECATED)], "warning", f"{HAS}, 5 days old, deprecated, {OTHER} is current"),
        (OTHER, [], "warning", f"{HAS}, no longer available, {OTHER} is current"),
    ],
)
def test_old_deprecated_and_missing_ones_are_warnings(
    account: Account, monkeypatch: pytest.MonkeyPatch, current: str, images: list[Any], state: str, detail: str
) -> None:
    publish(current)
    (found,) = described(monkeypatch, stack(), *images).findings()
    assert (found.name, found.state, found.detail) == ("ami", state, detail)
    assert ("ecsconsul up --update-ami" in found.hint) is (state == "warning")


def test_servers_with_another_one_have_a_finding_of_their_own(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = described(monkeypatch, stack(ServerAmi=OTHER), image(1), image(2, OTHER)).findings()
    assert [(one.name, one.detail.split(",")[0]) for one in found] == [("ami", HAS), ("server ami", OTHER)]


def test_architecture_that_changes_is_told_as_a_new_stack_would(account: Account) -> None:
    (found,) = amis(stack(), instance_type="t4g.small").findings()
    parameter = ami_parameter("arm64")
    assert found == Finding("ami", "ok", f"{published(account, 'arm64')}, from {parameter}")


@pytest.mark.parametrize(("created", "age"), [("", None), ("Yesterday", None), ("2026-04-08T12:00:00", 2)])
def test_times_of_emulators_are_no_error(
    account: Account, monkeypatch: pytest.MonkeyPatch, created: str, age: int | None
) -> None:
    publish(HAS)
    (found,) = described(monkeypatch, stack(), {"ImageId": HAS, "CreationDate": created}).in_use()
    assert (found.age_days, found.gone) == (age, False)


def test_age_is_unknown_to_those_who_may_not_ask(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.exceptions import ClientError

    def refuse(*_: Any, **__: Any) -> None:
        raise ClientError({"Error": {"Code": "UnauthorizedOperation", "Message": "no"}}, "DescribeImages")

    monkeypatch.setattr(RecordedEc2, "describe_images", refuse)
    publish(OTHER)
    (found,) = described(monkeypatch, stack()).in_use()
    assert (found.age_days, found.gone, found.described()) == (None, False, f"{HAS}, {OTHER} is current")
