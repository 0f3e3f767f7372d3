"""`ecsconsul registrator` passes its arguments to its own parser instead of click."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Shell


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "missing required argument for registry URI"),
        (("-internal", "consul://a", "consul://b"), 2, "extra unparsed arguments: consul://b"),
        (("-h",), 0, "Usage of registrator"),
        (("--help",), 0, "Usage of registrator"),
        (("-debug", "x"), 2, "flag provided but not defined: -debug"),
        (("--output", "json", "consul://a"), 2, "flag provided but not defined: -output"),
        (("-ip", "-internal", "etcd://a"), 2, "unrecognized registry URI etcd://a"),
    ],
)
def test_arguments_reach_its_parser(shell: Shell, words: tuple[str, ...], code: int, said: str) -> None:
    ran = shell.run("registrator", *words)
    assert ran.returncode == code
    assert (ran.stdout if code == 0 else ran.stderr).startswith(said)
