"""Creates the local target's boto3 clients."""

from __future__ import annotations

from typing import Any

# moto requires credentials and accepts any
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "ecsconsul", "AWS_SECRET_ACCESS_KEY": "local"}
_USED_BY_STEPS = ("ecs", "cloudformation")


def new_client(service: str, endpoint: str, region: str) -> Any:
    """A client for a region on this machine. Makes no request."""
    import boto3
    from botocore.config import Config

    from ...region.botocore_models import decode_models_quickly

    decode_models_quickly()

    # no proxy for loopback, and no retries when the region hangs
    config = Config(proxies={}, connect_timeout=2, read_timeout=60, retries={"total_max_attempts": 1})
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        config=config,
    )


def load_ahead(region: str) -> None:
    """Load boto3 and its service models now, which saves the first clients some 0.2 s."""
    for service in _USED_BY_STEPS:
        new_client(service, "http://127.0.0.1", region)
