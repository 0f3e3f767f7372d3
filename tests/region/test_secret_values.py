"""Where a container's secrets come from."""

from __future__ import annotations

import pytest

from ecsconsul.region.runtimes.interface import CannotStart
from ecsconsul.region.secret_values import secret_variables
from tests.region.ecs.factories import FakeMoto

ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-AbCdEf"


@pytest.fixture
def store() -> FakeMoto:
    store = FakeMoto()
    store.parameters["/app/token"] = "from ssm"
    store.secrets[ARN, "", ""] = '{"user": "me", "port": 5432}'
    store.secrets[ARN, "AWSPREVIOUS", "v1"] = '{"user": "before"}'
    return store


def value(store: FakeMoto, value_from: str) -> str:
    return secret_variables({"secrets": [{"name": "X", "valueFrom": value_from}]}, store)["X"]


@pytest.mark.parametrize(
    ("value_from", "expected"),
    [
        ("/app/token", "from ssm"),
        (ARN, '{"user": "me", "port": 5432}'),
        (f"{ARN}:user::", "me"),
        (f"{ARN}:port::", "5432"),
        (f"{ARN}:user:AWSPREVIOUS:v1", "before"),
    ],
)
def test_value_is_found(store: FakeMoto, value_from: str, expected: str) -> None:
    assert value(store, value_from) == expected


@pytest.mark.parametrize(
    ("value_from", "why"),
    [
        ("/app/none", "Invalid parameters: /app/none"),
        (f"{ARN}x", "can't find the specified secret"),
        (f"{ARN}:none::", "does not contain json key none"),
        ("arn:aws:s3:::bucket/key", "neither an SSM parameter nor a secret"),
    ],
)
def test_missing_value_stops_the_task_with_the_words_of_ecs(store: FakeMoto, value_from: str, why: str) -> None:
    with pytest.raises(CannotStart, match=r"^ResourceInitializationError: unable to pull secrets") as caught:
        value(store, value_from)
    assert why in str(caught.value)
