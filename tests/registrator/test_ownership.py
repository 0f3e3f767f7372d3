"""The mark by which a Registrator knows its own services."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ecsconsul.registrator.checks import Check
from ecsconsul.registrator.ownership import OwnershipTag, host_of, marked, owner_of, ownership_tag, read_ownership_tag
from ecsconsul.registrator.rules import Registration

SERVICE = Registration("a", "web", "10.0.0.1", 80, ("t",), {"k": "v"}, Check(http="http://x/", interval="10s"))


def test_a_mark_is_read_back_from_what_was_registered() -> None:
    marker = ownership_tag("ENGINE:1", "0123456789abcdef", SERVICE)
    assert (marker.owner, marker.container) == ("ENGINE:1", "0123456789ab")
    assert read_ownership_tag(marked(SERVICE.payload(), marker)) == marker


@pytest.mark.parametrize(
    "service",
    [
        {},
        {"TaggedAddresses": None},
        {"TaggedAddresses": {"lan": {"Address": "10.0.0.1"}}},
        {"TaggedAddresses": {"registrator": {"Address": "something else"}}},
    ],
)
def test_a_service_without_the_mark(service: dict[str, object]) -> None:
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
def test_whatever_is_registered_differently_is_marked_differently(change: dict[str, object]) -> None:
    other = replace(SERVICE, **change)  # type: ignore[arg-type]
    assert ownership_tag("e", "c", other) != ownership_tag("e", "c", SERVICE)


def test_the_payload_is_left_as_it_is_but_for_the_mark() -> None:
    payload = SERVICE.payload("passing")
    extended = marked(payload, OwnershipTag("e", "c", "d"))
    assert extended.pop("TaggedAddresses") == {"registrator": {"Address": "e/c/d", "Port": 0}}
    assert extended == payload


def test_who_watches_only_some_containers_owns_only_these() -> None:
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
def test_the_host_name_in_an_id_of_the_originals_form(service_id: str, host: str) -> None:
    assert host_of(service_id) == host
