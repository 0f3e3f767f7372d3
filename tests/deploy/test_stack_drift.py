"""Which of the config's parameters a stack has with other values."""

from __future__ import annotations

import pytest

from ecsconsul.deploy.stack_drift import changed_parameters

WANTED = {"SubnetIds": "subnet-a,subnet-b", "PublicPort": "8080", "ConsulImage": "consul:1", "InstanceCount": "2"}


@pytest.mark.parametrize(
    ("described", "changed"),
    [
        ({}, []),
        ({"SubnetIds": "subnet-b,subnet-a"}, []),
        ({"SubnetIds": "['subnet-b', 'subnet-a']"}, []),
        ({"SubnetIds": "subnet-a"}, ["parameters.SubnetIds"]),
        ({"PublicPort": "0"}, []),
        ({"PublicPort": "22"}, ["parameters.PublicPort"]),
        ({"ConsulImage": "consul@sha256:0"}, []),
        ({"InstanceCount": "3"}, ["parameters.InstanceCount"]),
    ],
)
def test_parameters_differ_unless_the_target_has_the_last_word(described: dict[str, str], changed: list[str]) -> None:
    assert [one.path for one in changed_parameters({**WANTED, **described}, WANTED)] == changed
