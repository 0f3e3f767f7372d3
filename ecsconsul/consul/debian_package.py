"""Downloads and unpacks Debian's consul package with apt's tools, without installing anything.

A mirror is trusted with nothing, so plain HTTP is enough: apt verifies the signature of the suite's InRelease file with
Debian's own keys, by its hashes the package list, and by the list's hash the package. The settings below forbid what a
machine's configuration may allow, such as unsigned sources.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import LabError
from .binary_source import Say
from .licence import named

SUITE = "bullseye"  # Debian 11: the last one with a consul package
# what that package contains, plus Debian's own security fixes until the suite's end in 2024
PACKAGED = "1.8.7"
LAST_RESORT = f"Debian's {named(PACKAGED)}, of 2020 and unsupported by its vendor: the last resort, for trying only,"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# how a sources list may call the machine's release, besides its codename
MOVING_SUITES = {"stable", "oldstable", "oldoldstable", "testing", "unstable", "sid"}
TARGET_FIELDS = ("ORIGIN", "LABEL", "COMPONENT", "RELEASE", "REPO_URI")
LIST_SECONDS, UPDATE_SECONDS, DOWNLOAD_SECONDS, UNPACK_SECONDS = 10.0, 90.0, 120.0, 30.0
MOST_MIRRORS = 3
# kills a command when ecsconsul is killed; otherwise it would keep writing to a folder that the next run clears. Part
# of util-linux, which every Debian has.
TIED_TO_US = ("setpriv", "--pdeathsig", "KILL")


@dataclass(frozen=True)
class IndexTarget:
    """A package list in this machine's apt configuration; origin and label are known after a download."""

    origin: str
    label: str
    component: str
    release: str
    uri: str


@dataclass(frozen=True)
class DebianPackage:
    """The consul package of an older suite, from a mirror that this machine already uses."""

    keyring: Path = KEYRING
    source: str = f"Debian's {SUITE} package"
    exact: bool = False

    def fetch(self, folder: Path, say: Say) -> Path:
        """Downloads the executable to `folder`; apt verifies the archive's signature and the package's hash.

        Raises LabError if this isn't Debian, or no mirror has the package.
        """
        _require_tools(self.keyring)
        failed = []
        for number, uri in enumerate(_mirrors()[:MOST_MIRRORS]):
            say(f"downloading {LAST_RESORT} from {uri}")
            try:
                return _unpack(_download(folder / str(number), uri, self.keyring))
            except LabError as error:
                failed.append(f"{uri}: {error.what}: {error.why}")
        raise LabError("no mirror has the package", why="; ".join(failed))


def parse_targets(text: str) -> list[IndexTarget]:
    """Parses the output of `apt-get indextargets`: one target per line, with the fields of TARGET_FIELDS."""
    return [IndexTarget(*line.split("|", 4)) for line in text.splitlines() if line.count("|") >= 4]


def debian_mirrors(targets: Sequence[IndexTarget], os_release: Mapping[str, str]) -> list[str]:
    """The mirrors of Debian's main archive, in apt's order and without duplicates.

    A downloaded list has an origin (https://wiki.debian.org/DebianRepository/Format#Origin). Before the first
    `apt-get update`, none has: then the targets of a Debian machine's own release count, and apt's signature check
    rejects foreign ones. `os_release` has the fields of os-release(5).
    """
    main = [target for target in targets if target.component == "main" and not target.uri.startswith("cdrom:")]
    found = [target for target in main if (target.origin, target.label) == ("Debian", "Debian")]
    if not found and os_release.get("ID") == "debian":
        own = MOVING_SUITES | {os_release.get("VERSION_CODENAME", "")}
        found = [target for target in main if target.release in own]
    return list(dict.fromkeys(target.uri for target in found))


def apt_configuration(folder: Path) -> str:
    """An apt.conf(5) that keeps apt's lists, state, cache and only source in `folder`."""
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
# apt in containers often stores no parsed lists and compresses the raw ones, so each call would parse them again.
Dir::Cache::pkgcache "pkgcache.bin";
Acquire::GzipIndexes "false";
Debug::NoLocking "true";
# Nothing unsigned or weakly signed, whatever the machine's own sources are allowed.
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::Retries "1";
Acquire::http::Timeout "5";
Acquire::https::Timeout "5";
APT::Update::Error-Mode "any";
# Only its owner can use the folder, so root's apt can't download as its own user.
APT::Sandbox::User "root";
# These sources don't have the machine's default release.
#clear APT::Default-Release;
# The machine's hooks are for its own lists, and some delete files.
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""


def source_line(uri: str, keyring: Path) -> str:
    """The sources.list(5) line: only the package list, signed by Debian's keys."""
    return f"deb [signed-by={keyring} target=Packages lang=none] {uri} {SUITE} main\n"


def _require_tools(keyring: Path) -> None:
    for tool in ("apt-get", "dpkg-deb", TIED_TO_US[0]):
        if not shutil.which(tool):
            raise LabError(f"{tool} isn't installed")
    if not keyring.is_file():
        raise LabError("The keys for Debian's signatures are missing", where=str(keyring))


def _mirrors() -> list[str]:
    fields = "|".join(f"$({field})" for field in TARGET_FIELDS)
    command = ["apt-get", "indextargets", "--format", fields, "Created-By: Packages"]
    targets = parse_targets(_run(command, LIST_SECONDS))
    # without --no-release-info, apt leaves out lists that were never downloaded
    targets += parse_targets(_run([*command, "--no-release-info"], LIST_SECONDS))
    try:
        system = platform.freedesktop_os_release()
    except OSError:
        system = {}
    found = debian_mirrors(targets, system)
    if not found:
        name = system.get("NAME", "this system")
        raise LabError(f"apt on {name} has no mirror of Debian's main archive")
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
    """The command's stdout. Raises LabError with its error message if it fails or times out."""
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
        raise LabError(f"{name} failed", why=_message(done.stderr) or f"exit code {done.returncode}")
    return done.stdout.decode(errors="replace")


def _message(stderr: bytes) -> str:
    # the first of apt's errors is the cause of the others
    lines = stderr.decode(errors="replace").strip().splitlines()
    return next((line for line in lines if line.startswith("E:")), lines[-1] if lines else "")
