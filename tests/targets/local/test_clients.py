"""The local target's clients sign with the lab's key, whatever the user's environment says of AWS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ecsconsul.region.runtimes.lab_dir import AccessKey
from ecsconsul.targets.local import clients
from ecsconsul.targets.local.clients import new_client


@pytest.fixture(autouse=True)
def fresh_session() -> Iterator[None]:
    """The session is kept, and reads the environment once."""
    clients._session.cache_clear()
    yield
    clients._session.cache_clear()


@pytest.mark.parametrize(
    "variables",
    [
        {"AWS_SESSION_TOKEN": "token", "AWS_SECURITY_TOKEN": "token"},
        {"AWS_ACCESS_KEY_ID": "AKIAOTHER", "AWS_SECRET_ACCESS_KEY": "other", "AWS_SESSION_TOKEN": "token"},
        {"AWS_PROFILE": "nobody"},
        {"AWS_DEFAULT_PROFILE": "nobody"},
        {"AWS_CREDENTIAL_EXPIRATION": "2020-01-01T00:00:00Z"},
        {"AWS_ENDPOINT_URL_ECS": "http://127.0.0.1:9", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
    ],
)
def test_environment_changes_neither_key_nor_endpoint(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    client = new_client("ecs", "http://127.0.0.1:5566", "eu-west-1", AccessKey("AKIALAB", "secret"))
    request = sent(client)
    assert request.url == "http://127.0.0.1:5566/"
    assert "Credential=AKIALAB/" in text(request.headers["Authorization"])
    assert "/eu-west-1/ecs/" in text(request.headers["Authorization"])
    assert "X-Amz-Security-Token" not in request.headers


def text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


class Stopped(Exception):
    """The request is not sent."""


def sent(client: Any) -> Any:
    """The request that the client is about to send."""
    requests = []

    def stop(request: Any, **_: Any) -> None:
        requests.append(request)
        raise Stopped

    client.meta.events.register("before-send.ecs.*", stop)
    with pytest.raises(Stopped):
        client.list_clusters()
    return requests[0]
