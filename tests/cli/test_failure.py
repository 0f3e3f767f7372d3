"""The error block: rendered once, with an exit code, whatever the error is."""

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


def test_what_where_why_and_hint_each_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    error = StepFailed("It does not start", where="step services/weather", why="first\nsecond", hint="mend it")
    assert block(error, capsys) == (
        1,
        [
            "Error: It does not start",
            "  where: step services/weather",
            "  why:   first",
            "         second",
            "  hint:  mend it",
        ],
    )


def test_what_is_not_known_has_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert block(LabError("It does not start"), capsys) == (1, ["Error: It does not start"])


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
        (ZeroDivisionError("division by zero"), 1, "ZeroDivisionError, which should not happen"),
    ],
)
def test_each_error_means_an_exit_code_and_says_what_it_is(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found, lines = block(error, capsys)
    assert found == code
    assert said in "\n".join(lines)


def test_what_a_service_wrote_cannot_forge_the_block(capsys: pytest.CaptureFixture[str]) -> None:
    """Its log lines stand in the reason."""
    hostile = "[red]x[/red] :warning: \x1b[2J\x1b]0;title\x07\r"
    _, lines = block(StepFailed(hostile, where=hostile, why=f"{hostile}\n{hostile}", hint=hostile), capsys)
    assert re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "\n".join(lines)) == []
    assert "\n".join(lines).count("[red]x[/red] :warning:") == 5


def test_what_goes_on_after_a_ctrl_c_is_told_where_something_was_begun(capsys: pytest.CaptureFixture[str]) -> None:
    render(Interrupted(), Settings())
    assert capsys.readouterr().err == "Interrupted.\n"
    render(Interrupted(), Settings(target="aws", begun=True))
    assert "`ecsconsul down --target aws` takes it from here" in capsys.readouterr().err


def test_a_hint_is_about_the_lab_of_this_call(capsys: pytest.CaptureFixture[str]) -> None:
    render(LabError("It is not there", hint="`ecsconsul up` makes it"), Settings(target="aws"))
    assert "hint:  `ecsconsul up --target aws` makes it" in capsys.readouterr().err


@pytest.mark.parametrize("code", [0, 1, None])
def test_an_exit_stays_what_it_is(code: int | None, capsys: pytest.CaptureFixture[str]) -> None:
    assert block(SystemExit(code), capsys) == (code or 0, [])
