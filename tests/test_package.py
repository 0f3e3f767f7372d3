"""The wheel has every package and data file, and setup.cfg requires what the region imports."""

from __future__ import annotations

import configparser
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, requires, version
from pathlib import Path

import click
import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from ecsconsul.cli.app import VERBS, cli

ROOT = Path(__file__).resolve().parents[1]
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")


def wanted(requirements: list[str]) -> Iterator[Requirement]:
    """The requirements that apply to this Python, without extras."""
    for one in map(Requirement, requirements):
        if one.marker is None or one.marker.evaluate({"extra": ""}):
            yield one


def closure(requirements: list[str]) -> set[str]:
    """The names of these distributions and of everything they require."""
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


def test_default_config_is_in_the_wheel() -> None:
    pattern = SETUP["options.package_data"]["ecsconsul.config"]
    assert [path.name for path in (ROOT / "ecsconsul" / "config").glob(pattern)] == ["default.yaml"]


def test_policies_are_in_the_wheel() -> None:
    pattern = SETUP["options.package_data"]["ecsconsul.targets.aws"]
    folder = ROOT / "ecsconsul" / "targets" / "aws"
    assert {path.name for path in folder.glob(pattern)} == {
        f"{name}.json"
        for name in (
            "up-and-down",
            "stack",
            "roles",
            "watching",
            "load-balancer",
            "commands",
            "snapshots",
            "import",
            "boundary",
        )
    }


def test_the_vendors_key_is_in_the_wheel() -> None:
    pattern = SETUP["options.package_data"]["ecsconsul.consul"]
    assert [path.name for path in (ROOT / "ecsconsul" / "consul").glob(pattern)] == ["hashicorp.asc"]


PAGES = ROOT / "docs" / "man"


def test_every_verb_has_its_manual_page_with_every_option() -> None:
    """`python docs/man/make.py` writes them."""
    top = click.Context(cli)
    for name in VERBS:
        command = cli.get_command(top, name)
        page = (PAGES / f"ecsconsul-{name}.1").read_text().replace("\\", "")
        assert command is not None
        options = [one for parameter in command.params for one in parameter.opts if one.startswith("--")]
        assert [option for option in options if option not in page] == [], name
        assert name in (PAGES / "ecsconsul.1").read_text()
    pattern = SETUP["options.data_files"]["share/man/man1"].strip()
    assert {path.name for path in ROOT.glob(pattern)} == {path.name for path in PAGES.glob("*.1")}


def requirements_of(text: str) -> list[str]:
    return [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]


SERVICES = sorted((ROOT / "services").glob("*/requirements.txt"))
REQUIRED = {
    "setup.cfg": requirements_of(SETUP["options"]["install_requires"]),
    "setup.cfg [dev]": requirements_of(SETUP["options.extras_require"]["dev"]),
    **{path.parent.name: requirements_of(path.read_text()) for path in SERVICES},
}


@pytest.mark.parametrize(("place", "line"), [(place, line) for place, lines in REQUIRED.items() for line in lines])
def test_every_dependency_has_bounds_that_fit_what_is_installed(place: str, line: str) -> None:
    """Below the one it wasn't tried, and above the other it can't have been."""
    requirement = Requirement(line)
    assert sorted(one.operator for one in requirement.specifier) == ["<", ">="]
    if requirement.marker is None or requirement.marker.evaluate():
        assert requirement.specifier.contains(version(requirement.name))


def test_services_have_the_bounds_of_the_region_that_runs_them_as_processes() -> None:
    ours = {Requirement(line).name: Requirement(line).specifier for line in REQUIRED["setup.cfg"]}
    assert len(SERVICES) == 3
    for path in SERVICES:
        for one in map(Requirement, REQUIRED[path.parent.name]):
            assert one.specifier == ours[one.name], f"{path}: {one}"


def test_python_has_bounds() -> None:
    bounds = SpecifierSet(SETUP["options"]["python_requires"])
    assert sorted(one.operator for one in bounds) == ["<", ">="]
    assert [minor for minor in range(30) if bounds.contains(f"3.{minor}.1")] == [10, 11, 12, 13, 14]


def test_region_imports_no_test_dependencies() -> None:
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


def test_benchmarks_do_not_import_tests() -> None:
    texts = {path.name: path.read_text() for path in (ROOT / "benchmarks").glob("*.py")}
    assert [name for name, text in texts.items() if "from tests" in text or "import tests" in text] == []
