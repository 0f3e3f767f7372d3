"""Builds an image with Docker's SDK from the same files that its source hash covers."""

from __future__ import annotations

import io
import re
import tarfile
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LabError, Unreachable
from .build_context import files
from .buildkit import Need, needs_buildkit, run_buildx
from .instructions import read_source

if TYPE_CHECKING:
    from docker import APIClient

BUILD_SECONDS = 1800
# the steps that take a while
_STEP = re.compile(r"Step \d+/\d+ : RUN ")
# how much of a failed build's output an error shows
LINES_SHOWN = 12
# the kernel's error for a program of an architecture that it can't run
_WRONG_ARCHITECTURE = "exec format error"


def build(
    docker: APIClient,
    reference: str,
    source: Path,
    build_args: Mapping[str, str],
    labels: Mapping[str, str],
    say: Callable[[str], None],
    platform: str | None = None,
) -> None:
    """Build one image for a platform such as linux/arm64, or for the engine's own. `say` receives each long step.

    Raises LabError with the last lines of the output, or if the image is for another architecture; Unreachable if the
    connection to the engine breaks.
    """
    wanted = platform and platform.rpartition("/")[2]
    need = needs_buildkit(read_source(source))
    if need and _is_podman(docker):
        # its one builder knows all of it
        need = None
    options: dict[str, Any] = {"tag": reference, "buildargs": dict(build_args), "labels": dict(labels)}
    # older engines mix up the cached layers of different platforms
    for cached in (True, False):
        options |= {"platform": platform, "nocache": not cached}
        builds = partial(_by_buildkit, need) if need else _build
        architecture = builds(docker, source, options, say)
        if wanted in (None, architecture):
            return
    raise LabError(
        f"The image was built for {architecture} instead of {platform}",
        where=str(source / "Dockerfile"),
        why=f"its base image is for {architecture}",
        hint="use a base image that exists for both architectures, and FROM without --platform",
    )


def _build(docker: APIClient, source: Path, options: Mapping[str, Any], say: Callable[[str], None]) -> str:
    """Build the image once; returns its architecture."""
    from docker.errors import APIError
    from requests.exceptions import RequestException

    lines: deque[str] = deque(maxlen=LINES_SHOWN)
    try:
        messages = docker.build(
            fileobj=context(source),
            custom_context=True,
            rm=True,
            forcerm=True,
            decode=True,
            timeout=BUILD_SECONDS,
            **options,
        )
        # the stream goes on after an error and must be read to its end
        errors = [error for message in messages if (error := _read(message, lines, say))]
        if errors:
            raise _failure(source, errors[0], lines, options["platform"])
        return str(docker.inspect_image(options["tag"])["Architecture"])
    except APIError as error:
        raise _failure(source, str(error.explanation), lines, options["platform"]) from error
    except RequestException as error:
        raise Unreachable(
            "The connection to the Docker engine broke during a build",
            where=str(source),
            why=str(error),
            hint="check that Docker still runs, then run the command again",
        ) from error


def _by_buildkit(
    need: Need, docker: APIClient, source: Path, options: Mapping[str, Any], say: Callable[[str], None]
) -> str:
    lines: deque[str] = deque(maxlen=LINES_SHOWN)
    if why := run_buildx(context(source), options, need, lines.append, say):
        raise _failure(source, why, lines, options["platform"])
    return str(docker.inspect_image(options["tag"])["Architecture"])


def _is_podman(docker: APIClient) -> bool:
    return any("podman" in str(one.get("Name")).lower() for one in docker.version().get("Components") or ())


def context(source: Path) -> io.BytesIO:
    """The build context as a tar archive: the folder's files, without timestamps and owners."""
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
    """Remove an image, if it is still there. Layers that other images use stay."""
    from docker.errors import ImageNotFound

    try:
        docker.remove_image(image, force=True)
    except ImageNotFound:
        return


def _read(message: Mapping[str, Any], lines: deque[str], say: Callable[[str], None]) -> str:
    """Collect the output of a build and report its long steps; returns the error that the message carries, if any."""
    for line in str(message.get("stream") or "").splitlines():
        text = line.strip()
        if text and not text.startswith("--->"):
            lines.append(text)
            if _STEP.match(text):
                say(text.partition(" : ")[2])
    return str(message.get("error") or "")


def _failure(source: Path, why: str, lines: deque[str], platform: str | None) -> LabError:
    output = "\n".join([*lines, why])
    option = f"--platform {platform} " if platform else ""
    hint = f"run `docker build {option}{source}` to see the whole output"
    if platform and _WRONG_ARCHITECTURE in output:
        hint = emulation_hint(platform)
    return LabError("The image build failed", where=str(source / "Dockerfile"), why=output, hint=hint)


def emulation_hint(platform: str) -> str:
    """How to let an engine on Linux run programs of another architecture."""
    name = platform.rpartition("/")[2]
    return (
        f"install an emulator for {name}: `docker run --privileged --rm tonistiigi/binfmt --install {name}`,"
        " or the packages qemu-user-static and binfmt-support"
    )
