"""Docker's bridge and the networks that it would hide."""

from __future__ import annotations

import pytest

from ecsconsul.targets.aws.docker_bridge import bridge_diagnostics
from ecsconsul.targets.aws.network import Route, Subnet, Vpc

DEFAULT = "172.17.0.1/16"


def finding(bridge: str, *routes: Route, cidr: str = "10.0.0.0/16", more: tuple[str, ...] = ()) -> tuple[str, str]:
    """The state of the finding, and its hint."""
    every = (Route(cidr, "local"), Route("0.0.0.0/0", "igw-1"), *routes)
    found = bridge_diagnostics(
        bridge, Vpc("vpc-1", cidr, False, True, True, more), [Subnet("s", "a", True, routes=every)]
    )
    return found.state, found.hint


def test_default_bridge_fits_most_vpcs() -> None:
    assert finding(DEFAULT) == ("ok", "")


@pytest.mark.parametrize(
    ("cidr", "more"), [("172.17.0.0/16", ()), ("172.17.128.0/20", ()), ("10.0.0.0/16", ("172.17.4.0/24",))]
)
def test_overlap_with_any_range_of_the_vpc_fails(cidr: str, more: tuple[str, ...]) -> None:
    state, hint = finding(DEFAULT, cidr=cidr, more=more)
    assert state == "failed"
    assert "set aws.docker_bridge" in hint
    proposed = hint.rpartition(" ")[2]
    assert finding(proposed, cidr=cidr, more=more) == ("ok", "")


@pytest.mark.parametrize(
    ("route", "state"),
    [
        (Route("172.17.5.0/24", "tgw-1"), "failed"),
        (Route("172.17.0.0/16", "pcx-1"), "failed"),
        # a peered VPC has all of it
        (Route("172.16.0.0/15", "pcx-1"), "failed"),
        # a company's network, of which this part may be empty
        (Route("172.16.0.0/12", "tgw-1"), "warning"),
        (Route("172.17.5.0/24", "tgw-1", active=False), "ok"),
        (Route("192.168.0.0/16", "pcx-1"), "ok"),
    ],
)
def test_routes_to_other_networks_count(route: Route, state: str) -> None:
    assert finding(DEFAULT, route)[0] == state


def test_proposed_range_is_free_of_all_routes() -> None:
    _, hint = finding("10.255.255.1/24", Route("10.0.0.0/8", "tgw-1"), cidr="172.17.0.0/16")
    assert hint.endswith("192.168.255.1/24")
    taken = [Route(cidr, "tgw-1") for cidr in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")]
    assert "your network team" in finding(DEFAULT, *taken)[1]
