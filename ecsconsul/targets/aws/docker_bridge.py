"""Whether Docker's bridge on the ECS instances hides addresses of the VPC, or of networks that it has routes to."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable

from ...errors import LabError
from ..commands import Finding, failed
from .network import EVERYWHERE, Subnet, Vpc

_NAME = "docker bridge"
# the default, and ranges that are rarely used
_FREE = ("172.17.0.1/16", "192.168.255.1/24", "10.255.255.1/24", "100.127.255.1/24")


def bridge_diagnostics(bridge: str, vpc: Vpc, subnets: Iterable[Subnet]) -> Finding:
    """An instance sends packets for the bridge's range to its own containers, whoever else has these addresses."""
    own = ipaddress.ip_network(bridge, strict=False)
    ranges = {cidr: f"the VPC {vpc.id} has {cidr}" for cidr in (vpc.cidr, *vpc.more_cidrs)}
    routes = {
        route.destination: f"the route to {route.destination} leads to {route.target}"
        for subnet in subnets
        for route in subnet.routes
        if route.destination not in (EVERYWHERE, *ranges) and route.active
    }
    taken = ranges | routes
    hidden = [text for cidr, text in taken.items() if _overlaps(cidr, own)]
    if not hidden:
        return Finding(_NAME, "ok", bridge)
    hint = f"set aws.docker_bridge to a range that is free, such as {_free(taken)}"
    # A wide route, such as 10.0.0.0/8 to a company's network, says little about who is there.
    wide = [text for cidr, text in routes.items() if _overlaps(cidr, own) and _is_wide(cidr, text, own)]
    if len(wide) == len(hidden):
        return Finding(_NAME, "warning", f"{bridge} hides part of a network: {'; '.join(wide)}", hint)
    error = LabError(
        f"Docker's bridge {bridge} overlaps the lab's network",
        where="config, aws.docker_bridge",
        why=f"{'; '.join(hidden)}; instances would send packets for these addresses to their own containers",
        hint=hint,
    )
    return failed(_NAME, error)


def _is_wide(cidr: str, text: str, own: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    return ipaddress.ip_network(cidr, strict=False).prefixlen < own.prefixlen and " leads to pcx-" not in text


def _overlaps(cidr: str, own: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    return ipaddress.ip_network(cidr, strict=False).overlaps(own)


def _free(taken: Collection[str]) -> str:
    for bridge in _FREE:
        own = ipaddress.ip_network(bridge, strict=False)
        if not any(_overlaps(cidr, own) for cidr in taken):
            return bridge
    return "one that your network team can spare"
