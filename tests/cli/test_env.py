"""`env` removes what would lead other clients past the key that it prints."""

from __future__ import annotations

import pytest

from ecsconsul.cli.env import overriding_variables

LOCAL = {"AWS_ENDPOINT_URL": "http://127.0.0.1:5566", "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "secret"}


@pytest.mark.parametrize(
    "name",
    [
        "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_CREDENTIAL_EXPIRATION",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "AWS_ENDPOINT_URL_ECS", "AWS_ENDPOINT_URL_APPLICATION_AUTO_SCALING",
    ],
)  # fmt: skip
def test_variable_that_overrides_the_key_is_named(name: str) -> None:
    assert overriding_variables(LOCAL, [name, "HOME"]) == [name]


@pytest.mark.parametrize(
    "name",
    [
        "AWS_ENDPOINT_URL",
        "AWS_ACCESS_KEY_ID",
        "AWS_CONFIG_FILE",
        "AWS_ENDPOINT_URL_x; rm",
        "MY_AWS_PROFILE",
        "AWS_PAGER",
    ],
)
def test_other_variables_stay(name: str) -> None:
    assert overriding_variables(LOCAL, [name]) == []


def test_nothing_is_removed_where_a_profile_signs() -> None:
    assert overriding_variables({"AWS_REGION": "eu-west-1", "AWS_PROFILE": "work"}, ["AWS_SESSION_TOKEN"]) == []
