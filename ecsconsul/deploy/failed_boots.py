"""Finds EC2 instances of the lab whose boot failed; each writes the reason into a tag (templates/boot.sh)."""

from __future__ import annotations

from typing import Any

from ..aws_tags import LAB_TAG, as_mapping

FAILURE_TAG, ROLE_TAG = "ecsconsul:boot-failure", "ecsconsul:role"


def failed_boots(ec2: Any, lab: str) -> list[dict[str, str]]:
    """The instances that failed, oldest first, each as an entry of `status`; EC2 lists terminated ones for an hour."""
    filters = [{"Name": f"tag:{LAB_TAG}", "Values": [lab]}, {"Name": "tag-key", "Values": [FAILURE_TAG]}]
    pages = ec2.get_paginator("describe_instances").paginate(Filters=filters)
    found = [one for page in pages for reservation in page["Reservations"] for one in reservation["Instances"]]
    return [_entry(one) for one in sorted(found, key=lambda one: (one["LaunchTime"], one["InstanceId"]))]


def _entry(instance: dict[str, Any]) -> dict[str, str]:
    tags = as_mapping(instance["Tags"], key="Key", value="Value")
    return {
        "instance": instance["InstanceId"],
        "role": tags.get(ROLE_TAG, ""),
        "state": instance["State"]["Name"],
        "reason": tags[FAILURE_TAG],
    }
