"""The account that moto simulates, and a lab for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ecsconsul.config.aws_settings import AwsSpec
from ecsconsul.config.lab import Lab, ServiceSpec
from tests.moto_account import ACCOUNT, account, moto_url

__all__ = ["ACCOUNT", "account", "moto_url"]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return lab_of(tmp_path)


def lab_of(folder: Path, **aws: Any) -> Lab:
    """A lab of two services, whose folder is never read."""
    services = (
        ServiceSpec(name="weather", path=str(folder)),
        ServiceSpec(name="portal", path=str(folder), host_port=8080),
    )
    return Lab(name="blue", target="aws", services=services, aws=AwsSpec(**aws))
