"""Tags in AWS's formats, and the ownership of a resource."""

from __future__ import annotations

import pytest

from ecsconsul.aws_tags import FINGERPRINT_TAG, LAB_TAG, as_items, as_mapping, require_ownership
from ecsconsul.deploy.step import fingerprint, tags_for
from ecsconsul.errors import LabError


def test_tags_round_trip() -> None:
    tags = {"a": "1", "b": ""}
    assert as_items(tags) == [{"key": "a", "value": "1"}, {"key": "b", "value": ""}]
    assert as_mapping(as_items(tags)) == tags
    assert as_mapping(as_items(tags, key="Key", value="Value"), key="Key", value="Value") == tags
    assert as_mapping(None) == {}


def test_tags_hold_lab_and_fingerprint() -> None:
    assert tags_for("blue", {"a": 1}) == {LAB_TAG: "blue", FINGERPRINT_TAG: fingerprint({"a": 1})}


def test_own_resource_is_accepted() -> None:
    require_ownership("cluster", "blue", "blue", {LAB_TAG: "blue"})


@pytest.mark.parametrize(
    ("tags", "why"), [({}, f"it has no tag {LAB_TAG}"), ({LAB_TAG: "green"}, f"its tag {LAB_TAG} is 'green'")]
)
def test_foreign_resource_is_refused(tags: dict[str, str], why: str) -> None:
    with pytest.raises(LabError) as raised:
        require_ownership("cluster", "blue", "blue", tags)
    assert (raised.value.where, raised.value.why) == ("cluster blue", why)
    assert "another name" in raised.value.hint
