"""What pip is asked for is told from its options."""

from __future__ import annotations

import shlex

import pytest

from ecsconsul.region.runtimes.processes.pip_words import PipInstall, read_pip


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("-r requirements.txt", PipInstall(files=("requirements.txt",))),
        ("-rrequirements.txt --requirement=b.txt", PipInstall(files=("requirements.txt", "b.txt"))),
        ("--no-cache-dir -U pip setuptools", PipInstall()),
        (
            "flask 'gunicorn>=21,<22' 'uvicorn[standard]'",
            PipInstall(packages=("flask", "gunicorn>=21,<22", "uvicorn[standard]")),
        ),
        (".", PipInstall(projects=(".",))),
        ("-e .[dev]", PipInstall(projects=(".[dev]",))),
        ("./lib /app", PipInstall(projects=("./lib", "/app"))),
        ("--prefix /install flask", PipInstall(packages=("flask",), places=("/install",))),
        ("--prefix=/install -r r", PipInstall(files=("r",), places=("/install",))),
        ("--timeout 100 flask", PipInstall(packages=("flask",))),
        ("--wondrous value flask", PipInstall(complete=False)),
        ("-i https://example.com/simple -r r", PipInstall(files=("r",), complete=False)),
        ("flask==$VERSION", PipInstall(complete=False)),
        ("'flask @ https://example.com/flask.whl'", PipInstall(complete=False)),
        ("./flask.whl", PipInstall(complete=False)),
        ("-r", PipInstall(files=("",))),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_words_of_pip(words: str, found: PipInstall) -> None:
    assert read_pip(shlex.split(words)) == found
