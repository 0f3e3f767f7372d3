"""The arrows between the package's rooms, read from its imports: who may know whom, and what may be loaded when."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ecsconsul

PACKAGE = Path(ecsconsul.__file__).parent
MODULES = {
    "ecsconsul." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
MODULES = {name.removesuffix(".__init__"): path for name, path in MODULES.items()}
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}
MOST_LINES = 400
HEAVY = {"boto3", "botocore", "moto", "docker", "consul", "dns", "flask", "rich", "msgspec", "yaml", "requests"}


def imports_of(name: str, tree: ast.AST) -> set[str]:
    """The modules that a module names in its imports, wherever in it they stand, each by its full name."""
    package = name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= set(_from(node, package))
    return found


def _from(node: ast.ImportFrom, package: str) -> Iterator[str]:
    """`from .a import b` may mean the module a.b; then that one is meant, else a."""
    above = package.split(".")[: len(package.split(".")) - (node.level - 1)] if node.level else []
    base = ".".join([*above, *([node.module] if node.module else [])])
    for alias in node.names:
        yield f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base


IMPORTS = {name: imports_of(name, tree) for name, tree in TREES.items()}


def within(name: str, room: str) -> bool:
    return name == room or name.startswith(f"{room}.")


def users_of(*rooms: str) -> set[str]:
    """The modules that import one of the rooms (a package of ours or a library)."""
    return {name for name, imports in IMPORTS.items() if any(within(i, room) for i in imports for room in rooms)}


def outside(names: set[str], *rooms: str) -> set[str]:
    return {name for name in names if not any(within(name, f"ecsconsul.{room}") for room in rooms)}


# --- the reader of imports is itself right


def test_imports_are_read_wherever_and_however_they_are_written() -> None:
    code = "import a.b\nfrom c import d\ndef f():\n    from ..lab import Lab\n    from . import base\n"
    assert imports_of("ecsconsul.deploy.step1_cluster", ast.parse(code)) == {
        "a.b", "c", "ecsconsul.config.lab", "ecsconsul.deploy.step",
    }  # fmt: skip


# --- the arrows


def test_only_the_command_line_imports_click() -> None:
    assert outside(users_of("click"), "cli") == set()


def test_only_the_view_and_the_error_block_import_rich() -> None:
    assert outside(users_of("rich"), "cli", "view") == set()


def test_only_targets_make_aws_clients() -> None:
    assert outside(users_of("boto3"), "targets") == set()


def test_only_steps_and_targets_name_botocore() -> None:
    """Steps read its exceptions, inside a function; clients are handed to them."""
    assert outside(users_of("botocore"), "targets", "steps", "local.moto") == set()
    named = {
        i
        for name in IMPORTS
        if within(name, "ecsconsul.deploy.lab_steps")
        for i in IMPORTS[name]
        if within(i, "botocore")
    }
    assert named <= {"botocore.exceptions"}


def test_steps_and_the_local_region_do_not_know_each_other() -> None:
    assert [name for name in users_of("ecsconsul.local") if within(name, "ecsconsul.deploy.lab_steps")] == []
    assert [name for name in users_of("ecsconsul.deploy.lab_steps") if within(name, "ecsconsul.local")] == []


def test_only_the_local_target_and_its_own_room_know_the_local_region() -> None:
    assert outside(users_of("ecsconsul.local"), "local", "targets.local") == set()


def test_nothing_but_the_entrance_names_a_certain_target() -> None:
    users = users_of("ecsconsul.targets.local.target", "ecsconsul.targets.aws")
    assert outside(users, "targets.aws") == {"ecsconsul.targets"}


def test_the_walk_knows_the_steps_protocol_and_no_step() -> None:
    assert {i for i in IMPORTS["ecsconsul.deploy.executor"] if within(i, "ecsconsul")} <= {
        "ecsconsul.errors", "ecsconsul.deploy.step",
    }  # fmt: skip


def test_the_command_line_is_known_by_nobody() -> None:
    assert outside(users_of("ecsconsul.cli"), "cli", "entry") == set()


def test_only_the_command_line_knows_the_view() -> None:
    assert outside(users_of("ecsconsul.cli.output"), "cli") == set()


@pytest.mark.parametrize("name", ["ecsconsul.errors", "ecsconsul.config.lab", "ecsconsul.registrator.rules"])
def test_what_is_pure_imports_no_room_that_acts(name: str) -> None:
    rooms = (
        "ecsconsul.targets",
        "ecsconsul.deploy.lab_steps",
        "ecsconsul.local",
        "ecsconsul.cli",
        "ecsconsul.cli.output",
    )
    assert not {i for i in IMPORTS[name] if any(within(i, room) for room in rooms)}


def test_errors_import_nothing_of_ours() -> None:
    assert not {i for i in IMPORTS["ecsconsul.errors"] if within(i, "ecsconsul")}


@pytest.mark.parametrize("name", [name for name in MODULES if within(name, "ecsconsul.deploy.lab_steps")])
def test_no_step_asks_in_which_world_it_is(name: str) -> None:
    """A target's name may be shown; nothing may depend on it, and neither world's name may stand in the code."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Constant):
            assert node.value not in ("local", "aws"), f"line {node.lineno}"
        if isinstance(node, ast.Compare | ast.If | ast.IfExp | ast.Match):
            asked = node if isinstance(node, ast.Compare) else getattr(node, "test", getattr(node, "subject", node))
            assert "target.name" not in ast.unparse(asked), f"line {node.lineno}"


def test_the_registrator_stands_on_pythons_own_library_and_the_errors_alone() -> None:
    """Its image holds nothing else."""
    allowed = {"ecsconsul", "ecsconsul.errors"}
    for name in (name for name in IMPORTS if within(name, "ecsconsul.registrator")):
        strange = {i for i in IMPORTS[name] - allowed if not within(i, "ecsconsul.registrator")}
        assert {i.partition(".")[0] for i in strange} <= sys.stdlib_module_names, name


# --- the house


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_in_a_sentence_what_it_does(name: str) -> None:
    first = (ast.get_docstring(TREES[name]) or "").split("\n\n")[0]
    assert first.rstrip(")").endswith("."), first


@pytest.mark.parametrize("name", MODULES)
def test_every_module_can_be_read_in_one_sitting(name: str) -> None:
    assert len(MODULES[name].read_text().splitlines()) <= MOST_LINES


def public_functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node


@pytest.mark.parametrize("name", MODULES)
def test_what_is_public_at_a_modules_top_is_documented(name: str) -> None:
    classes = [n for n in TREES[name].body if isinstance(n, ast.ClassDef) and not n.name.startswith("_")]
    bare = [n.name for n in (*classes, *public_functions(TREES[name])) if not ast.get_docstring(n)]
    assert bare == []


# --- what is loaded when


def loaded(*arguments: str, folder: Path | None = None, environment: dict[str, str] | None = None) -> set[str]:
    """The libraries that `ecsconsul <arguments>` has loaded at its end, in a fresh interpreter."""
    script = (
        "import atexit, json, sys\n"
        "names = lambda: sorted({m.partition('.')[0] for m in sys.modules})\n"
        "atexit.register(lambda: print(json.dumps(names()), file=sys.stderr))\n"
        "from ecsconsul.cli.app import main\n"
        f"sys.argv = ['ecsconsul', *{arguments!r}]\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=folder,
        env=environment or {k: v for k, v in os.environ.items() if not k.startswith("COV")},
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("dig", "--help"), ("up", "--help"), ("dwon",)])
def test_help_loads_nothing_heavy(arguments: tuple[str, ...]) -> None:
    found = loaded(*arguments)
    assert "click" in found
    assert found & HEAVY == set()


def test_a_lookup_loads_dns_and_not_the_rest() -> None:
    """Port 9 (discard) of loopback has no DNS server: the lookup is tried, and refused at once."""
    found = loaded("dig", "weather", "@127.0.0.1", "-p", "9")
    assert "dns" in found
    assert found & {"boto3", "botocore", "moto", "consul", "docker", "flask"} == set()
