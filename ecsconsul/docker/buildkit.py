"""Builds what an engine's classic builder doesn't know, by BuildKit: here-documents, mounts, links, platform arguments.

Docker's SDK only speaks to the classic builder. BuildKit needs Docker's own command with its buildx plugin.
https://docs.docker.com/build/buildkit/#getting-started
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any

from ..errors import LabError
from .instructions import Instruction, Source

BUILD_SECONDS = 1800.0
VERSION_SECONDS = 30.0
# All other instructions have no options, or those that the classic builder knows: classic is FROM --platform too.
_CLASSIC = {"COPY": {"from", "chown"}, "ADD": {"chown"}, "RUN": set[str]()}
# https://docs.docker.com/reference/dockerfile/#automatic-platform-args-in-the-global-scope
_PLATFORM = re.compile(r"\$\{?((?:BUILD|TARGET)(?:PLATFORM|OS|ARCH|VARIANT))\b")
# a step's line of buildx's plain progress: #7 [stage-1 3/4] RUN pip install -r requirements.txt
_STEP = re.compile(r"#\d+ \[[^\]]*\] (?P<step>RUN .*)")
_PREFIX = re.compile(r"#\d+ ([\d.]+ )?")


@dataclass(frozen=True)
class Need:
    """What in a Dockerfile needs BuildKit, and its place."""

    what: str
    where: str


def needs_buildkit(source: Source) -> Need | None:
    """The first thing that the classic builder doesn't know; None if it can build the Dockerfile. Pure."""
    for one in source.instructions:
        if what := _unknown(one):
            return Need(what, f"{source.path}:{one.line}")
    return None


def _unknown(one: Instruction) -> str:
    if one.heredocs:
        return "a here-document"
    if new := sorted(set(one.options) - _CLASSIC.get(one.keyword, set(one.options))):
        return f"{one.keyword} --{new[0]}"
    texts = (one.value, *one.options.values())
    if argument := next((found for text in texts if (found := _PLATFORM.search(text))), None):
        return f"the argument {argument[1]}"
    return ""


def run_buildx(
    context: IO[bytes],
    options: Mapping[str, Any],
    need: Need,
    write: Callable[[str], None],
    say: Callable[[str], None],
) -> str:
    """Build an image from a tar archive; why it failed, or "". `options` are those of the SDK's build.

    `write` receives each line of the output, `say` each RUN. Raises LabError if there is no buildx.
    """
    docker = _docker(need)
    # Values of arguments aren't for command lines, which all users of the machine may read. An attestation would make
    # the image a list of images, which older registries and engines don't take.
    environment = {**os.environ, "BUILDX_NO_DEFAULT_ATTESTATIONS": "1", **options["buildargs"]}
    with tempfile.TemporaryFile() as archive:
        shutil.copyfileobj(context, archive)
        archive.seek(0)
        process = subprocess.Popen(
            [docker, *_words(options)],
            stdin=archive,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
            # with the plugin that does the work, and that would keep the output open
            start_new_session=True,
        )
    with process:
        # closing its output ends the loop below
        clock = threading.Timer(BUILD_SECONDS, _end, (process,))
        clock.start()
        try:
            for line in process.stdout or ():
                _tell(line.rstrip(), write, say)
        except BaseException:
            _end(process)
            raise
        finally:
            clock.cancel()
    return f"docker buildx exited with code {process.returncode}" if process.returncode else ""


def _end(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _words(options: Mapping[str, Any]) -> list[str]:
    words = ["buildx", "build", "--progress=plain", "--load", "--tag", options["tag"]]
    words += ["--platform", options["platform"]] if options.get("platform") else []
    words += ["--no-cache"] if options.get("nocache") else []
    words += [word for name in options["buildargs"] for word in ("--build-arg", name)]
    words += [word for name, value in options["labels"].items() for word in ("--label", f"{name}={value}")]
    return [*words, "-"]


def _tell(line: str, write: Callable[[str], None], say: Callable[[str], None]) -> None:
    if step := _STEP.fullmatch(line):
        say(step["step"])
    if text := _PREFIX.sub("", line, count=1).strip():
        write(text)


def _docker(need: Need) -> str:
    """Docker's command, if it has buildx. Raises LabError."""
    docker = shutil.which("docker")
    if docker and _answers([docker, "buildx", "version"]):
        return docker
    missing = "`docker buildx` isn't installed" if docker else "there is no `docker` command, which has BuildKit"
    raise LabError(
        "The Dockerfile needs BuildKit",
        where=need.where,
        why=f"the engine's classic builder doesn't know {need.what}, and {missing}",
        hint="install Docker's buildx plugin (the package docker-buildx-plugin, or docker-buildx), or write it without",
    )


def _answers(argv: list[str]) -> bool:
    try:
        return subprocess.run(argv, capture_output=True, timeout=VERSION_SECONDS, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
