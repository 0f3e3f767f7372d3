"""The tag by which a Registrator recognizes its own services."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ecsconsul.registrator.checks import Check
from ecsconsul.registrator.ownership import (
    OwnershipTag,
    host_of,
    owner_of,
    ownership_tag,
    read_ownership_tag,
    with_ownership_tag,
)
from ecsconsul.registrator.rules import Registration

SERVICE = Registration("a", "web", "10.0.0.1", 80, ("t",), {"k": "v"}, Check(http="http://x/", interval="10s"))


def test_tag_round_trip() -> None:
    tag = ownership_tag("ENGINE:1", "0123456789abcdef", SERVICE)
    assert (tag.owner, tag.container) == ("ENGINE:1", "0123456789ab")
    assert read_ownership_tag(with_ownership_tag(SERVICE.payload(), tag)) == tag


@pytest.mark.parametrize(
    "service",
    [
        {},
        {"TaggedAddresses": None},
        {"TaggedAddresses": {"lan": {"Address": "10.0.0.1"}}},
        {"TaggedAddresses": {"registrator": {"Address": "something else"}}},
    ],
)
def test_service_without_a_tag(service: dict[str, object]) -> None:
    assert read_ownership_tag(service) is None


@pytest.mark.parametrize(
    "change",
    [
        {"name": "x"},
        {"address": "10.0.0.2"},
        {"port": 81},
        {"tags": ()},
        {"meta": {}},
        {"check": None},
        {"check": Check(http="http://x/", interval="11s")},
    ],
)
def test_any_change_of_the_registration_changes_the_tag(change: dict[str, object]) -> None:
    other = replace(SERVICE, **change)  # type: ignore[arg-type]
    assert ownership_tag("e", "c", other) != ownership_tag("e", "c", SERVICE)


def test_tag_is_added_to_the_payload() -> None:
    payload = SERVICE.payload("passing")
    extended = with_ownership_tag(payload, OwnershipTag("e", "c", "d"))
    assert extended.pop("TaggedAddresses") == {"registrator": {"Address": "e/c/d", "Port": 0}}
    assert extended == payload


def test_label_narrows_the_owner() -> None:
    assert owner_of("e", "") == "e"
    assert len({owner_of("e", ""), owner_of("e", "a=b"), owner_of("e", "a=c"), owner_of("f", "a=b")}) == 4
    assert "/" not in owner_of("e", "a/b")


@pytest.mark.parametrize(
    ("service_id", "host"),
    [
        ("host:web:80", "host"),
        ("host:web.1:80:udp", "host"),
        ("web", ""),
        ("host:web", ""),
        ("host:web:http", ""),
        ("host:web:80:tcp", ""),
        ("consul", ""),
    ],
)
def test_host_name_in_an_id(service_id: str, host: str) -> None:
    assert host_of(service_id) == host
