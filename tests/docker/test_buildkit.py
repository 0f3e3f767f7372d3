"""What the classic builder doesn't know is found, and built by Docker's own command.

The command is a script that records how it is called, since buildx can't be had everywhere.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from ecsconsul.docker.build import context
from ecsconsul.docker.buildkit import Need, needs_buildkit, run_buildx
from ecsconsul.docker.instructions import read_source
from ecsconsul.errors import LabError

NEED = Need("a here-document", "web/Dockerfile:2")
OPTIONS = {
    "tag": "lab/web:1",
    "buildargs": {"BASE": "python:3.12"},
    "labels": {"lab": "mine"},
    "platform": "linux/arm64",
    "nocache": True,
}
DOCKER = """#!/bin/sh
if [ "$2" = version ]; then exit 0; fi
printf '%s\\n' "$@" >"$RECORD/words"
echo "$BASE" >"$RECORD/base"
cat >"$RECORD/context.tar"
echo '#1 [internal] load build definition from Dockerfile'
echo '#7 [stage-1 3/4] RUN pip install flask'
echo '#7 1.234 Collecting flask' >&2
exit "$CODE"
"""


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("RUN <<EOF\necho hi\nEOF", "a here-document"),
        ("COPY <<EOF /settings\na = 1\nEOF", "a here-document"),
        ("RUN --mount=type=cache,target=/root/.cache pip install x", "RUN --mount"),
        ("COPY --link . .", "COPY --link"),
        ("ADD --checksum=sha256:00 http://x/y /y", "ADD --checksum"),
        ("COPY --chmod=755 . .", "COPY --chmod"),
        ("RUN go build -arch $TARGETARCH", "the argument TARGETARCH"),
        ("COPY --from=build --chown=1:1 . .", ""),
        ("RUN echo $TARGET ${BUILD_DATE}", ""),
        ("HEALTHCHECK --interval=5s CMD true", ""),
    ],
)
def test_what_the_classic_builder_lacks_is_named_with_its_line(tmp_path: Path, line: str, what: str) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM --platform=linux/amd64 x AS build\n{line}\nCMD true\n")
    need = needs_buildkit(read_source(tmp_path))
    assert need == (Need(what, f"{tmp_path}/Dockerfile:2") if what else None)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the docker command records its calls."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "docker").write_text(DOCKER)
    (programs / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("RECORD", str(tmp_path))
    monkeypatch.setenv("CODE", "0")
    return tmp_path


def test_buildx_gets_the_context_and_the_options(command: Path) -> None:
    source = command / "web"
    source.mkdir()
    (source / "Dockerfile").write_text("FROM x\nCMD true\n")
    lines: list[str] = []
    said: list[str] = []
    assert run_buildx(context(source), OPTIONS, NEED, lines.append, said.append) == ""
    words = "build --progress=plain --load --tag lab/web:1 --platform linux/arm64 --no-cache"
    found = (command / "words").read_text().split()
    assert found == ["buildx", *words.split(), "--build-arg", "BASE", "--label", "lab=mine", "-"]
    assert (command / "base").read_text() == "python:3.12\n"
    with tarfile.open(command / "context.tar") as archive:
        assert archive.getnames() == ["Dockerfile"]
    assert said == ["RUN pip install flask"]
    assert "Collecting flask" in lines


def test_failed_build_is_told(command: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODE", "3")
    why = run_buildx(io.BytesIO(), {**OPTIONS, "platform": None, "nocache": False}, NEED, lambda line: None, print)
    assert why == "docker buildx exited with code 3"
    assert "--platform" not in (command / "words").read_text()


@pytest.mark.parametrize(("script", "missing"), [("exit 1", "buildx` isn't installed"), ("", "no `docker` command")])
def test_missing_buildx_is_named_with_the_line_that_needs_it(command: Path, script: str, missing: str) -> None:
    docker = command / "programs" / "docker"
    if script:
        docker.write_text(f"#!/bin/sh\n{script}\n")
    else:
        docker.unlink()
    with pytest.raises(LabError) as raised, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(docker.parent))
        run_buildx(io.BytesIO(), OPTIONS, NEED, lambda line: None, print)
    assert raised.value.where == "web/Dockerfile:2"
    assert missing in raised.value.why
    assert "docker-buildx" in raised.value.hint
