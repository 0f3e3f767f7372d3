"""The gossip key: created once with the ownership tag, never replaced, deleted."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from ecsconsul.errors import LabError
from ecsconsul.targets.aws.gossip_key import gossip_key

Account = Callable[[str], Any]


@pytest.fixture
def ssm(account: Account) -> Any:
    return account("ssm")


def value(ssm: Any, name: str) -> str:
    return str(ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"])


def test_key_is_a_tagged_secret_of_32_bytes(ssm: Any) -> None:
    key = gossip_key(ssm, "blue")
    assert not key.exists()
    key.make()
    assert key.exists()
    assert key.name == "/ecsconsul/blue/gossip-key"
    assert len(base64.b64decode(value(ssm, key.name), validate=True)) == 32
    (described,) = ssm.describe_parameters()["Parameters"]
    assert described["Type"] == "SecureString"
    tags = ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=key.name)["TagList"]
    assert tags == [{"Key": "ecsconsul:lab", "Value": "blue"}]


def test_existing_key_is_kept_and_labs_have_their_own(ssm: Any) -> None:
    blue, green = gossip_key(ssm, "blue"), gossip_key(ssm, "green")
    blue.make()
    green.make()
    before = value(ssm, blue.name)
    blue.make()
    assert value(ssm, blue.name) == before != value(ssm, green.name)


def test_delete_can_be_repeated(ssm: Any) -> None:
    key = gossip_key(ssm, "blue")
    key.make()
    assert key.delete()
    assert not key.delete()
    assert not key.exists()


def test_untagged_parameter_is_never_touched(ssm: Any) -> None:
    key = gossip_key(ssm, "blue")
    ssm.put_parameter(Name=key.name, Type="String", Value="theirs")
    for act in (key.exists, key.make, key.delete):
        with pytest.raises(LabError, match="this lab did not make it"):
            act()
    assert value(ssm, key.name) == "theirs"
