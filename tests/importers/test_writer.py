"""Whatever a value holds, the config that is written says the same, and comments stay comments."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
import yaml

from ecsconsul.errors import LabError
from ecsconsul.importers.draft import LabDraft, Loss, ServiceDraft
from ecsconsul.importers.writer import written
from tests.importers.examples import COMPOSE, TASKS, from_compose, from_task, lab_of

NASTY = [
    "", " ", "a: b", "# no comment", "- a", "{a}", "[b]", "'", '"', "\\", "no", "1.10", "007", "1:20", "0x1f",
    "~", "null", "2026-01-01", "a, b", "two\nlines\n", "tab\t", "ünï 😀", "\u2028", "%", "@x", "`x`", "!t", "&a", "*a",
    "?", "<<", "=", "x" * 300, "a  b", " lead", "trail ",
]  # fmt: skip


@pytest.mark.parametrize("value", NASTY)
def test_values_are_read_as_they_were(value: str) -> None:
    keys = {"image": "i", "command": [value, "x"], "environment": {"A": value}, "labels": {"k": value}, "user": value}
    lab = LabDraft("lab", "x", services=[ServiceDraft("web", keys)])
    assert yaml.safe_load(written(lab))["services"]["web"] == keys


@pytest.mark.parametrize("value", NASTY)
def test_notes_and_losses_are_comments(value: str) -> None:
    service = ServiceDraft("web", {"image": "i", "environment": {"A": "1"}})
    for place in ("", "image", "environment.A", "ports"):
        service.note(place, f"{value}\nimage: other\r\x85image: other")
    service.losses.append(Loss(f"path{value}\n", f"{value}\nimage: other", "why\nx: y", "file"))
    text = written(LabDraft("lab", f"o\n{value}", services=[service]))
    assert yaml.safe_load(text)["services"] == {"web": {"image": "i", "environment": {"A": "1"}}}


STRANGE: list[Any] = [
    *NASTY,
    None,
    0,
    -1,
    99999,
    3.5,
    True,
    [],
    {},
    [None],
    {"a": None},
    "a:b:c:d",
    "$$",
    "${A:-b}",
    "\x07",
]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield (*path, key)
        yield from places(one, (*path, key))


def changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    found = copy.deepcopy(document)
    inner = found
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return found


@pytest.mark.parametrize("path", [*COMPOSE, *TASKS], ids=lambda path: path.stem)
def test_strange_input_ends_as_a_valid_config_or_as_an_error_that_says_where(path: Any) -> None:
    random = Random(path.stem)
    document = yaml.safe_load(path.read_text())
    convert = from_task if path in TASKS else from_compose
    for _ in range(12):
        given = changed(document, random.choice(list(places(document))), random.choice(STRANGE))
        try:
            imported = convert(json.dumps(given))
        except LabError as error:
            assert error.where and error.why, given
        else:
            assert lab_of(imported).services
