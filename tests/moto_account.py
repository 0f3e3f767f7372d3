"""An AWS account that moto plays behind a real little server, empty at the begin of each test, and its clients."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ecsconsul.paths import HOME_VARIABLE
from tests.deploy.world import REGION, client, serve

ACCOUNT = "123456789012"
PLAYED = ("ec2", "ssm", "iam", "sts", "ecs", "ecr", "cloudformation", "autoscaling", "logs")

_turn = threading.Lock()


def moto_application() -> Callable[..., Any]:
    """moto for a server, whose threads take turns: all servers have the same backends, which are not made for them."""
    from moto.server import DomainDispatcherApplication, create_backend_app

    application = DomainDispatcherApplication(create_backend_app)

    def in_turn(environ: dict[str, Any], start_response: Any) -> Any:
        with _turn:
            return application(environ, start_response)

    return in_turn


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    server = serve(moto_application())
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def account(moto_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Any]:
    """Clients of the account, as a user's own would be; the variables of this process lead into it as well."""
    from moto import backends

    # not BackendDict.reset(): other tests hold these very backends
    with _turn:
        for name in PLAYED:
            for regions in backends.get_backend(name).values():  # type: ignore[call-overload]
                regions.reset()
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    return lambda service: client(service, moto_url)
