"""Snapshots of an only server: it saves them to a bucket on schedule, and its replacement restores the newest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from ecsconsul.config.lab import SnapshotSpec
from ecsconsul.consul.lab_secrets import AGENT, MANAGEMENT, new_secrets, rotated
from ecsconsul.consul.snapshot_file import SnapshotName, life_of, parsed
from tests.docker_engine import docker
from tests.templates.booted import (
    boot,
    image,
    launch,
    parameters,
    require_tools,
    start_docker,
    user_data_of,
    wait_for,
)
from tests.templates.bucket import Bucket
from tests.templates.machine import Machine, machine
from tests.templates.stack import LAB, REGION
from tests.templates.vpc import Cloud, vpc

SECRETS = new_secrets(LAB)
LATER = rotated(SECRETS).new
LIFE = life_of(SECRETS)
FIRST, SECOND = "i-0a000000000000001", "i-0a000000000000002"
ADDRESSES = {FIRST: "10.31.0.11", SECOND: "10.31.0.12"}
SPEC = SnapshotSpec(every="1s", keep="1h", bucket="backups")
NOW = datetime.now(timezone.utc).replace(microsecond=0)
# of this lab and too old, of an earlier life and newer than all, of nobody
OLD = f"{LAB}/{SnapshotName(NOW - timedelta(hours=2), '1.8.7', 3, LIFE)}"
EARLIER_LIFE = f"{LAB}/{SnapshotName(NOW + timedelta(hours=1), '1.8.7', 3, '0' * 12)}"
NOTES = f"{LAB}/notes.txt"


@dataclass
class Lab:
    """Two machines in a VPC, the second of which replaces the first."""

    cloud: Cloud
    bucket: Bucket
    first: Machine
    second: Machine

    def curl(self, at: Machine, token: str, path: str, *options: str) -> str:
        done = at.run("curl", "-sS", "-H", f"X-Consul-Token: {token}", *options, f"http://127.0.0.1:8500/v1/{path}")
        return done.stdout

    def get(self, at: Machine, token: str, path: str) -> Any:
        return json.loads(self.curl(at, token, path))

    def saved(self) -> list[SnapshotName]:
        """The snapshots of this life in the bucket, the oldest first."""
        names = [parsed(key.removeprefix(f"{LAB}/")) for key in sorted(self.bucket.objects)]
        return [name for name in names if name and name.life == LIFE]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    require_tools()
    folder = tmp_path_factory.mktemp("vpc")
    cloud, bucket = Cloud(REGION, parameters(SECRETS, snapshots=SPEC)), Bucket("backups", LAB)
    bucket.objects |= {OLD: b"old", EARLIER_LIFE: b"of others", NOTES: b"mine"}
    cloud.services["s3"] = bucket.answer
    with ExitStack() as stack:
        at = stack.enter_context(vpc(cloud, folder))
        archive = stack.enter_context(image(at, folder))
        machines = [stack.enter_context(machine(at, id, ADDRESSES[id])) for id in (FIRST, SECOND)]
        start_docker(machines, archive)
        yield Lab(cloud, bucket, *machines)


def test_lost_only_server_gets_its_data_back(lab: Lab) -> None:
    script = user_data_of()["consul-server"]
    launch(lab.cloud, FIRST, ADDRESSES[FIRST], "ConsulServer", "2026-01-01T00:00:00.000Z")
    # so that the first boot has nothing to restore
    del lab.bucket.objects[OLD]
    boot(lab.first, script)
    assert "there is no snapshot of this lab yet" in lab.first.console
    token = SECRETS.token(MANAGEMENT)
    assert lab.curl(lab.first, token, "kv/mark", "-X", "PUT", "-d", "kept") == "true"
    lab.bucket.objects[OLD] = b"old"
    index = int(lab.get(lab.first, token, "kv/mark")[0]["ModifyIndex"])

    def is_saved() -> bool | None:
        return any(name.raft_index >= index for name in lab.saved()) or None

    wait_for(is_saved, seconds=180)
    wait_for(lambda: OLD not in lab.bucket.objects or None, seconds=180)
    assert {EARLIER_LIFE, NOTES} <= lab.bucket.objects.keys()
    assert (lab.bucket.refused, lab.bucket.unencrypted) == ([], [])
    lose(lab)
    # the lab's tokens are rotated in between
    lab.cloud.parameters.clear()
    lab.cloud.parameters |= parameters(LATER, snapshots=SPEC)
    launch(lab.cloud, SECOND, ADDRESSES[SECOND], "ConsulServer", "2026-01-01T00:09:00.000Z")
    boot(lab.second, script)
    assert f"restoring {lab.saved()[-1]}" in lab.second.console
    now = LATER.token(MANAGEMENT)
    assert lab.curl(lab.second, now, "kv/mark?raw") == "kept"
    assert "ACL not found" in lab.curl(lab.second, token, "kv/mark?raw")
    assert "ACL not found" in lab.curl(lab.second, SECRETS.token(AGENT), "acl/token/self")
    described = {one["Description"].split()[-1] for one in lab.get(lab.second, now, "acl/tokens")}
    assert described - {"Token"} == {LATER.generation}


def lose(lab: Lab) -> None:
    """Terminate the first server. Its service stops with it."""
    lab.first.run("pkill", "-f", "/etc/ecsconsul/snapshots")
    docker(lab.first.engine, "rm", "--force", "consul")
    del lab.cloud.instances[FIRST]


def test_no_secret_is_where_others_can_read_it(lab: Lab) -> None:
    public = [
        lab.second.console,
        lab.second.run("ps", "-ww", "-eo", "args").stdout,
        lab.second.file("/etc/ecsconsul/snapshots").read_text(),
        *(path.read_text() for path in lab.second.file("/var/log").glob("ecsconsul-*.log")),
    ]
    assert [text for text in public if LATER.token(MANAGEMENT) in text or SECRETS.token(MANAGEMENT) in text] == []
    assert not list(lab.second.file("/etc/ecsconsul").glob("*.snap"))
