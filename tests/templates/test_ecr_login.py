"""The boot scripts' login at ECR, run by bash with stand-ins for the AWS CLI and Docker."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from ecsconsul.paths import templates_dir

HOST = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
PULL = "pull --quiet {image}"


def calls_of(folder: Path, image: str, *, known: bool = False, password: str = "echo secret") -> tuple[int, list[str]]:
    """The exit code of has_image, and what Docker was called with: the arguments, and its standard input."""
    script = (templates_dir() / "boot.sh").read_text()
    functions = "".join(re.findall(r"(?ms)^(?:has_image|log_in)\(\) \{\n.*?^\}\n", script))
    log = folder / "calls"
    log.touch()
    docker = folder / "docker"
    docker.write_text(
        f'#!/bin/bash\n[ "$1" != image ] || exit {0 if known else 1}\n'
        f'echo "$*" >>{log}\n[ "$1" != login ] || cat >>{log}\n'
    )
    docker.chmod(0o755)
    given = f"set -Eeuo pipefail\nPATH={folder}:$PATH\nCONSUL_IMAGE={image}\naws_cli() {{ {password}; }}\n"
    program = f"{given}{functions}\nhas_image\n"
    done = subprocess.run(["bash", "-c", program], timeout=30, check=False, capture_output=True)
    return done.returncode, log.read_text().splitlines()


@pytest.mark.parametrize("image", [f"{HOST}/blue/consul:1.22.7", f"{HOST}.cn/blue/consul:1.22.7@sha256:{'0' * 64}"])
def test_image_in_ecr_is_pulled_after_a_login(tmp_path: Path, image: str) -> None:
    host = image.partition("/")[0]
    login = [f"login --username AWS --password-stdin {host}", "secret"]
    assert calls_of(tmp_path, image) == (0, [*login, PULL.format(image=image)])


@pytest.mark.parametrize("image", ["hashicorp/consul:1.22.7", "public.ecr.aws/hashicorp/consul:1.22.7", "consul"])
def test_other_registries_are_asked_without_a_login(tmp_path: Path, image: str) -> None:
    assert calls_of(tmp_path, image) == (0, [PULL.format(image=image)])


def test_image_that_is_there_is_not_pulled(tmp_path: Path) -> None:
    assert calls_of(tmp_path, f"{HOST}/blue/consul:1", known=True) == (0, [])


def test_failed_login_pulls_nothing(tmp_path: Path) -> None:
    """It's tried again: has_image fails."""
    code, calls = calls_of(tmp_path, f"{HOST}/blue/consul:1", password="return 255")
    assert code != 0
    assert not [one for one in calls if one.startswith("pull")]
