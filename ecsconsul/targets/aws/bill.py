"""What a lab is billed for while nothing happens in it: how many of what, and the name of its price in the list."""

from __future__ import annotations

from typing import NamedTuple

from ...config.lab import Lab
from .confirmation import VOLUME_GIB

# what the lab's template has for each lab, besides what EC2 and ECS report by themselves
ALARMS, METRICS = 4, 3
# An Application Load Balancer has an address in each of its zones, and at least two zones:
# https://docs.aws.amazon.com/elasticloadbalancing/latest/application/application-load-balancers.html
FEWEST_ZONES = 2
# Usage types begin with a region's code, except for us-east-1's oldest ones: EUC1-BoxUsage:t3.small, BoxUsage:t3.small.
# `TS-LoadBalancerUsage` is another usage, of trust stores.
_REGION = r"((?!TS-)[A-Z]{2,4}\d*-)?"


class PriceQuery(NamedTuple):
    """A price: the service and filters that GetProducts is asked with, and the usage type of the product, a pattern."""

    service: str
    filters: tuple[tuple[str, str], ...]
    usage_type: str


class Item(NamedTuple):
    """One line of the bill: what, how many (at `min` and at `max` instances), and per what the price is."""

    what: str
    fewest: float
    most: float
    per: str
    query: PriceQuery


def bill_of_materials(lab: Lab, region: str, *, public: bool) -> list[Item]:
    """What AWS charges for by the hour and month. `public`: whether each instance has a public address."""
    servers, spec = lab.consul.servers, lab.aws
    fewest, most = servers + lab.min_instances, servers + lab.max_instances
    items = [
        _instances(f"Consul servers, {spec.server_type}", servers, servers, spec.server_type, region),
        _instances(
            f"ECS instances, {spec.instance_type}", lab.min_instances, lab.max_instances, spec.instance_type, region
        ),
        _volumes(VOLUME_GIB * fewest, VOLUME_GIB * most, region),
    ]
    balancer = spec.load_balancer
    zones = max(FEWEST_ZONES, len(balancer.subnets)) if balancer and not balancer.internal else 0
    if public or zones:
        items.append(_addresses(public * fewest + zones, public * most + zones, region))
    return [*items, *(_balancer(region) if balancer else []), *_cloudwatch(region)]


def _instances(what: str, fewest: int, most: int, instance_type: str, region: str) -> Item:
    filters = {
        "instanceType": instance_type,
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "capacitystatus": "Used",
        "preInstalledSw": "NA",
    }
    return Item(what, fewest, most, "hour", _query("AmazonEC2", region, f"BoxUsage:{instance_type}", filters))


def _volumes(fewest: int, most: int, region: str) -> Item:
    filters = {"productFamily": "Storage", "volumeApiName": "gp3"}
    return Item("gp3 volumes, GiB", fewest, most, "month", _query("AmazonEC2", region, "EBS:VolumeUsage.gp3", filters))


def _addresses(fewest: int, most: int, region: str) -> Item:
    # https://aws.amazon.com/blogs/aws/new-aws-public-ipv4-address-charge-public-ip-insights/
    query = _query("AmazonVPC", region, "PublicIPv4:InUseAddress", {"group": "VPCPublicIPv4Address"})
    return Item("public IPv4 addresses", fewest, most, "hour", query)


def _balancer(region: str) -> list[Item]:
    """The hours, and one capacity unit of load."""
    family = {"productFamily": "Load Balancer-Application"}
    hours, units = (_query("AWSELB", region, usage, family) for usage in ("LoadBalancerUsage", "LCUUsage"))
    return [
        Item("Application Load Balancer", 1, 1, "hour", hours),
        Item("its load, capacity units", 1, 1, "hour", units),
    ]


def _cloudwatch(region: str) -> list[Item]:
    alarm = _query("AmazonCloudWatch", region, "CW:AlarmMonitorUsage", {"productFamily": "Alarm"})
    metric = _query("AmazonCloudWatch", region, "CW:MetricMonitorUsage", {"productFamily": "Metric"})
    return [
        Item("CloudWatch alarms", ALARMS, ALARMS, "month", alarm),
        Item("CloudWatch metrics", METRICS, METRICS, "month", metric),
    ]


def _query(service: str, region: str, usage: str, filters: dict[str, str]) -> PriceQuery:
    usage_type = _REGION + usage.replace(".", r"\.")
    return PriceQuery(service, (("regionCode", region), *filters.items()), usage_type)
