"""The simulated instance has no AWS CLI, wherever this machine has it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.templates.machine import link_programs


def install(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(f"#!/bin/sh\necho {folder.name}\n")
        (folder / name).chmod(0o755)


def found(name: str, programs: Path) -> str:
    argv = ["/bin/bash", "-c", f"command -v {name} >/dev/null && {name}"]
    return subprocess.run(argv, env={"PATH": str(programs)}, capture_output=True, text=True, timeout=10).stdout.strip()


@pytest.mark.parametrize("place", ["local", "usr"])
def test_aws_cli_of_this_machine_is_hidden(tmp_path: Path, place: str) -> None:
    install(tmp_path / place, "aws", "curl")
    link_programs(tmp_path / "programs", [str(tmp_path / name) for name in ("local", "usr")], without="aws")
    assert found("aws", tmp_path / "programs") == ""
    assert found("curl", tmp_path / "programs") == place


def test_first_folder_wins(tmp_path: Path) -> None:
    install(tmp_path / "local", "curl")
    install(tmp_path / "usr", "curl")
    link_programs(tmp_path / "programs", [str(tmp_path / name) for name in ("local", "usr")], without="aws")
    assert found("curl", tmp_path / "programs") == "local"
