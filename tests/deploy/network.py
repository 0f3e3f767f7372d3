"""A fake EC2 with the account's default network."""

from __future__ import annotations

from typing import Any


class Network:
    """The part of a boto3 client that stack parameters need."""

    def describe_vpcs(self) -> dict[str, Any]:
        return {"Vpcs": [{"VpcId": "vpc-1"}]}

    def describe_subnets(self) -> dict[str, Any]:
        return {"Subnets": [{"SubnetId": "subnet-1"}]}
