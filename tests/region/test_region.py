"""The region as a process: it publishes its info, serves, and leaves nothing but logs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import msgspec
import pytest
from botocore.config import Config

from ecsconsul.consul.catalog import Consul
from ecsconsul.errors import Unreachable
from ecsconsul.region.runtimes import lab_processes
from ecsconsul.region.runtimes.lab_dir import LabDir, RegionInfo, RegionSpec
from tests.consul_server import consul_binary

TIMEOUT = 60.0
Until = Callable[..., None]


@contextmanager
def region(lab_dir: LabDir) -> Iterator[subprocess.Popen[str]]:
    """A region's process, killed at the end of the context."""
    spec = RegionSpec(
        lab=lab_dir.lab, region="eu-west-1", consul_binary=consul_binary(), consul_servers=1, shared_address=True
    )
    lab_dir.make_consul_secrets()
    process = subprocess.Popen(
        [sys.executable, "-m", "ecsconsul.region"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    process.stdin.write(msgspec.json.encode(spec).decode())
    process.stdin.close()
    process.stdin = None
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=TIMEOUT)


@pytest.fixture
def cleared(lab_dir: LabDir) -> Iterator[LabDir]:
    """A lab directory; the lab's processes are killed after the test."""
    yield lab_dir
    lab_processes.kill_leftovers(lab_dir.root)


def await_ready(process: subprocess.Popen[str], lab_dir: LabDir) -> RegionInfo:
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    info = lab_dir.info()
    assert info is not None
    return info


def answers(consul: Consul) -> bool:
    try:
        return bool(consul.leader())
    except Unreachable:
        return False


def test_region_serves_and_cleans_up(cleared: LabDir, until: Until) -> None:
    lab_dir = cleared
    lab_dir.ensure_access_key()
    with region(lab_dir) as process:
        info = await_ready(process, lab_dir)
        assert (info.pid, info.lab, info.region) == (process.pid, "lab", "eu-west-1")
        config = Config(proxies={}, retries={"total_max_attempts": 1})
        key = lab_dir.access_key()
        assert key is not None
        keys = {"aws_access_key_id": key.id, "aws_secret_access_key": key.secret}
        ecs = boto3.client("ecs", endpoint_url=info.endpoint, region_name="eu-west-1", config=config, **keys)
        assert ecs.create_cluster(clusterName="lab")["cluster"]["status"] == "ACTIVE"
        host, _, port = info.consul_http.rpartition(":")
        consul = Consul(host, int(port))
        until(lambda: answers(consul))
        servers = {one.pid for one in lab_processes.find_leftovers(lab_dir.root)}
        with region(lab_dir) as second:
            assert second.wait(TIMEOUT) == 1, "one region per lab"
        assert lab_dir.is_alive()
        assert {one.pid for one in lab_processes.find_leftovers(lab_dir.root)} == servers, (
            "the second region has not touched them"
        )
        process.terminate()
        assert process.wait(TIMEOUT) == 0
        assert lab_processes.find_leftovers(lab_dir.root) == []
        left = [path.name for path in lab_dir.leftovers()]
        assert left == ["access-key.json", "consul-secrets.json", "region.lock"], "`down` removes them"
        assert unsafe(lab_dir) == []
        assert lab_dir.info() is None


def unsafe(lab_dir: LabDir) -> list[Path]:
    """What others could read, if they came so far: the folder itself is closed to them."""
    assert lab_dir.root.stat().st_mode & 0o077 == 0
    return [path for path in lab_dir.root.rglob("*") if path.stat().st_mode & 0o077]


def test_region_without_an_access_key_exits(lab_dir: LabDir) -> None:
    with region(lab_dir) as process:
        assert process.wait(TIMEOUT) == 1
        assert process.stderr
        assert "the lab has no access key" in process.stderr.read()


@pytest.mark.parametrize("spec", ["", "{}", "not JSON"])
def test_region_without_a_valid_spec_exits(lab_dir: LabDir, spec: str) -> None:
    argv = [sys.executable, "-m", "ecsconsul.region"]
    done = subprocess.run(argv, input=spec, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode != 0
    assert lab_dir.leftovers() == []
