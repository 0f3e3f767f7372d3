"""What `up` asks the user to confirm."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import structs

from ecsconsul.config.aws_settings import LoadBalancerSpec
from ecsconsul.config.lab import ConsulSpec
from ecsconsul.targets.aws.confirmation import confirmation
from ecsconsul.targets.aws.session import Identity
from ecsconsul.targets.aws.stack_info import StackInfo
from tests.targets.aws.conftest import lab_of

ME = Identity("123456789012", "arn:aws:iam::123456789012:user/me")
PARAMETERS = {"InstanceCount": "2", "ConsulServers": "1", "InstanceType": "t3.small"}


def test_resources_place_and_cost_are_described(tmp_path: Path) -> None:
    text = confirmation(lab_of(tmp_path), None, ME, "eu-west-1")
    assert text is not None
    for words in (
        f"`up` will create resources in AWS account {ME.account}, region eu-west-1 (as {ME.arn})",
        "1 Consul server and 2 ECS instances, t3.small: 3 instances",
        "security groups that open ports 80, 443 and 8080 to the internet",
        "2 services and the Registrator; images in ECR",
        "ecsconsul down --target aws",
    ):
        assert words in text


def test_only_the_portals_port_is_opened(tmp_path: Path) -> None:
    lab = lab_of(tmp_path)
    admin = structs.replace(lab.services[0], name="admin", host_port=8081)
    text = confirmation(structs.replace(lab, services=(admin, *lab.services)), None, ME, "eu-west-1")
    assert "open ports 80, 443 and 8080 to the internet" in str(text)


def test_private_instances_have_no_public_address(tmp_path: Path) -> None:
    text = str(confirmation(lab_of(tmp_path), None, ME, "eu-west-1", private=True))
    assert "no public IPv4 address" in text
    assert "security groups that open port 8080 to the VPC" in text
    assert "internet" not in text


@pytest.mark.parametrize(("internal", "open_to"), [(False, "the internet"), (True, "the VPC")])
def test_load_balancer_is_named(tmp_path: Path, internal: bool, open_to: str) -> None:
    arn = "arn:aws:acm:eu-west-1:123456789012:certificate/1"
    lab = lab_of(tmp_path, load_balancer=LoadBalancerSpec(certificate=arn, internal=internal))
    text = str(confirmation(lab, None, ME, "eu-west-1", private=True))
    assert "security groups that open port 8080 to the load balancer" in text
    assert f"an Application Load Balancer that opens ports 80 and 443 to {open_to}" in text
    assert "a certificate" not in text
    stack = StackInfo("CREATE_COMPLETE", PARAMETERS, {})
    assert confirmation(lab, stack, ME, "eu-west-1"), "it costs money"
    balanced = StackInfo("CREATE_COMPLETE", {**PARAMETERS, "CertificateArn": arn}, {})
    assert confirmation(lab, balanced, ME, "eu-west-1") is None


def test_lab_without_portal_opens_nothing(tmp_path: Path) -> None:
    lab = lab_of(tmp_path)
    text = str(confirmation(structs.replace(lab, services=lab.services[:1]), None, ME, "eu-west-1"))
    assert "security groups that open no port to others" in text


def test_registry_in_the_config_is_named(tmp_path: Path) -> None:
    lab = lab_of(tmp_path)
    lab = structs.replace(lab, aws=structs.replace(lab.aws, registry="my_docker_hub_repo"))
    assert "images in my_docker_hub_repo" in str(confirmation(lab, None, ME, "eu-west-1"))


def test_existing_lab_needs_no_confirmation(tmp_path: Path) -> None:
    assert confirmation(lab_of(tmp_path), StackInfo("UPDATE_COMPLETE", PARAMETERS, {}), ME, "eu-west-1") is None
    fewer = structs.replace(lab_of(tmp_path), instances=1)
    assert confirmation(fewer, StackInfo("UPDATE_COMPLETE", PARAMETERS, {}), ME, "eu-west-1") is None


@pytest.mark.parametrize(
    "more",
    [
        {"instances": 3},
        {"consul": ConsulSpec(servers=3)},
        {"aws": structs.replace(lab_of(Path("/")).aws, instance_type="m7i.large")},
    ],
)
def test_more_or_other_instances_need_confirmation(tmp_path: Path, more: dict[str, object]) -> None:
    lab = structs.replace(lab_of(tmp_path), **more)
    assert "will add resources" in str(confirmation(lab, StackInfo("UPDATE_COMPLETE", PARAMETERS, {}), ME, "eu-west-1"))


def test_dead_stack_needs_confirmation(tmp_path: Path) -> None:
    assert confirmation(lab_of(tmp_path), StackInfo("ROLLBACK_COMPLETE", PARAMETERS, {}), ME, "eu-west-1") is not None


STACK = StackInfo("UPDATE_COMPLETE", PARAMETERS, {})
REPLACED = ["ConsulServer: 1 instance is replaced", "EcsInstances: 2 instances are replaced one by one"]


def test_replacements_need_confirmation(tmp_path: Path) -> None:
    text = str(confirmation(lab_of(tmp_path), STACK, ME, "eu-west-1", REPLACED))
    assert text.splitlines() == [
        f"`up` will replace instances in AWS account {ME.account}, region eu-west-1 (as {ME.arn}):",
        f"  {REPLACED[0]}",
        f"  {REPLACED[1]}",
    ]


def test_growth_and_replacements_are_one_question(tmp_path: Path) -> None:
    text = str(confirmation(structs.replace(lab_of(tmp_path), instances=3), STACK, ME, "eu-west-1", REPLACED))
    assert "will add resources in AWS account" in text
    assert text.splitlines()[-3:] == ["It also replaces instances:", f"  {REPLACED[0]}", f"  {REPLACED[1]}"]


def test_type_of_the_servers_is_named_if_it_is_another(tmp_path: Path) -> None:
    lab = lab_of(tmp_path, server_instance_type="t4g.small")
    text = str(confirmation(lab, STACK, ME, "eu-west-1"))
    assert "1 Consul server, t4g.small, and 2 ECS instances, t3.small: 3 instances" in text
    has = StackInfo("UPDATE_COMPLETE", {**PARAMETERS, "ServerInstanceType": "t4g.small"}, {})
    assert confirmation(lab, has, ME, "eu-west-1") is None
