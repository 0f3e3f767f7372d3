"""The estimate of a lab's cost, from a real little server in the place of AWS's price list."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from ecsconsul.config.aws_settings import LoadBalancerSpec
from ecsconsul.config.lab import ConsulSpec, InstanceRange, Lab
from ecsconsul.errors import LabError
from ecsconsul.targets.aws import prices
from ecsconsul.targets.aws.bill import bill_of_materials
from ecsconsul.targets.aws.price_list import Price
from ecsconsul.targets.aws.prices import answers, summed
from ecsconsul.targets.aws.session import Identity, Session
from ecsconsul.targets.aws.target import AwsTarget
from tests.price_server import PriceServer, price_server
from tests.targets.aws.conftest import lab_of
from tests.targets.aws.test_bill import CERTIFICATE

Account = Callable[[str], Any]


@pytest.fixture
def server(account: Account, monkeypatch: pytest.MonkeyPatch) -> Iterator[PriceServer]:
    with price_server() as found:
        monkeypatch.setenv("AWS_ENDPOINT_URL_PRICING", found.url)
        yield found


def refused(lab: Lab) -> LabError:
    with pytest.raises(LabError, match="AWS's price list can't be read") as raised:
        AwsTarget(lab).estimate()
    return raised.value


def test_estimate_of_the_built_in_lab(server: PriceServer, lab: Lab) -> None:
    found = AwsTarget(lab).estimate()
    hour = 3 * 0.0208 + 3 * 0.005 + (90 * 0.08 + 4 * 0.1 + 3 * 0.3) / 730
    assert found.hour == found.hour_max == pytest.approx(hour)
    assert found.month == pytest.approx(730 * hour)
    assert (found.currency, found.unknown) == ("USD", ())
    assert found.summary == "Estimated cost: 0.09 USD an hour, 65.00 USD a month"
    # the instances of both kinds have one price
    assert len(server.requests) == 5


def test_estimate_of_a_large_lab_has_both_ends(server: PriceServer, tmp_path: Path) -> None:
    balancer = LoadBalancerSpec(certificate=CERTIFICATE)
    lab = structs.replace(
        lab_of(tmp_path, server_instance_type="t3.micro", load_balancer=balancer),
        instances=InstanceRange(min=2, max=6),
        consul=ConsulSpec(servers=3),
    )
    found = AwsTarget(lab).estimate()
    fixed = 3 * 0.0104 + 2 * 0.005 + 0.0225 + 0.008 + (4 * 0.1 + 3 * 0.3) / 730
    assert found.hour == pytest.approx(fixed + 2 * 0.0208 + 5 * (0.005 + 30 * 0.08 / 730))
    assert found.hour_max == pytest.approx(fixed + 6 * 0.0208 + 9 * (0.005 + 30 * 0.08 / 730))
    assert " to " in found.summary
    assert len(server.requests) == 8


def test_price_that_is_not_listed_is_unknown_and_not_zero(server: PriceServer, lab: Lab) -> None:
    server.missing = {"USE1-PublicIPv4:InUseAddress"}
    found = AwsTarget(lab).estimate()
    assert found.unknown == ("public IPv4 addresses",)
    assert "public IPv4 addresses" not in {line.what for line in found.lines}
    assert found.summary.endswith(", and unknown prices: public IPv4 addresses")


def test_denied_prices_say_which_permission(server: PriceServer, lab: Lab) -> None:
    server.error = "AccessDeniedException"
    assert refused(lab).why == "you may not ask for prices (pricing:GetProducts)"


def test_emulator_without_prices_says_so_at_once(account: Account, moto_url: str, lab: Lab) -> None:
    begun = time.monotonic()
    assert refused(lab).why == f"{moto_url} has none (500)"
    assert time.monotonic() - begun < 30


def test_unreachable_price_list_is_an_error(
    account: Account, monkeypatch: pytest.MonkeyPatch, lab: Lab, closed_port: int
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_PRICING", f"http://127.0.0.1:{closed_port}")
    assert "AWS doesn't answer" in refused(lab).why


@pytest.fixture
def closed_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_silent_price_list_is_not_waited_for(server: PriceServer, monkeypatch: pytest.MonkeyPatch, lab: Lab) -> None:
    server.answers.clear()
    client = Session(None, None).impatient_client("pricing", read_timeout=60, attempts=1)
    items = bill_of_materials(lab, "us-east-1", public=True)
    begun = time.monotonic()
    found = answers(client, [item.query for item in items], seconds=0.2)
    assert time.monotonic() - begun < 30
    assert len(found) == 5
    with pytest.raises(LabError, match="no answer within 0 s"):
        summed(items, found)


def test_late_prices_are_unknown(lab: Lab) -> None:
    items = bill_of_materials(lab, "us-east-1", public=True)
    late = LabError("AWS's price list can't be read")
    known = {item.query: late for item in items} | {items[0].query: Price(0.02, "USD")}
    found = summed(items, known)
    assert [line.what for line in found.lines] == [items[0].what, items[1].what]
    assert found.unknown == tuple(item.what for item in items[2:])


def test_list_without_any_of_the_prices_is_no_error(lab: Lab) -> None:
    items = bill_of_materials(lab, "us-east-1", public=True)
    found = summed(items, {item.query: None for item in items})
    assert (found.lines, len(found.unknown)) == ((), 6)


def test_prices_in_two_currencies_are_not_added(lab: Lab) -> None:
    items = bill_of_materials(lab, "us-east-1", public=True)
    mixed = {item.query: Price(1.0, "USD" if "alarms" in item.what else "CNY") for item in items}
    with pytest.raises(LabError, match="CNY and USD"):
        summed(items, mixed)


def test_bug_in_a_thread_is_not_swallowed(lab: Lab) -> None:
    class Broken:
        def get_paginator(self, _: str) -> Any:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        answers(Broken(), [bill_of_materials(lab, "us-east-1", public=True)[0].query])


def test_partition_without_a_price_list_is_not_asked(server: PriceServer, lab: Lab) -> None:
    session = Session("us-gov-west-1", None)
    session._identity = Identity("123456789012", "arn:aws-us-gov:iam::123456789012:user/me")
    with pytest.raises(LabError, match="aws-us-gov has no price list"):
        prices.estimate(session, lab, lambda: True)
    assert server.requests == []


def test_private_instances_have_no_addresses(server: PriceServer, account: Account, lab: Lab) -> None:
    ec2 = account("ec2")
    for subnet in ec2.describe_subnets()["Subnets"]:
        ec2.modify_subnet_attribute(SubnetId=subnet["SubnetId"], MapPublicIpOnLaunch={"Value": False})
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=ec2.describe_vpcs()["Vpcs"][0]["VpcId"])
    for table in ec2.describe_route_tables()["RouteTables"]:
        ec2.create_route(RouteTableId=table["RouteTableId"], DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    assert "public IPv4 addresses" not in {line.what for line in AwsTarget(lab).estimate().lines}


def test_lab_without_a_network_is_estimated_with_addresses(server: PriceServer, account: Account, lab: Lab) -> None:
    with_other_vpc = structs.replace(lab, aws=structs.replace(lab.aws, vpc="vpc-1"))
    assert "public IPv4 addresses" in {line.what for line in AwsTarget(with_other_vpc).estimate().lines}


def test_confirmation_ends_with_the_cost(server: PriceServer, lab: Lab) -> None:
    confirmation = AwsTarget(lab).confirmation()
    assert confirmation
    assert confirmation.splitlines()[-1] == "Estimated cost: 0.09 USD an hour, 65.00 USD a month"


def test_confirmation_without_prices_has_no_cost(account: Account, lab: Lab) -> None:
    confirmation = AwsTarget(lab).confirmation()
    assert confirmation
    assert "Estimated" not in confirmation
