"""Builds an image with the Docker SDK from the files that its hash is made of; which engine does it is for others."""

from __future__ import annotations

import io
import re
import tarfile
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LabError, Unreachable
from .build_context import files

if TYPE_CHECKING:
    from docker import APIClient

BUILD_SECONDS = 1800
# the steps that take a while
_STEP = re.compile(r"Step \d+/\d+ : RUN ")
# lines of a failed build that are shown
LINES_SHOWN = 12
# what a kernel says to a program of another architecture that nothing emulates
_FOREIGN = "exec format error"


def build(
    docker: APIClient,
    reference: str,
    source: Path,
    build_args: Mapping[str, str],
    marks: Mapping[str, str],
    say: Callable[[str], None],
    platform: str | None = None,
) -> None:
    """Build one image, for a platform such as linux/arm64 or the engine's own; `say` is told of each step.

    Raises LabError with the build's last lines or when the image is for another architecture, Unreachable when the
    engine goes away.
    """
    wanted = platform and platform.rpartition("/")[2]
    options = {"tag": reference, "buildargs": dict(build_args), "labels": dict(marks), "platform": platform}
    # the cache of older engines does not tell the layers of one platform from those of another
    for cached in (True, False):
        architecture = _build(docker, source, {**options, "nocache": not cached}, say)
        if wanted in (None, architecture):
            return
    raise LabError(
        f"An image that is built for {platform} is for {architecture}",
        where=str(source / "Dockerfile"),
        why="that is what its base image is for",
        hint="let its FROM name an image that is there for both, and no --platform",
    )


def _build(docker: APIClient, source: Path, options: Mapping[str, Any], say: Callable[[str], None]) -> str:
    """Build it once; its architecture."""
    from docker.errors import APIError
    from requests.exceptions import RequestException

    lines: deque[str] = deque(maxlen=LINES_SHOWN)
    try:
        told = docker.build(
            fileobj=context(source),
            custom_context=True,
            rm=True,
            forcerm=True,
            decode=True,
            timeout=BUILD_SECONDS,
            **options,
        )
        # read to its end, which comes after an error
        errors = [error for message in told if (error := _read(message, lines, say))]
        if errors:
            raise _failure(source, errors[0], lines, options["platform"])
        return str(docker.inspect_image(options["tag"])["Architecture"])
    except APIError as error:
        raise _failure(source, str(error.explanation), lines, options["platform"]) from error
    except RequestException as error:
        raise Unreachable(
            "The Docker engine went away during a build", where=str(source), why=str(error), hint="start Docker again"
        ) from error


def context(source: Path) -> io.BytesIO:
    """The build context: the files of the folder, and nothing of when or by whom they were made."""
    found = io.BytesIO()
    with tarfile.open(fileobj=found, mode="w") as archive:
        for path in files(source):
            member = archive.gettarinfo(path, path.relative_to(source).as_posix())
            member.mtime, member.uid, member.gid, member.uname, member.gname = 0, 0, 0, "", ""
            member.mode = 0o755 if member.mode & 0o111 else 0o644
            if member.isreg():
                with path.open("rb") as content:
                    archive.addfile(member, content)
            else:
                archive.addfile(member)
    found.seek(0)
    return found


def remove(docker: APIClient, image: str) -> None:
    """Remove an image; one that is gone is fine, and one that others still build upon keeps its layers."""
    from docker.errors import ImageNotFound

    try:
        docker.remove_image(image, force=True)
    except ImageNotFound:
        return


def _read(message: Mapping[str, Any], lines: deque[str], say: Callable[[str], None]) -> str:
    """Keep what a build says, and tell its long steps; the error that the message may be."""
    for line in str(message.get("stream") or "").splitlines():
        text = line.strip()
        if text and not text.startswith("--->"):
            lines.append(text)
            if _STEP.match(text):
                say(text.partition(" : ")[2])
    return str(message.get("error") or "")


def _failure(source: Path, why: str, lines: deque[str], platform: str | None) -> LabError:
    told = "\n".join([*lines, why])
    option = f"--platform {platform} " if platform else ""
    hint = f"`docker build {option}{source}` shows the same"
    if platform and _FOREIGN in told:
        hint = emulation_hint(platform)
    return LabError("An image cannot be built", where=str(source / "Dockerfile"), why=told, hint=hint)


def emulation_hint(platform: str) -> str:
    """How an engine on Linux learns to run programs of another architecture."""
    name = platform.rpartition("/")[2]
    return (
        f"let the kernel run {name} programs: `docker run --privileged --rm tonistiigi/binfmt --install {name}`,"
        " or install qemu-user-static and binfmt-support"
    )
