from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

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


def test_missing_keys_prevent_the_download(tmp_path: Path) -> None:
    if not shutil.which("apt-get"):
        pytest.skip("apt-get is not installed")
    with pytest.raises(LabError, match=r"keys for Debian.*no-such\.gpg"):
        DebianPackage(tmp_path / "no-such.gpg").fetch(tmp_path, lambda line: None)
    assert list(tmp_path.iterdir()) == []
