"""Creates the local target's boto3 clients, and says where its Consul is."""

from __future__ import annotations

import functools
from typing import Any

from ...errors import TargetAbsent
from ...region.runtimes.lab_dir import AccessKey, RegionInfo
from ..base import ConsulAddress

_USED_BY_STEPS = ("ecs", "cloudformation")


def new_client(service: str, endpoint: str, region: str, key: AccessKey) -> Any:
    """A client for a region on this machine, which signs with the lab's key and no session token. Makes no request."""
    from botocore.config import Config

    # no proxy for loopback, and no retries when the region hangs
    config = Config(proxies={}, connect_timeout=2, read_timeout=60, retries={"total_max_attempts": 1})
    return _session().client(
        service,
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id=key.id,
        aws_secret_access_key=key.secret,
        config=config,
    )


def load_ahead(region: str) -> None:
    """Load boto3 and its service models now, which saves the first clients some 0.2 s."""
    for service in _USED_BY_STEPS:
        new_client(service, "http://127.0.0.1", region, AccessKey("none", "none"))


@functools.cache
def _session() -> Any:
    """One session for all clients, so that the service models are read once."""
    import boto3
    import botocore.session

    from ...region.botocore_models import decode_models_quickly

    decode_models_quickly()
    # AWS_PROFILE is about accounts: one that doesn't exist must not keep the local lab from working
    own = botocore.session.Session(session_vars={"profile": (None, None, None, None)})
    return boto3.Session(botocore_session=own)


def consul_of(info: RegionInfo) -> ConsulAddress:
    """Where the Consul of a region listens. Raises TargetAbsent."""
    if not info.consul_http:
        raise TargetAbsent(f"The lab {info.lab} has no Consul yet", hint="`ecsconsul up` creates it")
    http_host, _, http_port = info.consul_http.rpartition(":")
    dns_host, _, dns_port = info.consul_dns.rpartition(":")
    return ConsulAddress(http_host, int(http_port), dns_host, int(dns_port))
