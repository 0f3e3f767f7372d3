"""Answers of GetProducts in the form that AWS documents, with the neighbours that the same filters also find.

https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-price-list-query-api.html
The prices are those of us-east-1 as AWS listed them in 2026.
"""

from __future__ import annotations

import json
from typing import Any

# usage type: service, the attributes that are filtered by, unit, and the tiers' first units and prices
Tiers = list[tuple[str, str]]
PRODUCTS: list[tuple[str, str, dict[str, str], str, Tiers]] = [
    ("AmazonEC2", "BoxUsage:t3.small", {"instanceType": "t3.small"}, "Hrs", [("0", "0.0208000000")]),
    ("AmazonEC2", "BoxUsage:t3.micro", {"instanceType": "t3.micro"}, "Hrs", [("0", "0.0104000000")]),
    ("AmazonEC2", "UnusedBox:t3.small", {"instanceType": "t3.small"}, "Hrs", [("0", "0.0300000000")]),
    ("AmazonEC2", "EBS:VolumeUsage.gp3", {"volumeApiName": "gp3"}, "GB-Mo", [("0", "0.0800000000")]),
    ("AmazonVPC", "USE1-PublicIPv4:IdleAddress", {"group": "VPCPublicIPv4Address"}, "Hrs", [("0", "0.0060000000")]),
    ("AmazonVPC", "USE1-PublicIPv4:InUseAddress", {"group": "VPCPublicIPv4Address"}, "Hrs", [("0", "0.0050000000")]),
    ("AWSELB", "LoadBalancerUsage", {"productFamily": "Load Balancer-Application"}, "Hrs", [("0", "0.0225000000")]),
    ("AWSELB", "TS-LoadBalancerUsage", {"productFamily": "Load Balancer-Application"}, "Hrs", [("0", "0.0056000000")]),
    ("AWSELB", "LCUUsage", {"productFamily": "Load Balancer-Application"}, "LCU-Hrs", [("0", "0.0080000000")]),
    ("AmazonCloudWatch", "CW:AlarmMonitorUsage", {"productFamily": "Alarm"}, "Alarms", [("0", "0.1000000000")]),
    ("AmazonCloudWatch", "CW:HighResAlarmMonitorUsage", {"productFamily": "Alarm"}, "Alarms", [("0", "0.3000000000")]),
    (
        "AmazonCloudWatch", "CW:MetricMonitorUsage", {"productFamily": "Metric"}, "Metrics",
        [("250000", "0.0500000000"), ("10000", "0.1000000000"), ("0", "0.3000000000")],
    ),
]  # fmt: skip


def product(
    service: str, usage: str, attributes: dict[str, str], unit: str, tiers: Tiers, currency: str = "USD"
) -> dict[str, Any]:
    """One product, with its on-demand term and a reserved one."""
    sku = f"{abs(hash(usage)):016X}"[:16]
    ends = [*(begin for begin, _ in sorted(tiers)[1:]), "Inf"]
    dimensions = {
        f"{sku}.JRTCKXETXF.{number}": {
            "unit": unit,
            "endRange": end,
            "description": f"{price} per {unit}",
            "appliesTo": [],
            "rateCode": f"{sku}.JRTCKXETXF.{number}",
            "beginRange": begin,
            "pricePerUnit": {currency: price},
        }
        for number, ((begin, price), end) in enumerate(zip(tiers, ends, strict=True))
    }
    term = {"sku": sku, "effectiveDate": "2026-11-01T00:00:00Z", "offerTermCode": "JRTCKXETXF", "termAttributes": {}}
    reserved = {"priceDimensions": {f"{sku}.A.B": {"unit": "Hrs", "pricePerUnit": {currency: "0.0130000000"}}}}
    return {
        "product": {
            "productFamily": attributes.get("productFamily", "Compute Instance"),
            "attributes": {"servicecode": service, "usagetype": usage, "regionCode": "us-east-1", **attributes},
            "sku": sku,
        },
        "serviceCode": service,
        "terms": {
            "OnDemand": {f"{sku}.JRTCKXETXF": {**term, "priceDimensions": dimensions}},
            "Reserved": {f"{sku}.A": {**reserved, "termAttributes": {"LeaseContractLength": "1yr"}}},
        },
        "version": "20261101000000",
        "publicationDate": "2026-11-01T00:00:00Z",
    }


def get_products(request: dict[str, Any]) -> dict[str, Any]:
    """AWS's answer, as it filters by the attributes that are recorded here."""
    wanted = {one["Field"]: one["Value"] for one in request["Filters"]}
    assert wanted["regionCode"]
    assert request["FormatVersion"] == "aws_v1"
    found = [
        json.dumps(product(service, usage, attributes, unit, tiers))
        for service, usage, attributes, unit, tiers in PRODUCTS
        if service == request["ServiceCode"] and attributes.items() <= wanted.items()
    ]
    return {"FormatVersion": "aws_v1", "PriceList": found}
