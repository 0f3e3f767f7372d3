"""Variables that hold each other, and env files of many lines."""

from __future__ import annotations

import pytest

from ecsconsul.errors import LabError
from ecsconsul.importers.interpolation import read_env


def test_variables_that_hold_each_other_cannot_grow_without_end() -> None:
    lines = [f"A{number + 1}=" + f"${{A{number}}}" * 20 for number in range(9)]
    with pytest.raises(LabError, match="characters"):
        read_env("\n".join(["A0=" + "x" * 20, *lines]))


def test_a_long_file_takes_time_in_proportion() -> None:
    # squared, these would take hours
    assert len(read_env("".join(f"a{number}=\n" for number in range(50_000)))) == 50_000
    assert read_env('A="\n' + "x\n" * 200_000) == {"A": ("\n" + "x\n" * 200_000).strip().join(('"\n', ""))}


def test_quoted_values_over_several_lines() -> None:
    assert read_env('A="x\n# y\\"\nz"\nB=\'1\n2\'\nC=3\n') == {"A": 'x\n# y"\nz', "B": "1\n2", "C": "3"}
