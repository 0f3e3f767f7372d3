"""Data types of targets, and how a target is opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecsconsul.cli.factory import open_target
from ecsconsul.config.lab import Lab
from ecsconsul.errors import LabError
from ecsconsul.paths import HOME_VARIABLE
from ecsconsul.targets.base import ConsulAddress
from ecsconsul.targets.commands import Finding, findings


def test_consul_address_as_text() -> None:
    address = ConsulAddress("127.0.9.1", 8500, "127.0.9.1", 8600)
    assert (address.http, address.dns) == ("http://127.0.9.1:8500", "127.0.9.1:8600")


def test_opening_the_local_target_creates_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    target = open_target("local", Lab(name="blue"), region="eu-west-1")
    assert (target.name, target.region, target.endpoint, target.prerequisites()) == ("local", "eu-west-1", None, None)
    assert list(tmp_path.iterdir()) == []


def test_opening_the_aws_target_makes_no_request() -> None:
    target = open_target("aws", Lab(name="blue"), region="eu-west-1", profile="p")
    assert (target.name, target.region, target.system_services) == ("aws", "eu-west-1", ("registrator",))


def test_findings_are_errors_or_ok() -> None:
    error = LabError("It is gone", why="nobody knows", hint="look")
    assert findings("vpc", [], "vpc-1") == [Finding("vpc", "ok", "vpc-1")]
    assert findings("vpc", [error], "vpc-1") == [Finding("vpc", "failed", "It is gone: nobody knows", "look", error)]
