"""Two machines and one lab in AWS: the second one's command is refused, and the first one's goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ecsconsul.paths import HOME_VARIABLE
from ecsconsul.targets.aws.target import AwsTarget
from tests.e2e.test_cost import run
from tests.moto_account import account, moto_url
from tests.targets.aws.conftest import lab_of

__all__ = ["account", "moto_url"]


@pytest.mark.parametrize("words", [("up", "--yes"), ("scale", "weather=2"), ("rotate", "--yes"), ("down", "--yes")])
def test_command_on_another_machine_is_refused(
    account: Callable[[str], Any], tmp_path: Path, words: tuple[str, ...]
) -> None:
    elsewhere = {HOME_VARIABLE: str(tmp_path / "another machine")}
    with AwsTarget(lab_of(tmp_path)).lock("up"):
        done = run(tmp_path, *words, **elsewhere)
    assert done.returncode == 1
    assert "Error: Another command is changing this lab" in done.stderr
    assert "where: lab blue, SSM parameter /ecsconsul/blue/operator/lock" in done.stderr
    assert "why:   `up` of " in done.stderr
    assert "hint:  wait until it has finished; if it was killed, its lock expires in " in done.stderr


def test_lab_is_removed_after_the_other_has_finished(account: Callable[[str], Any], tmp_path: Path) -> None:
    with AwsTarget(lab_of(tmp_path)).lock("up"):
        pass
    done = run(tmp_path, "down", "--yes", **{HOME_VARIABLE: str(tmp_path / "another machine")})
    assert done.returncode == 0, done.stderr
    assert account("ssm").describe_parameters()["Parameters"] == []


def test_plan_takes_no_lock(account: Callable[[str], Any], tmp_path: Path) -> None:
    with AwsTarget(lab_of(tmp_path)).lock("up"):
        assert run(tmp_path, "plan", **{HOME_VARIABLE: str(tmp_path / "another machine")}).returncode == 0
