"""The error tree: exit codes, and errors as text."""

from __future__ import annotations

import pytest

from ecsconsul import errors
from ecsconsul.errors import ExitCode, LabError


def test_exit_codes() -> None:
    assert {code.name: code.value for code in ExitCode} == {
        "DONE": 0, "FAILED": 1, "WRONG_USAGE": 2, "CONFIG_INVALID": 3, "UNHEALTHY": 4, "CHANGES_PENDING": 5,
        "INTERRUPTED": 130,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.WrongUsage, ExitCode.WRONG_USAGE),
        (errors.ConfigInvalid, ExitCode.CONFIG_INVALID),
        (errors.TargetAbsent, ExitCode.FAILED),
        (errors.StepFailed, ExitCode.FAILED),
        (errors.NameNotFound, ExitCode.FAILED),
        (errors.Unreachable, ExitCode.FAILED),
    ],
)
def test_exit_code_of_each_error(kind: type[LabError], code: ExitCode) -> None:
    assert kind("what").exit_code == code
    assert issubclass(kind, LabError)


def test_docstring_lists_every_error() -> None:
    kinds = [kind.__name__ for kind in LabError.__subclasses__() if kind.__module__ == errors.__name__]
    assert [name for name in kinds if name not in (errors.__doc__ or "")] == []


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (LabError("what"), "what"),
        (LabError("what", where="where"), "what (where)"),
        (LabError("what", why="why", hint="hint"), "what: why"),
        (LabError("what", where="where", why="why"), "what (where): why"),
    ],
)
def test_error_as_text(error: LabError, line: str) -> None:
    assert str(error) == line
