"""AWS's Price List Query API: where it is, how it is asked for one price, and what an answer says.

https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-price-list-query-api.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from .bill import PriceQuery

# The API's endpoints, each of which knows the prices of all regions of its partition. AWS GovCloud (US) has none.
# https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-pelong.html
# https://docs.amazonaws.cn/en_us/awsaccountbilling/latest/aboutv2/using-price-list-query-api.html
_ENDPOINTS = {"aws-cn": "cn-northwest-1", "aws-eusc": "eusc-de-east-1"}
_NEAREST = {"eu": "eu-central-1", "me": "eu-central-1", "il": "eu-central-1", "af": "eu-central-1", "ap": "ap-south-1"}
_ELSEWHERE = "us-east-1"
# of one query: the filters leave a few products
MAX_PRODUCTS = 300


class Price(NamedTuple):
    """A price for one unit."""

    amount: float
    currency: str


def endpoint_region(partition: str, region: str) -> str | None:
    """The region whose endpoint is asked for prices; None if the partition has none."""
    if partition == "aws":
        return _NEAREST.get(region.partition("-")[0], _ELSEWHERE)
    return _ENDPOINTS.get(partition)


def ask(client: Any, query: PriceQuery) -> Price | None:
    """The price, or None if the list doesn't have it. Raises LabError, ClientError."""
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in query.filters]
    pages = client.get_paginator("get_products").paginate(
        ServiceCode=query.service,
        Filters=filters,
        FormatVersion="aws_v1",
        PaginationConfig={"MaxItems": MAX_PRODUCTS, "PageSize": 100},
    )
    return price_in([text for page in pages for text in page["PriceList"]], query.usage_type)


def price_in(products: Iterable[str], usage_type: str) -> Price | None:
    """The on-demand price of that usage type, from products as GetProducts returns them: each is a JSON text.

    None if there is none, or if it isn't clear: products of one usage type with different prices.
    """
    found = {price for text in products for price in _prices(_parsed(text), usage_type)}
    return found.pop() if len(found) == 1 else None


def _parsed(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _prices(product: dict[str, Any], usage_type: str) -> Iterator[Price]:
    attributes = product.get("product", {}).get("attributes", {})
    if re.fullmatch(usage_type, attributes.get("usagetype", "")):
        for term in product.get("terms", {}).get("OnDemand", {}).values():
            yield from _first_tier(term.get("priceDimensions", {}).values())


def _first_tier(dimensions: Iterable[dict[str, Any]]) -> Iterator[Price]:
    """The price of the first units that aren't free: larger amounts may cost less."""
    tiers = [(float(one.get("beginRange") or 0), price) for one in dimensions if (price := _price(one)) is not None]
    if tiers:
        yield min(tiers)[1]


def _price(dimension: dict[str, Any]) -> Price | None:
    for currency, amount in dimension.get("pricePerUnit", {}).items():
        if float(amount) > 0:
            return Price(float(amount), currency)
    return None
