"""What an update does inside the stack, in the document of `plan` and in words."""

from __future__ import annotations

from typing import Any

import pytest

from ecsconsul.cli.resource_changes import as_json, in_words, replacements
from ecsconsul.deploy.step import Actual, BaseStep, PropertyChange, ResourceChange
from ecsconsul.errors import LabError

GROUP, TEMPLATE = "AWS::AutoScaling::AutoScalingGroup", "AWS::EC2::LaunchTemplate"
IMAGE = PropertyChange("LaunchTemplateData.ImageId", "ami-1", "ami-2")
DATA = PropertyChange("LaunchTemplateData.UserData")
VERSION = PropertyChange("LaunchTemplate.Version")


def words(action: Any, *properties: PropertyChange, **more: Any) -> str:
    (change,) = as_json([ResourceChange("R", "AWS::X::Y", action, properties, **more)])
    return in_words(change)


def test_document_has_all_keys() -> None:
    assert as_json([ResourceChange("T", TEMPLATE, "modify", (IMAGE, DATA))]) == [
        {
            "resource": "T", "type": TEMPLATE, "action": "modify",
            "properties": [
                {"name": "LaunchTemplateData.ImageId", "before": "ami-1", "after": "ami-2"},
                {"name": "LaunchTemplateData.UserData", "before": None, "after": None},
            ],
            "instances": 0, "batch": 0, "causes": [],
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (words("add"), "AWS::X::Y"),
        (words("modify", IMAGE, DATA), "ImageId ami-1 → ami-2, UserData"),
        (words("roll", VERSION, instances=1, batch=1), "1 instance is replaced"),
        (words("roll", VERSION, instances=3, batch=1), "3 instances are replaced one by one"),
        (words("roll", VERSION, instances=4, batch=2), "4 instances are replaced, 2 at a time"),
        (words("replace", VERSION, instances=2), "2 instances are replaced at once, LaunchTemplate.Version"),
        (words("remove", instances=2), "2 instances are terminated"),
    ],
)
def test_words(found: str, expected: str) -> None:
    assert found == expected


class FakeStep(BaseStep):
    """A step with an update whose preview is given."""

    def __init__(self, name: str, *changes: ResourceChange, error: LabError | None = None) -> None:
        self.name = name
        self._changes = changes
        self._error = error

    def desired(self) -> dict[str, str]:
        return {}

    def inspect(self) -> Actual:
        return Actual(None, True, "as it is", self._preview)

    def _preview(self) -> tuple[ResourceChange, ...]:
        if self._error:
            raise self._error
        return self._changes

    def apply(self, *_: Any) -> str:
        raise AssertionError

    def destroy(self, *_: Any) -> str:
        raise AssertionError


def test_replacements_name_the_group_and_the_cause() -> None:
    changes = (
        ResourceChange("T", TEMPLATE, "modify", (IMAGE, DATA)),
        ResourceChange("Role", "AWS::IAM::Role", "modify", (PropertyChange("Policies"),)),
        ResourceChange("A", GROUP, "roll", (VERSION,), 2, 1, ("T",)),
        ResourceChange("B", GROUP, "modify", (PropertyChange("MinSize", "1", "2"),)),
        ResourceChange("C", GROUP, "roll", (PropertyChange("VPCZoneIdentifier"),), 1, 1),
        ResourceChange("D", GROUP, "remove", (), 1),
    )
    assert replacements([FakeStep("images/weather", *changes), FakeStep("stack", *changes)]) == [
        "A: 2 instances are replaced one by one, because T changes: ImageId ami-1 → ami-2, UserData",
        "C: 1 instance is replaced, because it changes: VPCZoneIdentifier",
        "D: 1 instance is terminated, because it isn't in the template any more",
    ]


def test_update_that_replaces_nothing_has_no_replacements() -> None:
    assert replacements([FakeStep("stack")]) == []


def test_what_cannot_be_told_is_said() -> None:
    (line,) = replacements([FakeStep("stack", error=LabError("The template can't be read"))])
    assert line == "stack: as it is; what changes can't be told: The template can't be read"


def test_move_to_a_secure_consul_says_itself_what_it_replaces() -> None:
    assert replacements([FakeStep("consul-security")]) == ["consul-security: as it is"]
