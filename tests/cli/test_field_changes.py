"""Fields in a line and as JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ecsconsul.cli.field_changes import Line, drift_as_json, fields_as_json, line_of, shown
from ecsconsul.cli.output import View
from ecsconsul.deploy.drift import EXISTS, MISSING, StepDrift
from ecsconsul.deploy.step import Drift, FieldChange

FIELDS = [
    FieldChange("containers.weather.environment.SCALE", "C", "F"),
    FieldChange("containers.weather.image", "a:1", "a:2", "images/weather"),
    FieldChange("containers.weather.environment.TOKEN", "(changed)", "(changed)"),
]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("C", "F", ("modify", "C → F")),
        (None, "F", ("add", "F")),
        ("C", None, ("remove", "C → (none)")),
        (1, 2, ("modify", "1 → 2")),
        ("", " x", ("modify", '"" → " x"')),
        ("a\nb", ["a", 1], ("modify", '"a\\nb" → ["a", 1]')),
        ("(changed)", "(changed)", ("modify", "(changed)")),
        (None, "(changed)", ("add", "(added, hidden)")),
        ("(changed)", None, ("remove", "(removed, hidden)")),
    ],
)
def test_a_field_is_one_line(old: Any, new: Any, expected: tuple[str, str]) -> None:
    field = {"path": "containers.side.x", "old": old, "new": new, "cause": None}
    assert line_of("tasks/weather", field) == Line(expected[0], "containers.side.x", expected[1])


def test_the_main_container_goes_without_saying() -> None:
    (scale, image, token) = (line_of("tasks/weather", field) for field in fields_as_json(FIELDS))
    assert scale == Line("modify", "environment.SCALE", "C → F")
    assert image == Line("modify", "image", "a:1 → a:2  (from images/weather)")
    assert token == Line("modify", "environment.TOKEN", "(changed)")


def test_long_values_are_cut_in_lines_only() -> None:
    assert len(shown("x" * 999)) == 200
    (field,) = fields_as_json([FieldChange("a", "x" * 999, None)])
    assert field["old"] == "x" * 999


def drift_document() -> dict[str, Any]:
    found = [
        StepDrift("services/weather", EXISTS, Drift((FieldChange("desiredCount", 1, 3),)), "`ecsconsul up` does it"),
        StepDrift("services/portal", MISSING, Drift(), "`ecsconsul up` creates it again"),
        StepDrift("tasks/portal", EXISTS, Drift(config_changed=True), ""),
        StepDrift("stack", EXISTS, Drift(untold="AccessDenied"), ""),
        StepDrift("cluster", EXISTS, Drift(), ""),
    ]
    steps = drift_as_json(found)
    return {"lab": "blue", "target": "local", "drifted": [s["name"] for s in steps if s["drifted"]], "steps": steps}


def test_drift_in_lines(capsys: pytest.CaptureFixture[str]) -> None:
    View(as_json=False, no_color=False, with_options=lambda text: text.replace("ecsconsul up", "X up")).diff(
        drift_document()
    )
    assert capsys.readouterr().out.splitlines() == [
        "~ services/weather",
        "    ~ desiredCount  1 → 3",
        "    `X up` does it",
        "- services/portal",
        "    - missing",
        "    `X up` creates it again",
        "? stack  can't be compared: AccessDenied",
        "The config doesn't describe tasks/portal, edited since or deployed otherwise: `ecsconsul plan` shows how.",
        "Others have changed 2 resources.",
    ]


def test_drift_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    View(as_json=True, no_color=False).diff(drift_document())
    document = json.loads(capsys.readouterr().out)
    assert document["drifted"] == ["services/weather", "services/portal"]
    assert document["steps"][0] == {
        "name": "services/weather",
        "state": "exists",
        "drifted": True,
        "fields": [{"path": "desiredCount", "expected": 1, "actual": 3}],
        "config_changed": False,
        "untold": None,
        "way_out": "`ecsconsul up` does it",
    }
    assert [step["state"] for step in document["steps"]][1] == "missing"


@pytest.mark.parametrize("columns", ["20", "200"])
def test_a_plan_s_fields_do_not_depend_on_the_width(
    columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    step = {"name": "tasks/weather", "op": "update", "detail": "blue-weather:1", "fields": fields_as_json(FIELDS)}
    changes = {"created": 0, "updated": 1, "kept": 0, "destroyed": 0}
    View(as_json=False, no_color=False).plan({"steps": [step], "changes": changes})
    assert capsys.readouterr().out.splitlines() == [
        "~ update  tasks/weather            blue-weather:1",
        "    ~ environment.SCALE  C → F",
        "    ~ image  a:1 → a:2  (from images/weather)",
        "    ~ environment.TOKEN  (changed)",
        "1 to update",
    ]


def test_control_characters_of_others_are_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    document = drift_document()
    document["steps"][0]["fields"][0]["actual"] = "\x1b[2J[red]"
    View(as_json=False, no_color=False).diff(document)
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "[red]" in text


def test_before_it_asks_up_shows_on_stderr_what_changes(capsys: pytest.CaptureFixture[str]) -> None:
    kept = {"name": "cluster", "op": "keep", "detail": "ACTIVE"}
    step = {"name": "tasks/weather", "op": "update", "detail": "", "fields": fields_as_json(FIELDS[:1])}
    View(as_json=True, no_color=False).preview({"steps": [kept, step]})
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == ["~ update  tasks/weather", "    ~ environment.SCALE  C → F"]
