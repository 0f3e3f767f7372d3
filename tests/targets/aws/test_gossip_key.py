"""The gossip key: made once, kept, claimed by its tag, deleted."""

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


def test_it_is_a_secret_of_32_random_bytes_that_the_lab_claims(ssm: Any) -> None:
    key = gossip_key(ssm, "blue")
    assert not key.exists()
    key.make()
    assert key.exists()
    assert key.name == "/ecsconsul/blue/gossip-key"
    assert len(base64.b64decode(value(ssm, key.name), validate=True)) == 32
    (told,) = ssm.describe_parameters()["Parameters"]
    assert told["Type"] == "SecureString"
    tags = ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=key.name)["TagList"]
    assert tags == [{"Key": "ecsconsul:lab", "Value": "blue"}]


def test_one_that_is_there_stays_and_labs_have_others(ssm: Any) -> None:
    blue, green = gossip_key(ssm, "blue"), gossip_key(ssm, "green")
    blue.make()
    green.make()
    before = value(ssm, blue.name)
    blue.make()
    assert value(ssm, blue.name) == before != value(ssm, green.name)


def test_it_is_deleted_and_deleting_again_is_fine(ssm: Any) -> None:
    key = gossip_key(ssm, "blue")
    key.make()
    assert key.delete()
    assert not key.delete()
    assert not key.exists()


def test_what_another_made_is_never_touched(ssm: Any) -> None:
    key = gossip_key(ssm, "blue")
    ssm.put_parameter(Name=key.name, Type="String", Value="theirs")
    for act in (key.exists, key.make, key.delete):
        with pytest.raises(LabError, match="this lab did not make it"):
            act()
    assert value(ssm, key.name) == "theirs"
