"""Every error is printed once as a block, and has an exit code."""

from __future__ import annotations

import re

import click
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from ecsconsul.cli.common import Settings
from ecsconsul.cli.failure import render
from ecsconsul.errors import Interrupted, LabError, NameNotFound, StepFailed, WrongUsage

DENIED = ClientError({"Error": {"Code": "AccessDenied", "Message": "not authorized"}}, "CreateCluster")


@pytest.fixture(autouse=True)
def without_debug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ECSCONSUL_DEBUG", raising=False)


def block(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    code = render(error, Settings())
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Traceback" not in printed.err
    return code, printed.err.splitlines()


def test_each_field_has_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    error = StepFailed("The task failed", where="step services/weather", why="first\nsecond", hint="fix it")
    assert block(error, capsys) == (
        1,
        [
            "Error: The task failed",
            "  where: step services/weather",
            "  why:   first",
            "         second",
            "  hint:  fix it",
        ],
    )


def test_empty_fields_have_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert block(LabError("The task failed"), capsys) == (1, ["Error: The task failed"])


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (WrongUsage("what"), 2, "what"),
        (NameNotFound("what"), 1, "what"),
        (click.UsageError("no such thing"), 2, "no such thing"),
        (KeyboardInterrupt(), 130, "Interrupted"),
        (Interrupted(), 130, "Interrupted"),
        (DENIED, 1, "AccessDenied"),
        (EndpointConnectionError(endpoint_url="http://x"), 1, "http://x"),
        (PermissionError(13, "Permission denied", "/etc/x"), 1, "/etc/x"),
        (ZeroDivisionError("division by zero"), 1, "Unexpected ZeroDivisionError"),
    ],
)
def test_errors_have_exit_codes(error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    found, lines = block(error, capsys)
    assert found == code
    assert said in "\n".join(lines)


def test_log_lines_cannot_forge_the_block(capsys: pytest.CaptureFixture[str]) -> None:
    """The log lines of a failed task are part of `why`."""
    hostile = "[red]x[/red] :warning: \x1b[2J\x1b]0;title\x07\r"
    _, lines = block(StepFailed(hostile, where=hostile, why=f"{hostile}\n{hostile}", hint=hostile), capsys)
    assert re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "\n".join(lines)) == []
    assert "\n".join(lines).count("[red]x[/red] :warning:") == 5


def test_interrupted_change_says_how_to_resume(capsys: pytest.CaptureFixture[str]) -> None:
    render(Interrupted(), Settings())
    assert capsys.readouterr().err == "Interrupted.\n"
    render(Interrupted(), Settings(target="aws", changing=True))
    assert "resume with `ecsconsul up --target aws` or `ecsconsul down --target aws`" in capsys.readouterr().err


def test_hint_has_the_options_of_this_call(capsys: pytest.CaptureFixture[str]) -> None:
    render(LabError("The lab is missing", hint="`ecsconsul up` creates it"), Settings(target="aws"))
    assert "hint:  `ecsconsul up --target aws` creates it" in capsys.readouterr().err


@pytest.mark.parametrize("code", [0, 1, None])
def test_system_exit_keeps_its_code(code: int | None, capsys: pytest.CaptureFixture[str]) -> None:
    assert block(SystemExit(code), capsys) == (code or 0, [])
