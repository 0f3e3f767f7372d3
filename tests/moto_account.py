"""An AWS account that moto simulates behind a real HTTP server, empty at the start of each test, and its clients."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ecsconsul.paths import HOME_VARIABLE
from tests.deploy.world import REGION, client, forget_all, serve
from tests.moto_alarms import CloudWatchAlarm

ACCOUNT = "123456789012"
SERVICES = ("ec2", "ssm", "iam", "sts", "ecs", "ecr", "cloudformation", "autoscaling", "logs", "elbv2", "acm")
SERVICES += ("cloudwatch", "s3")

# imported for moto to find
__all__ = ["CloudWatchAlarm"]

_lock = threading.Lock()


def moto_application() -> Callable[..., Any]:
    """moto as a WSGI application that handles one request at a time: its backends are shared and not thread-safe."""
    from moto.server import DomainDispatcherApplication, create_backend_app

    application = DomainDispatcherApplication(create_backend_app)

    def one_at_a_time(environ: dict[str, Any], start_response: Any) -> Any:
        with _lock:
            return application(environ, start_response)

    return one_at_a_time


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    server = serve(moto_application())
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def account(moto_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Any]:
    """Creates clients of the account, as a user would; this process's environment points to it too."""
    with _lock:
        forget_all(SERVICES)
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
