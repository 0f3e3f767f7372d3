"""The Docker runtime's addresses, limits, labels, ports and name servers, and the build context."""

from __future__ import annotations

import ipaddress
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from ecsconsul.docker.build import context
from ecsconsul.region.ecs.model import Binding, Task
from ecsconsul.region.runtimes.docker.bridge_network import LabNetwork, instance_addresses, task_range
from ecsconsul.region.runtimes.docker.consul_agents import name_servers
from ecsconsul.region.runtimes.docker.containers import bindings, ecs_labels, limits


@pytest.mark.parametrize("subnet", ["172.18.0.0/16", "192.168.16.0/20", "10.1.2.0/24"])
def test_instances_and_tasks_share_no_address(subnet: str) -> None:
    network = ipaddress.IPv4Network(subnet)
    tasks = ipaddress.IPv4Network(task_range(network))
    instances = instance_addresses(network)
    assert tasks.subnet_of(network)
    assert not any(address in tasks for address in instances)
    assert len(instances) >= 100
    assert network.network_address not in instances


def test_instance_gets_an_unused_address() -> None:
    network = LabNetwork("1", ipaddress.IPv4Network("172.18.0.0/16"), "172.18.0.1")
    first, second = network.take(), network.take()
    assert (first, second) == ("172.18.0.2", "172.18.0.3")
    network.give_back(first)
    assert network.take() == first


@pytest.mark.parametrize(
    ("definition", "found"),
    [
        ({"cpu": 100, "memory": 200}, {"cpu_shares": 100, "mem_limit": 200 * 1024 * 1024}),
        ({}, {"cpu_shares": 2}),
        ({"cpu": 1, "memory": 4}, {"cpu_shares": 2, "mem_limit": 6 * 1024 * 1024}),
        ({"memoryReservation": 128}, {"cpu_shares": 2, "mem_reservation": 128 * 1024 * 1024}),
    ],
)
def test_limits_come_from_the_task_definition(definition: dict[str, int], found: dict[str, int]) -> None:
    assert limits(definition) == found


def test_labels_are_those_of_the_ecs_agent() -> None:
    definition: dict[str, Any] = {
        "family": "web",
        "revision": 3,
        "taskDefinitionArn": "arn",
        "containerDefinitions": [],
    }
    task = Task("ab" * 16, "arn:task", "lab", definition, "i-1", [], "service:web")
    assert ecs_labels(task, {"name": "front"}) == {
        "com.amazonaws.ecs.cluster": "lab",
        "com.amazonaws.ecs.container-name": "front",
        "com.amazonaws.ecs.task-arn": "arn:task",
        "com.amazonaws.ecs.task-definition-family": "web",
        "com.amazonaws.ecs.task-definition-version": "3",
    }
    assert task.container_name("front") == "ecs-web-3-front-abababababababababab"


def test_bindings_have_dockers_ports_and_the_requested_ones() -> None:
    definition = {
        "portMappings": [
            {"containerPort": 80, "hostPort": 8080, "protocol": "tcp"},
            {"containerPort": 53, "hostPort": 0, "protocol": "udp"},
            {"containerPort": 90},
        ]
    }
    ports = {"80/tcp": "32768", "53/udp": "32769", "90/tcp": "32770"}
    published = {port: [{"HostIp": "172.18.0.1", "HostPort": host}] for port, host in ports.items()}
    assert bindings(definition, {"NetworkSettings": {"Ports": published}}) == (
        Binding(80, 32768, "tcp", 8080),
        Binding(53, 32769, "udp", None),
        Binding(90, 32770, "tcp", None),
    )
    assert bindings({}, {"NetworkSettings": {"Ports": None}}) == ()


def test_exited_container_has_no_bindings() -> None:
    definition = {"portMappings": [{"containerPort": 80}]}
    for published in ({}, None, {"80/tcp": None}, {"80/tcp": []}):
        assert bindings(definition, {"NetworkSettings": {"Ports": published}}) == ()


def test_loopback_name_servers_are_ignored(tmp_path: Path) -> None:
    own, other = tmp_path / "resolved.conf", tmp_path / "resolv.conf"
    other.write_text("# by hand\nsearch example.org\nnameserver 127.0.0.53\nnameserver 10.0.0.2\nnameserver ::1\n")
    assert name_servers((own, other)) == ["10.0.0.2"]
    own.write_text("nameserver 192.0.2.1\nnameserver 192.0.2.2\n")
    assert name_servers((own, other)) == ["192.0.2.1", "192.0.2.2"]
    assert name_servers((tmp_path / "none",)) == []


def test_build_context_is_reproducible(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM debian:12\n")
    (tmp_path / ".dockerignore").write_text("*.tmp\n")
    (tmp_path / "run.sh").write_text("#!/bin/sh\n")
    (tmp_path / "run.sh").chmod(0o700)
    (tmp_path / "left.tmp").write_text("x")
    (tmp_path / "link").symlink_to("run.sh")
    before = context(tmp_path).getvalue()
    os.utime(tmp_path / "run.sh", (1, 1))
    assert context(tmp_path).getvalue() == before
    with tarfile.open(fileobj=context(tmp_path)) as archive:
        members = {member.name: member for member in archive}
    assert set(members) == {"Dockerfile", ".dockerignore", "run.sh", "link"}
    assert {name: oct(members[name].mode) for name in ("Dockerfile", "run.sh")} == {
        "Dockerfile": "0o644",
        "run.sh": "0o755",
    }
    assert members["link"].issym() and members["link"].linkname == "run.sh"
