"""What all targets share, and how one is opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecsconsul.cli.factory import open_target
from ecsconsul.config.lab import Lab
from ecsconsul.errors import LabError
from ecsconsul.region.runtimes.lab_dir import HOME_VARIABLE
from ecsconsul.targets.base import ConsulAddress, Finding, PollingPolicy, findings


def test_consul_is_told_as_clients_want_it() -> None:
    address = ConsulAddress("127.0.9.1", 8500, "127.0.9.1", 8600)
    assert (address.http, address.dns) == ("http://127.0.9.1:8500", "127.0.9.1:8600")


def test_patience_in_seconds() -> None:
    assert PollingPolicy(delay=0.5, attempts=120).seconds == 60.0


def test_opening_the_local_target_makes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    target = open_target("local", Lab(name="blue"), region="eu-west-1")
    assert (target.name, target.region, target.endpoint, target.ground()) == ("local", "eu-west-1", None, None)
    assert list(tmp_path.iterdir()) == []


def test_opening_the_aws_target_asks_nothing() -> None:
    target = open_target("aws", Lab(name="blue"), region="eu-west-1", profile="p")
    assert (target.name, target.region, target.registers_itself) == ("aws", "eu-west-1", False)


def test_findings_are_what_speaks_against_it_or_that_it_is_well() -> None:
    error = LabError("It is gone", why="nobody knows", hint="look")
    assert findings("vpc", [], "vpc-1") == [Finding("vpc", "ok", "vpc-1")]
    assert findings("vpc", [error], "vpc-1") == [Finding("vpc", "failed", "It is gone: nobody knows", "look", error)]


def test_patience_for_less() -> None:
    patience = PollingPolicy(delay=2.0, attempts=900)
    assert patience.at_most(180.0) == PollingPolicy(2.0, 90)
    assert patience.at_most(1.0) == PollingPolicy(2.0, 1)
    assert patience.at_most(None) is patience
    assert patience.at_most(10_000) is patience
