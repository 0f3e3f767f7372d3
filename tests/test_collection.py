"""Every process collects the same tests: the workers of `make test` must agree on their names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_names_do_not_depend_on_the_hashes_of_a_process() -> None:
    collected = []
    for seed in ("1", "2"):
        command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTEST_ADDOPTS": ""}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False
        )
        collected.append([line for line in done.stdout.splitlines() if "::" in line])
    assert collected[0]
    assert collected[0] == collected[1]
