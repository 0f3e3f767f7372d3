"""The table of create-only properties is that of AWS's resource schemas."""

from __future__ import annotations

import pytest
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from ecsconsul.deploy.create_only import CREATE_ONLY, is_create_only
from ecsconsul.deploy.stack_diff import GROUP
from ecsconsul.deploy.template import resource_types, stack_template
from ecsconsul.paths import templates_dir

PARTS = [path.stem for path in sorted((templates_dir() / "parts").glob("*.yaml"))]


def test_every_type_of_the_template_is_in_the_table() -> None:
    assert set(resource_types(stack_template(PARTS))) - CREATE_ONLY.keys() == set()


@pytest.mark.parametrize("kind", CREATE_ONLY)
def test_table_is_that_of_the_schemas(kind: str) -> None:
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
    # a group's update policy decides on its conditional ones
    keys = ["createOnlyProperties", *([] if kind == GROUP else ["conditionalCreateOnlyProperties"])]
    paths = [path for key in keys for path in schema.get(key) or ()]
    assert {path.removeprefix("/properties/").replace("/", ".") for path in paths} == CREATE_ONLY[kind]


def test_properties_within_and_around_count_too() -> None:
    kind, path = "AWS::ECS::CapacityProvider", "AutoScalingGroupProvider.AutoScalingGroupArn"
    assert is_create_only(kind, path)
    assert is_create_only(kind, "AutoScalingGroupProvider")
    assert is_create_only(kind, f"{path}.x")
    assert not is_create_only(kind, "AutoScalingGroupProvider.ManagedDraining")
    assert not is_create_only("AWS::Unknown::Type", "Name")
