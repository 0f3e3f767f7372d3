"""What `up` says before it makes what costs."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import structs

from ecsconsul.config.lab import AwsSpec, ConsulSpec
from ecsconsul.targets.aws.confirmation import confirmation
from ecsconsul.targets.aws.session import Identity
from ecsconsul.targets.aws.stack_info import StackInfo
from tests.targets.aws.conftest import lab_of

ME = Identity("123456789012", "arn:aws:iam::123456789012:user/me")
MADE = {"InstanceCount": "2", "ConsulServers": "1", "InstanceType": "t3.small"}


def test_what_is_made_where_and_that_it_costs(tmp_path: Path) -> None:
    said = confirmation(lab_of(tmp_path), None, ME, "eu-west-1")
    assert said is not None
    for words in (
        "`up` will make in AWS account 123456789012, region eu-west-1 (as arn:aws:iam::123456789012:user/me)",
        "1 Consul server and 2 ECS instances, t3.small: 3 instances",
        "open to the internet at 80, 443 and 8080",
        "2 services and the Registrator; their images in ECR",
        "ecsconsul down --target aws",
    ):
        assert words in said


def test_only_the_portals_port_is_opened(tmp_path: Path) -> None:
    lab = lab_of(tmp_path)
    admin = structs.replace(lab.services[0], name="admin", host_port=8081)
    said = confirmation(structs.replace(lab, services=(admin, *lab.services)), None, ME, "eu-west-1")
    assert "open to the internet at 80, 443 and 8080, a log group" in str(said)


def test_a_registry_of_ones_own_is_named(tmp_path: Path) -> None:
    lab = structs.replace(lab_of(tmp_path), aws=AwsSpec(registry="my_docker_hub_repo"))
    assert "images in my_docker_hub_repo" in str(confirmation(lab, None, ME, "eu-west-1"))


def test_a_lab_that_is_there_is_not_asked_about_again(tmp_path: Path) -> None:
    assert confirmation(lab_of(tmp_path), StackInfo("UPDATE_COMPLETE", MADE, {}), ME, "eu-west-1") is None
    fewer = structs.replace(lab_of(tmp_path), instances=1)
    assert confirmation(fewer, StackInfo("UPDATE_COMPLETE", MADE, {}), ME, "eu-west-1") is None


@pytest.mark.parametrize(
    "more",
    [
        {"instances": 3},
        {"consul": ConsulSpec(servers=3)},
        {"aws": structs.replace(lab_of(Path("/")).aws, instance_type="m7i.large")},
    ],
)
def test_more_or_other_instances_are_asked_about(tmp_path: Path, more: dict[str, object]) -> None:
    lab = structs.replace(lab_of(tmp_path), **more)
    assert "will make more" in str(confirmation(lab, StackInfo("UPDATE_COMPLETE", MADE, {}), ME, "eu-west-1"))


def test_a_stack_that_could_not_be_made_is_asked_about(tmp_path: Path) -> None:
    assert confirmation(lab_of(tmp_path), StackInfo("ROLLBACK_COMPLETE", MADE, {}), ME, "eu-west-1") is not None
