"""An EC2 that knows the account's default network, and nothing else."""

from __future__ import annotations

from typing import Any


class Network:
    """The part of a boto3 client that a target asks for the stack's parameters."""

    def describe_vpcs(self) -> dict[str, Any]:
        return {"Vpcs": [{"VpcId": "vpc-1"}]}

    def describe_subnets(self) -> dict[str, Any]:
        return {"Subnets": [{"SubnetId": "subnet-1"}]}
