"""The bill of a lab: what AWS charges for by the hour and month, and how many of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from ecsconsul.config.aws_settings import LoadBalancerSpec
from ecsconsul.config.lab import ConsulSpec, InstanceRange, Lab
from ecsconsul.targets.aws.bill import bill_of_materials
from tests.targets.aws.conftest import lab_of

CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/1"


def counts(lab: Lab, *, public: bool = True) -> dict[str, tuple[float, float]]:
    return {one.what: (one.fewest, one.most) for one in bill_of_materials(lab, "eu-central-1", public=public)}


def test_bill_of_a_small_lab(lab: Lab) -> None:
    assert counts(lab) == {
        "Consul servers, t3.small": (1, 1),
        "ECS instances, t3.small": (2, 2),
        "gp3 volumes, GiB": (90, 90),
        "public IPv4 addresses": (3, 3),
        "CloudWatch alarms": (4, 4),
        "CloudWatch metrics": (3, 3),
    }


def test_bill_has_both_ends_of_a_range(tmp_path: Path) -> None:
    lab = structs.replace(
        lab_of(tmp_path, server_instance_type="t3.micro", instance_type="m7i.large"),
        instances=InstanceRange(min=2, max=6),
        consul=ConsulSpec(servers=3),
    )
    assert counts(lab) == {
        "Consul servers, t3.micro": (3, 3),
        "ECS instances, m7i.large": (2, 6),
        "gp3 volumes, GiB": (150, 270),
        "public IPv4 addresses": (5, 9),
        "CloudWatch alarms": (4, 4),
        "CloudWatch metrics": (3, 3),
    }


@pytest.mark.parametrize(
    ("spec", "public", "addresses"),
    [
        ({}, False, 2),
        ({}, True, 5),
        ({"subnets": ("subnet-1", "subnet-2", "subnet-3")}, False, 3),
        ({"internal": True}, False, None),
        ({"internal": True}, True, 3),
    ],
)
def test_load_balancer_has_addresses_of_its_own(
    tmp_path: Path, spec: dict[str, Any], public: bool, addresses: int | None
) -> None:
    lab = lab_of(tmp_path, load_balancer=LoadBalancerSpec(certificate=CERTIFICATE, **spec))
    found = counts(lab, public=public)
    assert found["Application Load Balancer"] == found["its load, capacity units"] == (1, 1)
    assert found.get("public IPv4 addresses") == (None if addresses is None else (addresses, addresses))


def test_same_price_is_one_query(lab: Lab) -> None:
    items = bill_of_materials(lab, "eu-central-1", public=True)
    assert items[0].query == items[1].query
    assert dict(items[0].query.filters) == {
        "regionCode": "eu-central-1",
        "instanceType": "t3.small",
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "capacitystatus": "Used",
        "preInstalledSw": "NA",
    }


@pytest.mark.parametrize(
    ("usage", "what"),
    [
        ("BoxUsage:t3.small", "ECS instances, t3.small"),
        ("EUC1-BoxUsage:t3.small", "ECS instances, t3.small"),
        ("EU-EBS:VolumeUsage.gp3", "gp3 volumes, GiB"),
        ("USE1-PublicIPv4:InUseAddress", "public IPv4 addresses"),
        ("LoadBalancerUsage", "Application Load Balancer"),
        ("APS1-LCUUsage", "its load, capacity units"),
        ("CW:AlarmMonitorUsage", "CloudWatch alarms"),
        ("EUC1-CW:MetricMonitorUsage", "CloudWatch metrics"),
        ("EUC1-BoxUsage:t3.smaller", None),
        ("EUC1-UnusedBox:t3.small", None),
        ("EUC1-EBS:VolumeUsageXgp3", None),
        ("TS-LoadBalancerUsage", None),
        ("EUC1-TS-LoadBalancerUsage", None),
        ("EUC1-ReservedLCUUsage", None),
        ("CW:HighResAlarmMonitorUsage", None),
    ],
)
def test_usage_type_names_one_item(tmp_path: Path, usage: str, what: str | None) -> None:
    lab = lab_of(tmp_path, load_balancer=LoadBalancerSpec(certificate=CERTIFICATE), server_instance_type="t3.micro")
    items = bill_of_materials(lab, "eu-central-1", public=True)
    found = [one.what for one in items if re.fullmatch(one.query.usage_type, usage)]
    assert found == ([what] if what else [])
