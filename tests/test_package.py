"""What is installed: every package of ours is in the wheel, and what the region loads is what setup.cfg asks for."""

from __future__ import annotations

import configparser
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")


def wanted(requirements: list[str]) -> Iterator[Requirement]:
    """Those that apply to this Python, extras left out."""
    for one in map(Requirement, requirements):
        if one.marker is None or one.marker.evaluate({"extra": ""}):
            yield one


def closure(requirements: list[str]) -> set[str]:
    """The names of all distributions that these bring, themselves included."""
    found: set[str] = set()
    ahead = list(wanted(requirements))
    while ahead:
        name = canonicalize_name(ahead.pop().name)
        if name in found:
            continue
        found.add(name)
        try:
            ahead += wanted(requires(name) or [])
        except PackageNotFoundError:
            found.discard(name)
    return found


def test_every_package_is_in_the_wheel() -> None:
    shipped = set(SETUP["options"]["packages"].split()) - {"ecsconsul.templates", "ecsconsul.services"}
    folders = [path.parent for path in (ROOT / "ecsconsul").rglob("__init__.py")]
    assert shipped == {".".join(folder.relative_to(ROOT).parts) for folder in folders}


def test_the_policies_are_in_the_wheel() -> None:
    pattern = SETUP["options.package_data"]["ecsconsul.targets.aws"]
    folder = ROOT / "ecsconsul" / "targets" / "aws"
    assert {path.name for path in folder.glob(pattern)} == {"up-and-down.json", "stack.json", "commands.json"}


def test_the_regions_api_loads_without_what_only_the_tests_install() -> None:
    lines = SETUP["options"]["install_requires"].splitlines()
    brought = {*closure([line for line in lines if line and not line.startswith("#")]), "ecsconsul"}
    strange = [
        module
        for module, distributions in packages_distributions().items()
        if not brought & {canonicalize_name(name) for name in distributions}
    ]
    assert {"cfnlint", "pytest"} <= set(strange)
    code = (
        f"import sys; sys.modules |= dict.fromkeys({strange!r})\n"
        "from ecsconsul.region.moto import Moto\n"
        "Moto('us-east-1', lambda: 'i-0')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
