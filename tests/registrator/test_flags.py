"""The command line is parsed the way Go's flag package does it."""

from __future__ import annotations

import pytest

from ecsconsul.registrator.flags import BadFlags, Flag, HelpRequested, parse, usage

FLAGS = (
    Flag("ip", "", "an address", "ADDRESS"),
    Flag("internal", False, "a switch"),
    Flag("resync", 0, "a number", "SECONDS"),
    Flag("deregister", "always", "a choice", "WHEN", ("always", "on-success")),
)


@pytest.mark.parametrize(
    ("line", "values", "arguments"),
    [
        ("", {}, []),
        ("uri", {}, ["uri"]),
        ("-ip 10.0.0.1 uri", {"ip": "10.0.0.1"}, ["uri"]),
        ("-ip=10.0.0.1 uri", {"ip": "10.0.0.1"}, ["uri"]),
        ("--ip 10.0.0.1 uri", {"ip": "10.0.0.1"}, ["uri"]),
        ("--ip=a=b uri", {"ip": "a=b"}, ["uri"]),
        ("-ip= uri", {"ip": ""}, ["uri"]),
        ("-ip -internal uri", {"ip": "-internal"}, ["uri"]),
        ("-internal uri", {"internal": True}, ["uri"]),
        ("-internal true", {"internal": True}, ["true"]),
        ("-internal=false uri", {"internal": False}, ["uri"]),
        ("-internal=T", {"internal": True}, []),
        ("-internal=0", {"internal": False}, []),
        ("-internal -internal=f", {"internal": False}, []),
        ("-resync 60 -resync=5", {"resync": 5}, []),
        ("-resync -1", {"resync": -1}, []),
        ("-resync 0x10", {"resync": 16}, []),
        ("-resync 010", {"resync": 8}, []),
        ("-resync 1_000", {"resync": 1000}, []),
        ("-deregister on-success", {"deregister": "on-success"}, []),
        ("uri -internal", {}, ["uri", "-internal"]),
        ("-internal -- -ip", {"internal": True}, ["-ip"]),
        ("- -internal", {}, ["-", "-internal"]),
    ],
)
def test_parse(line: str, values: dict[str, object], arguments: list[str]) -> None:
    defaults = {flag.name: flag.default for flag in FLAGS}
    assert parse(line.split(), FLAGS) == ({**defaults, **values}, arguments)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("-nope uri", "flag provided but not defined: -nope"),
        ("--nope=1", "flag provided but not defined: -nope"),
        ("-ip", "flag needs an argument: -ip"),
        ("-internal=maybe", 'invalid boolean value "maybe" for flag -internal: parse error'),
        ("-resync x", 'invalid value "x" for flag -resync: parse error'),
        ("-resync 1.5", 'invalid value "1.5" for flag -resync: parse error'),
        ("-resync=", 'invalid value "" for flag -resync: parse error'),
        ("-deregister never", '-deregister must be "always" or "on-success"'),
        ("---ip x", "bad flag syntax: ---ip"),
        ("-=x", "bad flag syntax: -=x"),
    ],
)
def test_parse_errors(line: str, why: str) -> None:
    with pytest.raises(BadFlags) as refused:
        parse(line.split(), FLAGS)
    assert str(refused.value) == why


@pytest.mark.parametrize("flag", ["-h", "-help", "--help"])
def test_help_is_requested(flag: str) -> None:
    with pytest.raises(HelpRequested):
        parse([flag], FLAGS)


def test_usage_lists_every_flag_and_default() -> None:
    text = usage("registrator", "<uri>", FLAGS)
    assert text.startswith("Usage of registrator:\n  registrator [options] <uri>\n")
    assert "  -ip ADDRESS\n        an address\n" in text
    assert "  -deregister WHEN\n        a choice: always, on-success (default always)\n" in text
