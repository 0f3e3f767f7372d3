"""Parsing Docker's containers and events, from API 1.41 to 1.52."""

from __future__ import annotations

from typing import Any

import pytest

from ecsconsul.registrator.container_snapshot import (
    ContainerSnapshot,
    Event,
    image_id,
    nanoseconds,
    parse_container,
    parse_event,
    repository_of,
)
from ecsconsul.registrator.rules import Container, PortBinding

INSPECTED: dict[str, Any] = {
    "Id": "c1",
    "Name": "/web",
    "Config": {
        "Image": "shop/web:1",
        "Env": ["A=b"],
        "Labels": {"l": "v"},
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
        "StopSignal": "SIGQUIT",
    },
    "HostConfig": {"NetworkMode": "default"},
    "NetworkSettings": {
        "Ports": {
            "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "32768"}, {"HostIp": "::", "HostPort": "32769"}],
            "53/udp": None,
        },
        "Networks": {"other": {"IPAddress": "10.1.0.2"}, "bridge": {"IPAddress": "172.17.0.2", "NetworkID": "n1"}},
    },
    "State": {
        "Running": True,
        "Paused": False,
        "StartedAt": "2026-05-07T21:09:36.5Z",
        "ExitCode": 0,
        "Health": {"Status": "starting"},
    },
}


def changed(**parts: dict[str, Any]) -> ContainerSnapshot:
    return parse_container({**INSPECTED, **{name: {**INSPECTED[name], **data} for name, data in parts.items()}})


def test_container() -> None:
    assert parse_container(INSPECTED) == ContainerSnapshot(
        container=Container(
            id="c1",
            name="/web",
            image="shop/web:1",
            environment=("A=b",),
            labels={"l": "v"},
            ports=(
                PortBinding(80),
                PortBinding(53, "udp"),
                PortBinding(80, "tcp", 32768, "0.0.0.0"),
                PortBinding(80, "tcp", 32769, "::"),
            ),
            ip="172.17.0.2",
            network_mode="default",
        ),
        running=True,
        paused=False,
        health="starting",
        started_at=nanoseconds("2026-05-07T21:09:36Z") + 500_000_000,
        exit_code=0,
        stop_signal="QUIT",
        shares_network_of="",
    )


def test_container_with_few_fields() -> None:
    snapshot = parse_container({"Id": "c1"})
    assert snapshot.container == Container(id="c1", name="", image="", network_mode="default")
    assert (snapshot.running, snapshot.health, snapshot.started_at, snapshot.stop_signal) == (False, "none", 0, "TERM")


@pytest.mark.parametrize(
    ("mode", "address"), [("default", "172.17.0.2"), ("other", "10.1.0.2"), ("n1", "172.17.0.2"), ("x", "172.17.0.2")]
)
def test_address_comes_from_the_network_it_was_started_in(mode: str, address: str) -> None:
    assert changed(HostConfig={"NetworkMode": mode}).container.ip == address


def test_shared_network() -> None:
    snapshot = changed(HostConfig={"NetworkMode": "container:c0"}, NetworkSettings={"Networks": {}, "Ports": {}})
    assert (snapshot.shares_network_of, snapshot.container.shares_network, snapshot.container.ip) == ("c0", True, "")


def test_restarting_container_is_not_running() -> None:
    assert not changed(State={"Restarting": True}).running


@pytest.mark.parametrize(
    ("data", "event"),
    [
        ({"Type": "container", "Action": "start", "Actor": {"ID": "c1"}, "timeNano": 5}, Event("start", "c1", 5)),
        (
            {"Type": "container", "Action": "die", "Actor": {"ID": "c1", "Attributes": {"exitCode": "3"}}},
            Event("die", "c1", 0, exit_code=3),
        ),
        (
            {"Type": "container", "Action": "kill", "Actor": {"ID": "c1", "Attributes": {"signal": "15"}}},
            Event("kill", "c1", 0, signal="TERM", exit_code=137),
        ),
        (
            {"Type": "container", "Action": "kill", "Actor": {"ID": "c1", "Attributes": {"signal": "SIGINT"}}},
            Event("kill", "c1", 0, signal="INT", exit_code=137),
        ),
        (
            {"Type": "container", "Action": "health_status: unhealthy", "Actor": {"ID": "c1", "Attributes": {}}},
            Event("health_status", "c1", 0, exit_code=137),
        ),
        (
            {"Type": "network", "Action": "connect", "Actor": {"ID": "n1", "Attributes": {"container": "c1"}}},
            Event("connect", "c1", 0, exit_code=137),
        ),
        # Podman's words
        (
            {"Type": "container", "Action": "died", "Actor": {"ID": "c1", "Attributes": {"containerExitCode": "3"}}},
            Event("die", "c1", 0, exit_code=3),
        ),
        (
            {"Type": "container", "Action": "remove", "Actor": {"ID": "c1", "Attributes": {}}},
            Event("destroy", "c1", 0, exit_code=137),
        ),
        # images, networks without a container, the old format, and unknown formats
        ({"Type": "network", "Action": "create", "Actor": {"ID": "n1", "Attributes": {}}}, None),
        ({"Type": "image", "Action": "pull", "Actor": {"ID": "i1"}}, None),
        ({"status": "start", "id": "c1", "from": "web"}, None),
        ({}, None),
    ],
)
def test_events(data: dict[str, Any], event: Event | None) -> None:
    found = parse_event(data)
    if event is not None and event.action == "start":
        assert found is not None
        assert (found.action, found.container, found.at) == ("start", "c1", 5)
    else:
        assert found == event


def test_timestamps() -> None:
    assert nanoseconds("1970-01-01T00:00:01Z") == 10**9
    assert nanoseconds("1970-01-01T01:00:00.000000001+01:00") == 1
    assert nanoseconds("2026-11-24T22:12:24.140123456Z") % 10**9 == 140123456
    assert nanoseconds("0001-01-01T00:00:00Z") == nanoseconds("") == 0


ID = "sha256:27366ffac86397cace0fa45139e7409330f2ae94de7b2644d546fe05ba826da6"


@pytest.mark.parametrize(
    ("given", "is_id"),
    [
        (ID, True),
        (ID.removeprefix("sha256:"), True),
        ("27366ffac863", True),
        ("acme/web:1", False),
        ("27366ff", False),  # too short: it may be a name
        ("deadbeefdeadbeef", False),  # a name of hexadecimal digits: no ID of this image
        ("", False),
    ],
)
def test_image_that_is_given_by_its_id(given: str, is_id: bool) -> None:
    assert image_id({"Config": {"Image": given}, "Image": ID}) == (ID if is_id else "")


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ({"RepoTags": ["acme/web:1", "acme/web:2"]}, "acme/web:1"),
        ({"RepoTags": [], "RepoDigests": ["acme/web@sha256:12"]}, "acme/web@sha256:12"),
        ({"RepoTags": ["<none>:<none>"], "RepoDigests": None}, ""),
        ({}, ""),
    ],
)
def test_repository_of_an_image(image: dict[str, Any], name: str) -> None:
    assert repository_of(image) == name
