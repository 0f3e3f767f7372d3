"""Prices from the documents of AWS's price list."""

from __future__ import annotations

import json

import pytest

from ecsconsul.targets.aws.price_list import Price, endpoint_region, price_in
from tests.targets.aws.price_answers import product

EC2 = "AmazonEC2"


def text(usage: str, *tiers: tuple[str, str], currency: str = "USD") -> str:
    return json.dumps(product(EC2, usage, {}, "Hrs", list(tiers), currency))


def test_price_is_on_demand_and_of_the_usage_type() -> None:
    answer = [text("Other", ("0", "9.0000000000")), text("BoxUsage", ("0", "0.0208000000"))]
    assert price_in(answer, "BoxUsage") == Price(0.0208, "USD")


def test_price_in_china_is_in_its_currency() -> None:
    assert price_in([text("BoxUsage", ("0", "0.1500000000"), currency="CNY")], "BoxUsage") == Price(0.15, "CNY")


def test_price_of_tiers_is_that_of_the_first_units_that_cost_something() -> None:
    answer = text("BoxUsage", ("250000", "0.05"), ("10", "0.30"), ("10000", "0.10"), ("0", "0.0000000000"))
    assert price_in([answer], "BoxUsage") == Price(0.3, "USD")


@pytest.mark.parametrize(
    "answer",
    [
        [],
        [text("Other", ("0", "1"))],
        # free of charge: no price
        [text("BoxUsage", ("0", "0.0000000000"))],
        # nobody knows which of two
        [text("BoxUsage", ("0", "1")), text("BoxUsage", ("0", "2"))],
        ["{", "[]", "{}", '{"product": {"attributes": {"usagetype": "BoxUsage"}}}'],
    ],
)
def test_price_that_is_not_there_or_not_clear_is_none(answer: list[str]) -> None:
    assert price_in(answer, "BoxUsage") is None


def test_same_price_twice_is_clear() -> None:
    assert price_in([text("BoxUsage", ("0", "1")), text("BoxUsage", ("0", "1.0"))], "BoxUsage") == Price(1.0, "USD")


@pytest.mark.parametrize(
    ("partition", "region", "endpoint"),
    [
        ("aws", "us-east-1", "us-east-1"),
        ("aws", "ca-central-1", "us-east-1"),
        ("aws", "eu-west-3", "eu-central-1"),
        ("aws", "ap-southeast-2", "ap-south-1"),
        ("aws-cn", "cn-north-1", "cn-northwest-1"),
        ("aws-us-gov", "us-gov-west-1", None),
    ],
)
def test_nearest_endpoint_of_the_partition_is_asked(partition: str, region: str, endpoint: str | None) -> None:
    assert endpoint_region(partition, region) == endpoint
