"""Fetches the vendor's release of Consul for this platform; where it is kept is consul_binary.py's work."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import threading
import time
import urllib.request
import zipfile
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from .. import __version__
from ..errors import LabError, Unreachable

# The last release whose servers have no TLS port for gRPC of their own (1.14 gave them one, on a fixed port that
# two labs on one address would fight for), and free software (MPL; from 1.17 on it is BUSL).
VERSION = "1.13.9"
RELEASES = "https://releases.hashicorp.com/consul"
ANSWER_SECONDS = 3.0  # for the small file of checksums, name lookup included
STALL_SECONDS = 10.0  # without a byte of the release
DOWNLOAD_SECONDS = 600.0  # for all of it, some 50 MB
CHUNK = 1 << 18  # bytes
ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True)
class Release:
    """One release as the vendor publishes it: BASE/VERSION/ with a zip per platform and the checksums of all."""

    base: str = RELEASES
    version: str = VERSION
    answer_seconds: float = ANSWER_SECONDS
    stall_seconds: float = STALL_SECONDS
    download_seconds: float = DOWNLOAD_SECONDS
    source: str = "the vendor's release"

    def fetch(self, folder: Path, say: Callable[[str], None]) -> Path:
        """The executable, checked against the published SHA-256, below `folder`.

        Raises LabError when there is none for this platform or it is not what the vendor published, Unreachable
        when the vendor's host does not answer or breaks off.
        """
        name = f"consul_{self.version}_{platform(sys.platform, os.uname().machine)}.zip"
        wanted = checksum(self._checksums(), name)
        say(f"fetching Consul {self.version} from {urlsplit(self.base).hostname}")
        archive = folder / name
        got = self._download(f"{self.base}/{self.version}/{name}", archive)
        if got != wanted:
            raise LabError(f"{name} is not what was published", why=f"its SHA-256 is {got}, not {wanted}")
        return _unpacked(archive, folder)

    def _checksums(self) -> str:
        url = f"{self.base}/{self.version}/consul_{self.version}_SHA256SUMS"
        return _within(self.answer_seconds, url, lambda: _read(url, self.answer_seconds))

    def _download(self, url: str, path: Path) -> str:
        """The SHA-256 of what was written to `path`."""
        end = time.monotonic() + self.download_seconds
        try:
            with _open(url, self.stall_seconds) as answer, path.open("wb") as file:
                return _copy(answer, file.write, end)
        except (OSError, HTTPException) as error:
            raise _unreachable(url, error) from error


def platform(system: str, machine: str) -> str:
    """The vendor's name of a platform, such as linux_amd64. Raises LabError where it is none of ours."""
    architecture = ARCHITECTURES.get(machine)
    if system not in ("linux", "darwin") or architecture is None:
        raise LabError(f"no release is fetched for {system} on {machine}")
    return f"{system}_{architecture}"


def checksum(sums: str, name: str) -> str:
    """The SHA-256 of `name` in the text of a sums file. Raises LabError when it is not listed."""
    for line in sums.splitlines():
        fields = line.split()
        if len(fields) == 2 and fields[1] == name:
            return fields[0].lower()
    raise LabError(f"{name} is not listed in the published checksums")


def _within(seconds: float, url: str, read: Callable[[], str]) -> str:
    """`read()`, given up after `seconds` in all: a name lookup has no timeout of its own."""
    answer: Future[str] = Future()

    def run() -> None:
        try:
            answer.set_result(read())
        except (OSError, HTTPException) as error:
            answer.set_exception(error)

    threading.Thread(target=run, name="consul-checksums", daemon=True).start()
    try:
        return answer.result(seconds)
    except FutureTimeout:
        raise _unreachable(url, TimeoutError(f"no answer within {seconds:g} s")) from None
    except (OSError, HTTPException) as error:
        raise _unreachable(url, error) from error


def _read(url: str, seconds: float) -> str:
    with _open(url, seconds) as answer:
        return answer.read().decode(errors="replace")


def _open(url: str, seconds: float) -> HTTPResponse:
    request = urllib.request.Request(url, headers={"User-Agent": f"ecsconsul/{__version__}"})
    try:
        # an opener of its own: the one that urlopen shares remembers the proxy of the process's first request
        opened: HTTPResponse = urllib.request.build_opener().open(request, timeout=seconds)
    except HTTPError as error:
        error.close()
        raise
    return opened


def _copy(answer: HTTPResponse, write: Callable[[bytes], int], end: float) -> str:
    digest = hashlib.sha256()
    missing = answer.length
    while chunk := answer.read(CHUNK):
        if time.monotonic() > end:
            raise TimeoutError("it takes too long")
        write(chunk)
        digest.update(chunk)
        missing = None if missing is None else missing - len(chunk)
    if missing:
        raise ConnectionError(f"it broke off, {missing} bytes before its end")
    return digest.hexdigest()


def _unpacked(archive: Path, folder: Path) -> Path:
    binary = folder / "consul"
    try:
        with zipfile.ZipFile(archive) as opened, opened.open("consul") as packed, binary.open("wb") as file:
            shutil.copyfileobj(packed, file)
    except (zipfile.BadZipFile, KeyError) as error:
        raise LabError(f"{archive.name} holds no consul", why=str(error)) from error
    binary.chmod(0o755)
    return binary


def _unreachable(url: str, error: OSError | HTTPException) -> Unreachable:
    reason = error.reason if isinstance(error, URLError) and not isinstance(error, HTTPError) else error
    return Unreachable(f"{url} cannot be fetched", why=str(reason) or type(reason).__name__)
