"""Documents whose authors mean no good: each ends with an error that says where, soon, and in little memory."""

from __future__ import annotations

import pytest

from ecsconsul.errors import LabError
from ecsconsul.importers.document import from_json, from_values, from_yaml


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"a": 1, "a": 2}', "'a' is given twice"),
        ('{"a": ' + "9" * 5000 + "}", "digits"),
        ("[" * 102 + "]" * 102, "nested more than 100 deep"),
        ('{"a":' * 900 + "1" + "}" * 900, "nested"),
        (r'{"a": "\ud800"}', "isn't Unicode"),
        (r'{"\udfff": 1}', "isn't Unicode"),
    ],
)
def test_json_that_no_config_can_hold(text: str, why: str) -> None:
    with pytest.raises(LabError) as caught:
        from_json(text.encode(), "task.json")
    assert why in (caught.value.why or "")


def test_an_alias_to_a_long_text_cannot_expand_without_end() -> None:
    text = "x-a: &a " + "y" * 500_000 + "\nb: [" + "*a, " * 10_000 + "]\n"
    with pytest.raises(LabError) as caught:
        from_yaml(text.encode(), "compose.yaml")
    assert "counting each use of an alias" in (caught.value.why or "")


@pytest.mark.parametrize("text", ["1e999", "9" * 400, "-1e300"])
def test_numbers_beyond_all_bounds(text: str) -> None:
    with pytest.raises(LabError):
        from_values(text, "task.json", "cpu").number()
    with pytest.raises(LabError):
        from_values(text, "task.json", "cpu").whole()
