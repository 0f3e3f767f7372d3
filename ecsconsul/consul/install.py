"""Finds the consul binary that the local region runs, or downloads one to a cache."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..errors import LabError
from ..paths import lock_file
from .binary_source import NoFallback, Say, Way
from .licence import named

BINARY_VARIABLE = "ECSCONSUL_CONSUL_BIN"
CACHE_VARIABLE = "ECSCONSUL_CACHE"
CHECK_SECONDS = 10.0
LOCK_LOOKS, LOCK_SECONDS = 9000, 0.1  # the slowest download ends within 15 minutes
RETRY_SECONDS = 24 * 3600.0  # until the version that was asked for is tried again, with another one in the cache
HINT = f"install Consul, or set {BINARY_VARIABLE} to the path of a consul binary"


@dataclass(frozen=True)
class Consul:
    """A binary that runs, and its version, like 1.8.7 or, from a packager, 1.8.7+dfsg1."""

    path: Path
    version: str

    def is_release(self, asked: str) -> bool:
        """Whether it's the release `asked`, like 1.8.7."""
        return self.version.partition("+")[0] == asked


Look = Callable[[], Consul]


def find(say: Say, asked: str, *, environ: Mapping[str, str] = os.environ, ways: Sequence[Way] | None = None) -> str:
    """The absolute path of a consul binary that runs; `say` gets a line with the choice and its reason.

    Tries ECSCONSUL_CONSUL_BIN, PATH and the cache, then downloads one to the cache from the `ways` (the vendor's
    release, Debian's package). What the user has installed is used whatever its version; `asked` is the version to
    download, which replaces another one in the cache. Without a network the cached one is used, and for a day the
    download isn't tried again. Raises LabError if the binary of ECSCONSUL_CONSUL_BIN doesn't run, or if there is none.
    """
    failed: dict[str, str] = {}
    found = _at_hand(environ, asked, failed)
    if found is None:
        ways = _default_ways(asked) if ways is None else ways
        found = _fetched(_cache_folder(environ), asked, ways, failed, say)
    if found is None:
        raise LabError("No Consul binary was found", where="this machine", why=_why(failed), hint=HINT)
    return _chosen(*found, asked, failed, say)


def at_hand(asked: str, environ: Mapping[str, str] = os.environ) -> str:
    """Describes, with its licence, the binary that `find` would use, or what it would download.

    Raises LabError if the binary of ECSCONSUL_CONSUL_BIN doesn't run.
    """
    if found := _at_hand(environ, asked, {}):
        consul, place = found
        return f"{named(consul.version)} from {place}: {consul.path}{_deviation(consul, asked)}"
    replaced = _any_in_cache(_cache_folder(environ))
    now = f"Consul {replaced[0].version} is in the cache" if replaced else "not installed"
    return f"{now}; `up` downloads {named(asked)}"


def _at_hand(environ: Mapping[str, str], asked: str, failed: dict[str, str]) -> tuple[Consul, str] | None:
    if configured := environ.get(BINARY_VARIABLE):
        return _configured(Path(configured)), BINARY_VARIABLE
    cache = _cache_folder(environ)
    return _first({"PATH": lambda: _on_path(environ), "the cache": lambda: _settled_in_cache(cache, asked)}, failed)


def _deviation(consul: Consul, asked: str) -> str:
    """Says that it's not the version in the config; empty if it is."""
    return "" if consul.is_release(asked) else f"; the config asks for {asked} (consul.version)"


def cached(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The binary in the cache, if there is one."""
    binary = _cached_binary(_cache_folder(environ))
    return binary if binary.is_file() else None


def version_of(binary: Path, seconds: float = CHECK_SECONDS) -> str:
    """The version of a binary, like 1.8.7. Raises LabError if it doesn't run."""
    try:
        done = subprocess.run(
            [binary, "version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise LabError(f"{binary} does not run", why=f"no answer to `version` within {seconds:g} s") from None
    except OSError as error:
        raise LabError(f"{binary} does not run", why=error.strerror or str(error)) from None
    output = done.stdout.decode(errors="replace")
    version = re.match(r"Consul v(\S+)", output)
    if done.returncode or not version:
        lines = (done.stderr.decode(errors="replace").strip() or output.strip()).splitlines()
        why = f"`version` ended with {done.returncode}" + (f": {lines[-1]}" if lines else "")
        raise LabError(f"{binary} does not run", why=why)
    return version[1]


def _default_ways(asked: str) -> Sequence[Way]:
    # imported here, since most runs have a binary and need neither HTTP nor zip
    from .debian_package import DebianPackage
    from .vendor_release import Release

    return (Release(asked), DebianPackage())


def _chosen(consul: Consul, place: str, asked: str, failed: Mapping[str, str], say: Say) -> str:
    why = f" ({_why(failed)})" if failed else ""
    say(f"Consul {consul.version} from {place}: {consul.path}{why}{_deviation(consul, asked)}")
    return str(consul.path)


def _why(failed: Mapping[str, str]) -> str:
    return "; ".join(f"{place}: {reason}" for place, reason in failed.items())


def _first(looks: Mapping[str, Look], failed: dict[str, str]) -> tuple[Consul, str] | None:
    """The first Consul that is found, and its place; the reasons why others aren't go to `failed`."""
    for place, look in looks.items():
        try:
            return look(), place
        except NoFallback:
            raise
        except LabError as error:
            failed[place] = _reason(error)
    return None


def _reason(error: LabError) -> str:
    """The error on one line."""
    return " ".join(": ".join(part for part in (error.what, error.where, error.why) if part).split())


def _configured(binary: Path) -> Consul:
    # never skipped: the user wants this binary, and must learn if it doesn't run
    path = binary.expanduser().absolute()
    try:
        return Consul(path, version_of(path))
    except LabError as error:
        hint = f"correct {BINARY_VARIABLE}, or unset it to have one found"
        raise LabError(error.what, where=BINARY_VARIABLE, why=error.why, hint=hint) from None


def _on_path(environ: Mapping[str, str]) -> Consul:
    found = shutil.which("consul", path=environ.get("PATH", os.defpath))
    if not found:
        raise LabError("no consul there")
    # runs it each time (30 ms): a binary on PATH may be a script that runs another file
    path = Path(found).absolute()
    return Consul(path, version_of(path))


def _cache_folder(environ: Mapping[str, str]) -> Path:
    if configured := environ.get(CACHE_VARIABLE):
        return Path(configured).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("ecsconsul")


def _cached_binary(cache: Path) -> Path:
    return cache / "consul" / "consul"


def _in_cache(cache: Path) -> Consul:
    binary = _cached_binary(cache)
    if not os.access(binary, os.X_OK):
        raise LabError("no consul there")
    # a file that ran before and hasn't changed doesn't need another `consul version`
    return Consul(binary, _remembered(binary) or version_of(binary))


def _settled_in_cache(cache: Path, asked: str) -> Consul:
    """The cached binary, if it's the version asked for, or that one was tried within the last day."""
    consul = _in_cache(cache)
    if not consul.is_release(asked) and not _tried_lately(consul.path, asked):
        raise LabError(f"Consul {consul.version} there, not {asked}")
    return consul


def _any_in_cache(cache: Path) -> tuple[Consul, str] | None:
    return _first({"the cache": lambda: _in_cache(cache)}, {})


def _note_try(binary: Path, asked: str) -> None:
    _try_note(binary).write_text(f"{asked}\n")


def _tried_lately(binary: Path, asked: str) -> bool:
    note = _try_note(binary)
    return (
        note.is_file() and note.read_text().strip() == asked and abs(time.time() - note.stat().st_mtime) < RETRY_SECONDS
    )


def _try_note(binary: Path) -> Path:
    """Its text is the version that could not be downloaded, and its time when that was."""
    return binary.with_name("tried")


def _remember(binary: Path, version: str) -> None:
    _memory(binary).write_text(f"{_identity(binary)} {version}\n")


def _remembered(binary: Path) -> str | None:
    memory = _memory(binary)
    if not memory.is_file():
        return None
    identity, _, version = memory.read_text().strip().rpartition(" ")
    return version if identity == _identity(binary) else None


def _memory(binary: Path) -> Path:
    return binary.with_name("checked")


def _identity(binary: Path) -> str:
    stat = binary.stat()
    return f"{stat.st_mtime_ns} {stat.st_size}"


def _fetched(
    cache: Path, asked: str, ways: Sequence[Way], failed: dict[str, str], say: Say
) -> tuple[Consul, str] | None:
    """Downloads from the first source that works, unless another ecsconsul has downloaded one meanwhile."""
    try:
        with _alone(cache, say), _fresh_folder(cache) as folder:
            exact = _downloads([way for way in ways if way.exact], folder / "exact", cache, say)
            rest = _downloads([way for way in ways if not way.exact], folder / "rest", cache, say)
            # what the user had so far comes before a last resort
            return _first({"the cache": lambda: _settled_or_cleared(cache, asked), **exact}, failed) or _noted(
                _any_in_cache(cache) or _first(rest, failed), asked
            )
    except OSError as error:
        if found := _any_in_cache(cache):
            return found
        hint = f"set {CACHE_VARIABLE} to a writable folder, or {HINT}"
        raise LabError("Can't download Consul to the cache", where=str(cache), why=str(error), hint=hint) from error


def _downloads(ways: Sequence[Way], folder: Path, cache: Path, say: Say) -> dict[str, Look]:
    return {way.source: _download(way, folder / str(number), cache, say) for number, way in enumerate(ways)}


def _download(way: Way, folder: Path, cache: Path, say: Say) -> Look:
    def look() -> Consul:
        folder.mkdir(parents=True)
        return _kept(way.fetch(folder, say), folder, cache)

    return look


def _noted(found: tuple[Consul, str] | None, asked: str) -> tuple[Consul, str] | None:
    """The same, after noting that the version asked for could not be had now."""
    if found and not found[0].is_release(asked):
        _note_try(found[0].path, asked)
    return found


def _kept(binary: Path, folder: Path, cache: Path) -> Consul:
    """Moves a downloaded binary that runs to the cache.

    A kill leaves the old one, the new one or nothing, but never half of one.
    """
    version = version_of(binary)
    complete, place = folder / "complete", _cached_binary(cache).parent
    complete.mkdir()
    _remember(binary.rename(complete / "consul"), version)
    if place.is_dir():
        place.rename(folder / "replaced")
    complete.rename(place)
    return Consul(_cached_binary(cache), version)


def _settled_or_cleared(cache: Path, asked: str) -> Consul:
    try:
        _in_cache(cache)
    except LabError:
        place = _cached_binary(cache).parent
        if place.is_dir():
            shutil.rmtree(place)
        raise
    return _settled_in_cache(cache, asked)


@contextmanager
def _fresh_folder(cache: Path) -> Iterator[Path]:
    """A temporary folder in the cache, where a rename is atomic. Requires `_alone`."""
    for left_by_a_kill in cache.glob("consul-fetch-*"):
        shutil.rmtree(left_by_a_kill)
    with tempfile.TemporaryDirectory(prefix="consul-fetch-", dir=cache) as folder:
        yield Path(folder)


@contextmanager
def _alone(cache: Path, say: Say) -> Iterator[None]:
    """While no other process fetches; the kernel ends a killed one's lock. Raises LabError after 15 minutes."""
    path = cache / "consul.lock"
    file = _try_lock(path)
    if file is None:
        say("waiting for another ecsconsul, which is fetching Consul")
        file = _wait_for_lock(path)
    with file:
        yield


def _wait_for_lock(path: Path) -> IO[str]:
    from ..polling import PollingPolicy, poll_until

    try:
        return poll_until(lambda: _try_lock(path), PollingPolicy(LOCK_SECONDS, LOCK_LOOKS), time.sleep)
    except TimeoutError as error:
        hint = "end the other ecsconsul, or wait for it"
        raise LabError("Another ecsconsul is fetching Consul", where=str(path), why=str(error), hint=hint) from None


def _try_lock(path: Path) -> IO[str] | None:
    # flock has no timeout, so the lock is polled.
    try:
        return lock_file(path)
    except BlockingIOError:
        return None
