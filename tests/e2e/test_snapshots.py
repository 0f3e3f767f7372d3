"""Snapshots of a running lab: on schedule, by command, and restored over a rotation of the tokens and over `down`."""

from __future__ import annotations

import stat
from pathlib import Path

import requests

from tests.e2e.lab import Json, Lab, eventually

MINE = "mine.snap"
CONFIG = """\
lab: {lab}
consul: {{snapshots: {{every: 1m, keep: 1h}}}}
services:
  weather: {{path: lab:weather, environment: {{PROVIDER: demo}}, check: /health}}
"""


def key(lab: Lab, method: str, value: str = "", token: str = "") -> str:
    """A request about a key, with the token that `env` prints unless there is another one."""
    headers = {"X-Consul-Token": token or lab.info["CONSUL_HTTP_TOKEN"]}
    url = f"{lab.info['CONSUL_HTTP_ADDR']}/v1/kv/mark?raw"
    return requests.request(method, url, headers=headers, data=value, timeout=10).text


def snapshots(lab: Lab) -> list[Json]:
    found: list[Json] = lab.ok("snapshot", "list", "--output", "json").document["snapshots"]
    return found


def found_by_name(lab: Lab, service: str) -> int:
    """How many endpoints `dig` finds."""
    return len(lab.ok("dig", service, "--short").out.splitlines())


def is_healthy(lab: Lab) -> bool:
    """Whether the catalog has the tasks that run, and nothing else."""
    return bool(lab.status()["healthy"])


def test_snapshots_of_a_lab(fresh: Lab) -> None:
    lab = fresh
    lab.config.write_text(CONFIG.format(lab=lab.name))
    lab.up()
    [scheduled] = eventually(lambda: snapshots(lab), bool)
    assert scheduled["current"] is True
    assert key(lab, "PUT", "kept") == "true"
    saved = lab.ok("snapshot", "save", "--output", "json").document
    assert stat.S_IMODE(Path(saved["file"]).stat().st_mode) == 0o600
    assert snapshots(lab)[0] == saved["snapshot"]
    lab.ok("snapshot", "save", MINE)
    restore_by_name(lab, saved["snapshot"])
    restore_after_a_rotation(lab)
    restore_in_another_life(lab)


def restore_by_name(lab: Lab, snapshot: Json) -> None:
    assert key(lab, "DELETE") == "true"
    restored = lab.ok("snapshot", "restore", snapshot["name"], "--yes", "--output", "json").document
    assert (restored["file"], restored["index"]) == (snapshot["name"], snapshot["index"])
    assert (key(lab, "GET"), is_healthy(lab), found_by_name(lab, "weather")) == ("kept", True, 1)


def restore_after_a_rotation(lab: Lab) -> None:
    """The tasks have changed too."""
    old = lab.info["CONSUL_HTTP_TOKEN"]
    lab.ok("rotate")
    lab.ok("scale", "weather=2")
    lab.info.clear()
    assert key(lab, "DELETE") == "true"
    lab.ok("snapshot", "restore", MINE, "--yes")
    assert key(lab, "GET") == "kept"
    assert "ACL not found" in key(lab, "GET", token=old)
    assert (found_by_name(lab, "weather"), len(lab.tasks("weather"))) == (2, 2)
    lab.up()
    assert is_healthy(lab)


def restore_in_another_life(lab: Lab) -> None:
    kept = lab.down()["kept"]
    assert f"snapshots: {lab.state_dir / lab.name / 'snapshots'}" in kept
    assert {one["current"] for one in snapshots(lab)} == {None}
    lab.up()
    lab.ok("snapshot", "restore", MINE, "--yes")
    assert (key(lab, "GET"), is_healthy(lab), found_by_name(lab, "weather")) == ("kept", True, 1)
    assert False in {one["current"] for one in snapshots(lab)}
