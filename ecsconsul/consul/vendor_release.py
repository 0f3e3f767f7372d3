"""Downloads the vendor's release of Consul for this platform."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
import urllib.request
import zipfile
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from .. import __version__
from ..errors import LabError, Unreachable
from ..polling import in_background
from .binary_source import NoFallback, Say, Untrusted
from .licence import named
from .signature import TAMPERED, SigningKey, vendor_key

RELEASES = "https://releases.hashicorp.com/consul"
ANSWER_SECONDS = 3.0  # for the checksums and for their signature, including the name lookup
STALL_SECONDS = 10.0  # without receiving a byte
DOWNLOAD_SECONDS = 600.0  # for the whole archive, about 50 MB
CHUNK = 1 << 18  # bytes
MOST_BYTES = 1 << 20  # of the checksums, or of a signature
ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True)
class Release:
    """A release as the vendor publishes it: BASE/VERSION/ has a zip per platform, their checksums, and a signature."""

    version: str
    base: str = RELEASES
    key: SigningKey = field(default_factory=vendor_key)
    answer_seconds: float = ANSWER_SECONDS
    stall_seconds: float = STALL_SECONDS
    download_seconds: float = DOWNLOAD_SECONDS
    source: str = "the vendor's release"
    exact: bool = True

    def fetch(self, folder: Path, say: Say) -> Path:
        """Downloads the executable to `folder`, and verifies the vendor's signature and the SHA-256 that it signs.

        Raises LabError if there is none for this platform; Unreachable if the vendor's host doesn't answer or drops
        the connection; NoFallback if there is no such release, Untrusted if it isn't what the vendor signed.
        """
        name = f"consul_{self.version}_{platform(sys.platform, os.uname().machine)}.zip"
        wanted = checksum(self._checksums(), name)
        say(f"downloading {named(self.version)} from {urlsplit(self.base).hostname}")
        archive = folder / name
        got = self._download(self._url(name), archive)
        if got != wanted:
            why = f"its SHA-256 is {got}, but {wanted} was published"
            raise Untrusted(f"The checksum of {name} is wrong", why=why, hint=TAMPERED)
        return _unpacked(archive, folder)

    def _url(self, name: str) -> str:
        return f"{self.base}/{self.version}/{name}"

    def _checksums(self) -> str:
        """The checksums, which the vendor has signed."""
        name = f"consul_{self.version}_SHA256SUMS"
        sums = self._asked(name)
        if sums is None:
            hint = "correct `consul: {version: ...}` in the config, or install Consul yourself"
            raise NoFallback(f"There is no release {self.version} of Consul", where=self._url(""), hint=hint)
        self.key.verify(sums, self._signature(name), name)
        return sums.decode(errors="replace")

    def _signature(self, name: str) -> bytes:
        # the vendor adds each key's ID: what has no ID was, for old releases, made with a key that it has revoked
        for suffix in (f"{self.key.fingerprint[-8:]}.sig", "sig"):
            signature = self._asked(f"{name}.{suffix}")
            if signature is not None:
                return signature
        raise Untrusted(f"The signature of {name} is missing", where=self._url(""), hint=TAMPERED)

    def _asked(self, name: str) -> bytes | None:
        """A small file; None if there is none."""
        url = self._url(name)
        return _within(self.answer_seconds, url, lambda: _read(url, self.answer_seconds))

    def _download(self, url: str, path: Path) -> str:
        """Downloads to `path`, and returns the SHA-256."""
        end = time.monotonic() + self.download_seconds
        try:
            with _open(url, self.stall_seconds) as answer, path.open("wb") as file:
                return _copy(answer, file.write, end)
        except (OSError, HTTPException) as error:
            raise _unreachable(url, error) from error


def platform(system: str, machine: str) -> str:
    """The vendor's name of a platform, like linux_amd64. Raises LabError for other platforms."""
    architecture = ARCHITECTURES.get(machine)
    if system not in ("linux", "darwin") or architecture is None:
        raise LabError(f"no release for {system} on {machine}")
    return f"{system}_{architecture}"


def checksum(sums: str, name: str) -> str:
    """The SHA-256 of `name` in a checksums file. Raises LabError if it isn't listed."""
    for line in sums.splitlines():
        fields = line.split()
        if len(fields) == 2 and fields[1] == name:
            return fields[0].lower()
    raise LabError(f"The published checksums don't list {name}")


def _within(seconds: float, url: str, read: Callable[[], bytes | None]) -> bytes | None:
    """Calls `read()` with a timeout in total, since name lookups have none."""
    try:
        return in_background(read).result(seconds)
    except FutureTimeout:
        raise _unreachable(url, TimeoutError(f"no answer within {seconds:g} s")) from None
    except (OSError, HTTPException) as error:
        raise _unreachable(url, error) from error


def _read(url: str, seconds: float) -> bytes | None:
    try:
        with _open(url, seconds) as answer:
            return answer.read(MOST_BYTES)
    except HTTPError as error:
        if error.code == HTTPStatus.NOT_FOUND:
            return None
        raise


def _open(url: str, seconds: float) -> HTTPResponse:
    request = urllib.request.Request(url, headers={"User-Agent": f"ecsconsul/{__version__}"})
    try:
        # a new opener, since the shared one of urlopen remembers the proxy of the first request
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
            raise TimeoutError("the download takes too long")
        write(chunk)
        digest.update(chunk)
        missing = None if missing is None else missing - len(chunk)
    if missing:
        raise ConnectionError(f"the connection closed with {missing} bytes missing")
    return digest.hexdigest()


def _unpacked(archive: Path, folder: Path) -> Path:
    binary = folder / "consul"
    try:
        with zipfile.ZipFile(archive) as opened, opened.open("consul") as packed, binary.open("wb") as file:
            shutil.copyfileobj(packed, file)
    except (zipfile.BadZipFile, KeyError) as error:
        raise LabError(f"{archive.name} contains no consul", why=str(error)) from error
    binary.chmod(0o755)
    return binary


def _unreachable(url: str, error: OSError | HTTPException) -> Unreachable:
    reason = error.reason if isinstance(error, URLError) and not isinstance(error, HTTPError) else error
    return Unreachable(f"Can't download {url}", why=str(reason) or type(reason).__name__)
