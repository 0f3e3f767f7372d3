"""The region as the process that it is: it says where it listens, serves, and leaves nothing but logs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

import boto3
import pytest
from botocore.config import Config

from ecsconsul.consul.catalog import Consul
from ecsconsul.errors import Unreachable
from ecsconsul.region.runtimes import lab_processes
from ecsconsul.region.runtimes.lab_dir import LabDir, RegionInfo, RegionSpec
from tests.consul_server import consul_binary

PATIENCE = 60.0
Until = Callable[..., None]


@contextmanager
def region(home: LabDir) -> Iterator[subprocess.Popen[str]]:
    """A region process that was told what to be, and that ends with the context."""
    spec = RegionSpec(
        lab=home.lab, region="eu-west-1", consul_binary=consul_binary(), consul_servers=1, shared_address=True
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "ecsconsul.region"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    process.stdin.write(json.dumps(asdict(spec)))
    process.stdin.close()
    process.stdin = None
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE)


@pytest.fixture
def cleared(home: LabDir) -> Iterator[LabDir]:
    """A home of which no process is left after the test."""
    yield home
    lab_processes.kill_leftovers(home.root)


def ready(process: subprocess.Popen[str], home: LabDir) -> RegionInfo:
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    facts = home.info()
    assert facts is not None
    return facts


def answers(consul: Consul) -> bool:
    try:
        return bool(consul.leader())
    except Unreachable:
        return False


def test_a_region_serves_and_leaves_nothing_of_what_it_made(cleared: LabDir, until: Until) -> None:
    home = cleared
    with region(home) as process:
        facts = ready(process, home)
        assert (facts.pid, facts.lab, facts.region) == (process.pid, "lab", "eu-west-1")
        config = Config(proxies={}, retries={"total_max_attempts": 1})
        keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
        ecs = boto3.client("ecs", endpoint_url=facts.endpoint, region_name="eu-west-1", config=config, **keys)
        assert ecs.create_cluster(clusterName="lab")["cluster"]["status"] == "ACTIVE"
        host, _, port = facts.consul_http.rpartition(":")
        consul = Consul(host, int(port))
        until(lambda: answers(consul))
        servers = {one.pid for one in lab_processes.find_leftovers(home.root)}
        with region(home) as second:
            assert second.wait(PATIENCE) == 1, "one region a lab"
        assert home.is_alive()
        assert {one.pid for one in lab_processes.find_leftovers(home.root)} == servers, "the second one let it be"
        process.terminate()
        assert process.wait(PATIENCE) == 0
        assert lab_processes.find_leftovers(home.root) == []
        assert [path.name for path in home.leftovers()] == ["region.lock"], "`down` takes this one away"
        assert home.info() is None


@pytest.mark.parametrize("told", ["", "{}", "not JSON"])
def test_a_region_that_is_told_nothing_says_so_and_ends(home: LabDir, told: str) -> None:
    argv = [sys.executable, "-m", "ecsconsul.region"]
    ended = subprocess.run(argv, input=told, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ended.returncode != 0
    assert home.leftovers() == []
