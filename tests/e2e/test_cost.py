"""`plan --target aws` as users run it: moto's server as AWS, and a server of its own as AWS's price list."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.moto_account import account, moto_url
from tests.price_server import price_server

__all__ = ["account", "moto_url"]

CONFIG = """\
lab: blue
target: aws
instances: {min: 2, max: 4}
services:
  weather: {path: weather}
"""


def run(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "ecsconsul", *words]
    (folder / "weather").mkdir(exist_ok=True)
    (folder / "weather" / "Dockerfile").write_text('FROM scratch\nCMD ["/hello"]\n')
    (folder / "config.yaml").write_text(CONFIG)
    environment = {**os.environ, **variables}
    return subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def test_plan_says_what_the_lab_will_cost(account: Callable[[str], Any], moto_url: str, tmp_path: Path) -> None:
    with price_server() as server:
        done = run(tmp_path, "plan", "--output", "json", AWS_ENDPOINT_URL_PRICING=server.url)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["changes"]["created"]
    estimate = found["estimate"]
    assert (estimate["currency"], estimate["hour"], estimate["hour_max"]) == ("USD", 0.089, 0.1472)
    assert (estimate["month"], estimate["month_max"]) == (65.0, 107.47)
    assert estimate["unknown"] == []

    # moto has no price list
    done = run(tmp_path, "plan", "--exit-code")
    assert done.returncode == 5
    assert f"No estimate of the cost: AWS's price list can't be read: {moto_url} has none (500)" in " ".join(
        done.stdout.split()
    )
