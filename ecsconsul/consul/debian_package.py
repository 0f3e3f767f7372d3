"""Fetches Debian's consul package and unpacks it, with apt's own tools and without installing anything.

Where the binary is kept is consul_binary.py's work.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import LabError

SUITE = "bullseye"  # Debian 11: the last one with a consul package
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# What a sources list may call the machine's own release, beside its codename.
MOVING_SUITES = {"stable", "oldstable", "oldoldstable", "testing", "unstable", "sid"}
TARGET_FIELDS = ("ORIGIN", "LABEL", "COMPONENT", "RELEASE", "REPO_URI")
LIST_SECONDS, UPDATE_SECONDS, DOWNLOAD_SECONDS, UNPACK_SECONDS = 10.0, 90.0, 120.0, 30.0
MOST_MIRRORS = 3
# Ends a command when we are killed; else it would go on writing into a folder that the next run clears. Part of
# util-linux, which every Debian has.
TIED_TO_US = ("setpriv", "--pdeathsig", "KILL")


@dataclass(frozen=True)
class IndexTarget:
    """One package list that this machine's apt is set up with; origin and label are known once it was fetched."""

    origin: str
    label: str
    component: str
    release: str
    uri: str


@dataclass(frozen=True)
class DebianPackage:
    """The consul package of an older suite, from the mirror that this machine already uses."""

    keyring: Path = KEYRING
    source: str = f"Debian's {SUITE} package"

    def fetch(self, folder: Path, say: Callable[[str], None]) -> Path:
        """The executable below `folder`; apt has checked the archive's signature and the package's hash.

        Raises LabError when this is no Debian, or when no mirror of it gives the package.
        """
        _require_tools(self.keyring)
        failed = []
        for number, uri in enumerate(_mirrors()[:MOST_MIRRORS]):
            say(f"fetching Consul from Debian's {SUITE} at {uri}")
            try:
                return _unpack(_download(folder / str(number), uri, self.keyring))
            except LabError as error:
                failed.append(f"{uri}: {error.what}: {error.why}")
        raise LabError("no mirror gave the package", why="; ".join(failed))


def parse_targets(text: str) -> list[IndexTarget]:
    """The targets of `apt-get indextargets`, one a line, fields as in TARGET_FIELDS."""
    return [IndexTarget(*line.split("|", 4)) for line in text.splitlines() if line.count("|") >= 4]


def debian_mirrors(targets: Sequence[IndexTarget], os_release: Mapping[str, str]) -> list[str]:
    """The mirrors that hold Debian's main archive, in apt's order, each once.

    A list that was fetched says its origin (https://wiki.debian.org/DebianRepository/Format#Origin). Before the
    first `apt-get update` none does: then the targets for a Debian machine's own release count, and apt's check
    of the signature tells a foreign one. `os_release` are the fields of os-release(5).
    """
    main = [target for target in targets if target.component == "main" and not target.uri.startswith("cdrom:")]
    found = [target for target in main if (target.origin, target.label) == ("Debian", "Debian")]
    if not found and os_release.get("ID") == "debian":
        own = MOVING_SUITES | {os_release.get("VERSION_CODENAME", "")}
        found = [target for target in main if target.release in own]
    return list(dict.fromkeys(target.uri for target in found))


def apt_configuration(folder: Path) -> str:
    """An apt.conf(5) that keeps apt inside `folder`: its lists, its state, its cache, and one source."""
    return f"""\
Dir::Etc::SourceList "{folder}/sources.list";
Dir::Etc::SourceParts "{folder}/none";
Dir::Etc::Preferences "{folder}/none";
Dir::Etc::PreferencesParts "{folder}/none";
Dir::State "{folder}/state";
Dir::State::Lists "lists/";
Dir::State::Status "{folder}/status";
Dir::Cache "{folder}/cache";
Dir::Cache::Archives "archives/";
# A container's apt often keeps no parsed lists and packs the raw ones: small images, but each call parses anew.
Dir::Cache::pkgcache "pkgcache.bin";
Acquire::GzipIndexes "false";
Debug::NoLocking "true";
Acquire::Retries "1";
Acquire::http::Timeout "5";
Acquire::https::Timeout "5";
APT::Update::Error-Mode "any";
# The folder is its owner's alone, so root's apt cannot hand the download to its own user.
APT::Sandbox::User "root";
# The machine's own choice of a release is not among these sources.
#clear APT::Default-Release;
# The machine's hooks are for its own lists; some of them delete files.
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""


def source_line(uri: str, keyring: Path) -> str:
    """The sources.list(5) line: only the package list, and only what Debian's keys have signed."""
    return f"deb [signed-by={keyring} target=Packages lang=none] {uri} {SUITE} main\n"


def _require_tools(keyring: Path) -> None:
    for tool in ("apt-get", "dpkg-deb", TIED_TO_US[0]):
        if not shutil.which(tool):
            raise LabError(f"no {tool} here")
    if not keyring.is_file():
        raise LabError("no keys to check Debian's signatures with", where=str(keyring))


def _mirrors() -> list[str]:
    fields = "|".join(f"$({field})" for field in TARGET_FIELDS)
    command = ["apt-get", "indextargets", "--format", fields, "Created-By: Packages"]
    targets = parse_targets(_run(command, LIST_SECONDS))
    # apt leaves out what was never fetched, unless it need not say where that comes from
    targets += parse_targets(_run([*command, "--no-release-info"], LIST_SECONDS))
    try:
        system = platform.freedesktop_os_release()
    except OSError:
        system = {}
    found = debian_mirrors(targets, system)
    if not found:
        name = system.get("NAME", "this system")
        raise LabError(f"apt on {name} is set up with no mirror of Debian's main archive")
    return found


def _download(folder: Path, uri: str, keyring: Path) -> Path:
    """The verified .deb file."""
    for part in ("none", "state/lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True)
    (folder / "status").touch()
    (folder / "sources.list").write_text(source_line(uri, keyring))
    configuration = folder / "apt.conf"
    configuration.write_text(apt_configuration(folder))
    apt = ["apt-get", "-q", "-c", str(configuration)]
    _run([*apt, "update"], UPDATE_SECONDS, folder)
    _run([*apt, "download", "consul"], DOWNLOAD_SECONDS, folder)
    return next(folder.glob("consul_*.deb"))


def _unpack(package: Path) -> Path:
    unpacked = package.with_name("unpacked")
    _run(["dpkg-deb", "-x", str(package), str(unpacked)], UNPACK_SECONDS)
    return unpacked / "usr" / "bin" / "consul"


def _run(command: Sequence[str], seconds: float, cwd: Path | None = None) -> str:
    """What the command prints. Raises LabError with its own last word when it fails or takes too long."""
    name = " ".join(part for part in command[:5] if not part.startswith(("-", "/")))
    try:
        done = subprocess.run(
            [*TIED_TO_US, *command],
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise LabError(f"{name} failed", why=f"not done within {seconds:g} s") from None
    if done.returncode:
        raise LabError(f"{name} failed", why=_last_word(done.stderr) or f"exit code {done.returncode}")
    return done.stdout.decode(errors="replace")


def _last_word(stderr: bytes) -> str:
    # the first of apt's errors is the cause, those after it follow from it
    lines = stderr.decode(errors="replace").strip().splitlines()
    return next((line for line in lines if line.startswith("E:")), lines[-1] if lines else "")
