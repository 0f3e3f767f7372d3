from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest
from pysequoia import Tsk

from ecsconsul.consul import debian_package
from ecsconsul.consul.debian_package import (
    DebianPackage,
    apt_configuration,
    debian_mirrors,
    parse_targets,
    source_line,
)
from ecsconsul.errors import LabError

BOOKWORM = {"ID": "debian", "VERSION_CODENAME": "bookworm", "NAME": "Debian GNU/Linux"}
UBUNTU = {"ID": "ubuntu", "VERSION_CODENAME": "noble", "NAME": "Ubuntu"}
FETCHED = """\
Vendor|Vendor|main|bookworm|https://apt.vendor.example/
Debian|Debian-Security|main|bookworm-security|http://mirror.example/debian-security/
Debian|Debian|contrib|bookworm|http://contrib.example/debian/
Debian|Debian|main|bookworm|http://mirror.example/debian/
Debian|Debian|main|bookworm-updates|http://mirror.example/debian/
"""
# As apt prints what was never fetched: a field that it does not know stays as it was asked for.
UNFETCHED = """\
$(ORIGIN)|$(LABEL)|main|bookworm|cdrom:[Debian 12]/
$(ORIGIN)|$(LABEL)|stable|bookworm|https://apt.vendor.example/
$(ORIGIN)|$(LABEL)|main|bookworm-security|http://mirror.example/debian-security/
$(ORIGIN)|$(LABEL)|main|bookworm|http://mirror.example/debian/
"""


def test_downloaded_lists_name_debians_main_archive() -> None:
    assert debian_mirrors(parse_targets(FETCHED), {}) == ["http://mirror.example/debian/"]


def test_before_the_first_update_own_release_counts() -> None:
    assert debian_mirrors(parse_targets(UNFETCHED), BOOKWORM) == ["http://mirror.example/debian/"]


@pytest.mark.parametrize("release", ["stable", "oldstable", "sid"])
def test_suite_names_of_the_release_count(release: str) -> None:
    targets = parse_targets(f"$(ORIGIN)|$(LABEL)|main|{release}|http://mirror.example/debian/\n")
    assert debian_mirrors(targets, BOOKWORM) == ["http://mirror.example/debian/"]


@pytest.mark.parametrize(
    "listed",
    [
        "Ubuntu|Ubuntu|main|noble|http://ubuntu.example/ubuntu/\n",
        "$(ORIGIN)|$(LABEL)|main|noble|http://ubuntu.example/ubuntu/\n",
        "",
    ],
)
def test_other_distributions_have_no_mirror(listed: str) -> None:
    assert debian_mirrors(parse_targets(listed), UBUNTU) == []


def test_other_lines_are_ignored() -> None:
    assert parse_targets("N: a note\n\n") == []


def test_source_is_one_list_signed_by_debians_keys() -> None:
    line = source_line("http://mirror.example/debian/", Path("/keys.gpg"))
    options = "signed-by=/keys.gpg target=Packages lang=none"
    assert line == f"deb [{options}] http://mirror.example/debian/ bullseye main\n"


def test_apt_uses_only_its_own_folder(tmp_path: Path) -> None:
    """apt-config prints what apt makes of the configuration, after all files of the machine."""
    if not shutil.which("apt-config"):
        pytest.skip("no apt-config here")
    machines = tmp_path / "machine.conf"
    machines.write_text('APT::Default-Release "stable";\nAPT::Update::Post-Invoke { "touch /hooked"; };\n')
    ours = tmp_path / "ours.conf"
    ours.write_text(apt_configuration(tmp_path / "folder"))
    command = ["apt-config", "-c", str(ours), "dump"]
    done = subprocess.run(command, env={"APT_CONFIG": str(machines)}, capture_output=True, text=True, check=True)
    # names in apt.conf(5) know no case, and a list's entries have an empty last part
    pairs = (line.rstrip(";").split(" ", 1) for line in done.stdout.splitlines())
    dumped = {name.lower(): value for name, value in pairs}
    folder = tmp_path / "folder"
    assert dumped["dir::state"] == f'"{folder}/state"'
    assert dumped["dir::state::lists"] == '"lists/"'
    assert dumped["dir::cache"] == f'"{folder}/cache"'
    assert dumped["dir::etc::sourcelist"] == f'"{folder}/sources.list"'
    assert dumped["dir::etc::sourceparts"] == f'"{folder}/none"'
    hooks = ("apt::update::p", "apt::default-release")
    # what was cleared keeps its name
    assert {value for name, value in dumped.items() if name.startswith(hooks)} == {'""'}


def unsigned_archive(folder: Path) -> str:
    """An archive with a consul package that nobody signed; its URI."""
    package = folder / "package"
    (package / "DEBIAN").mkdir(parents=True)
    fields = {"Package": "consul", "Version": "1.8.7", "Architecture": "all", "Maintainer": "x <x@example.com>"}
    control = "".join(f"{name}: {value}\n" for name, value in fields.items()) + "Description: made up\n"
    (package / "DEBIAN" / "control").write_text(control)
    archive = folder / "archive"
    index = archive / "dists" / "bullseye" / "main" / "binary-all"
    index.mkdir(parents=True)
    deb = archive / "consul.deb"
    subprocess.run(["dpkg-deb", "--build", str(package), str(deb)], check=True, capture_output=True)
    digest = hashlib.sha256(deb.read_bytes()).hexdigest()
    entry = f"{control}Filename: consul.deb\nSize: {deb.stat().st_size}\nSHA256: {digest}\n"
    ours = subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True).stdout.strip()
    sums = ""
    for architecture in (ours, "all"):
        path = index.with_name(f"binary-{architecture}") / "Packages"
        path.parent.mkdir(exist_ok=True)
        path.write_text(entry)
        sums += f" {hashlib.sha256(entry.encode()).hexdigest()} {len(entry)} main/binary-{architecture}/Packages\n"
    release = f"Suite: bullseye\nCodename: bullseye\nComponents: main\nArchitectures: {ours} all\nSHA256:\n{sums}"
    (index.parents[1] / "Release").write_text(release)
    return f"file:{archive}"


def test_unsigned_archive_is_rejected_even_if_the_machine_allows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mirrors are mostly plain HTTP: the signature is all that tells Debian's package from another."""
    if not shutil.which("apt-get"):
        pytest.skip("apt-get is not installed")
    uri = unsigned_archive(tmp_path)
    machine = tmp_path / "machine.conf"
    allowed = (
        "Acquire::AllowInsecureRepositories",
        "Acquire::AllowDowngradeToInsecureRepositories",
        "Acquire::AllowWeakRepositories",
        "APT::Get::AllowUnauthenticated",
    )
    machine.write_text("".join(f'{name} "true";\n' for name in allowed))
    monkeypatch.setenv("APT_CONFIG", str(machine))
    monkeypatch.setattr(debian_package, "_mirrors", lambda: [uri])
    keys = tmp_path / "keys.gpg"
    keys.write_bytes(bytes(Tsk.generate("archive").extract_certificate()))
    (tmp_path / "consul").mkdir()
    with pytest.raises(LabError, match=r"no mirror has the package.*is not signed"):
        DebianPackage(keys).fetch(tmp_path / "consul", lambda line: None)
    assert list((tmp_path / "consul").rglob("*.deb")) == []


def test_missing_keys_prevent_the_download(tmp_path: Path) -> None:
    if not shutil.which("apt-get"):
        pytest.skip("apt-get is not installed")
    with pytest.raises(LabError, match=r"keys for Debian.*no-such\.gpg"):
        DebianPackage(tmp_path / "no-such.gpg").fetch(tmp_path, lambda line: None)
    assert list(tmp_path.iterdir()) == []
