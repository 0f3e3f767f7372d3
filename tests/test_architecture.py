"""The arrows between the package's rooms, read from its imports: who may import whom, and what is loaded when.

A room is a package, or a module of its own at the top of `ecsconsul/`. Every import counts, also one inside a function
or for type checking alone.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
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
MOST_LINES, MOST_ROOMS, MOST_FLOORS = 400, 22, 8
LOOSE = {"ecsconsul", "ecsconsul.__main__", "ecsconsul.errors", "ecsconsul.paths", "ecsconsul.polling"} | {
    "ecsconsul.aws_tags"
}
# rooms that do the same for different backends, and so may have modules of the same name
BACKENDS = [{"region.runtimes.processes", "region.runtimes.docker"}, {"targets.local", "targets.aws"}]
HEAVY = {"boto3", "botocore", "moto", "docker", "consul", "dns", "flask", "rich", "msgspec", "yaml", "requests"} | {
    "pysequoia"
}


def imports_of(name: str, tree: ast.AST) -> set[str]:
    """The modules that a module imports, anywhere in it, each by its full name."""
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


def room_of(name: str) -> str:
    if MODULES[name].name == "__init__.py" or name.count(".") == 1:
        return name
    return name.rpartition(".")[0]


IMPORTS = {name: imports_of(name, tree) for name, tree in TREES.items()}
OWN_IMPORTS = {name: {one for one in found if one in MODULES and one != name} for name, found in IMPORTS.items()}
ROOMS: dict[str, set[str]] = {room_of(name): set() for name in MODULES}
for _name, _found in OWN_IMPORTS.items():
    ROOMS[room_of(_name)] |= {room_of(one) for one in _found} - {room_of(_name)}


def within(name: str, room: str) -> bool:
    return name == room or name.startswith(f"{room}.")


def users_of(*rooms: str) -> set[str]:
    """The modules that import one of the rooms (a package of ours or a library)."""
    return {name for name, imports in IMPORTS.items() if any(within(i, room) for i in imports for room in rooms)}


def outside(names: set[str], *rooms: str) -> set[str]:
    return {name for name in names if not any(within(name, f"ecsconsul.{room}") for room in rooms)}


def test_imports_are_read_wherever_and_however_they_are_written() -> None:
    code = "import a.b\nfrom c import d\ndef f():\n    from ..config.lab import Lab\n    from . import step\n"
    assert imports_of("ecsconsul.deploy.step1_cluster", ast.parse(code)) == {
        "a.b", "c", "ecsconsul.config.lab", "ecsconsul.deploy.step",
    }  # fmt: skip


# --- the house


def test_no_circle_between_modules() -> None:
    TopologicalSorter(OWN_IMPORTS).prepare()


def test_no_circle_between_rooms() -> None:
    TopologicalSorter(ROOMS).prepare()


def test_rooms_are_few() -> None:
    # the package's version and `python -m ecsconsul` are no rooms
    assert len(set(ROOMS) - {"ecsconsul", "ecsconsul.__main__"}) <= MOST_ROOMS


def test_floors_are_few() -> None:
    """A room stands one floor above the highest room that it imports."""

    @cache
    def floor(room: str) -> int:
        return 1 + max(map(floor, ROOMS[room]), default=0)

    assert max(map(floor, ROOMS)) <= MOST_FLOORS


def test_no_module_is_loose_but_those_that_all_rooms_share() -> None:
    assert {name for name in MODULES if name.count(".") <= 1 and MODULES[name].name != "__init__.py"} <= LOOSE


def test_no_two_modules_have_one_name_unless_they_do_the_same_for_two_backends() -> None:
    names = Counter(path.stem for path in MODULES.values() if not path.stem.startswith("__"))
    for twice in (name for name, number in names.items() if number > 1):
        rooms = {room_of(name).removeprefix("ecsconsul.") for name in MODULES if MODULES[name].stem == twice}
        assert rooms in BACKENDS, twice


def test_every_package_is_installed() -> None:
    from configparser import ConfigParser

    setup = ConfigParser()
    setup.read(PACKAGE.parent / "setup.cfg")
    installed = set(setup["options"]["packages"].split()) - {"ecsconsul.templates", "ecsconsul.services"}
    assert installed == {name for name, path in MODULES.items() if path.name == "__init__.py"}


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_in_a_sentence_what_it_does(name: str) -> None:
    first = (ast.get_docstring(TREES[name]) or "").split("\n\n")[0]
    assert first.rstrip(")").endswith((".", ":")), first


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


# --- the arrows


def test_only_the_command_line_imports_click_and_rich() -> None:
    assert outside(users_of("click", "rich"), "cli") == set()


def test_only_output_and_the_error_block_import_rich() -> None:
    views = ("cli.output", "cli.progress", "cli.estimate", "cli.difference_view", "cli.failure")
    views = (*views, "cli.shipped", "cli.status_tables", "cli.gameday_view", "cli.watch_screen")
    assert outside(users_of("rich"), *views) == set()


def test_only_targets_create_aws_clients() -> None:
    assert outside(users_of("boto3"), "targets") == set()


def test_only_steps_and_targets_name_botocore() -> None:
    """Steps read its exceptions, inside a function; clients are handed to them."""
    region = ("region.moto", "region.botocore_models", "region.request_auth")
    assert outside(users_of("botocore"), "targets", "deploy", *region) == set()
    named = {i for name in IMPORTS if within(name, "ecsconsul.deploy") for i in IMPORTS[name] if within(i, "botocore")}
    assert named <= {"botocore.exceptions"}


def test_steps_and_the_local_region_do_not_know_each_other() -> None:
    assert [name for name in users_of("ecsconsul.region") if within(name, "ecsconsul.deploy")] == []
    assert [name for name in users_of("ecsconsul.deploy") if within(name, "ecsconsul.region")] == []


def test_only_the_local_target_knows_the_local_region() -> None:
    assert outside(users_of("ecsconsul.region"), "region", "targets.local") == set()


def test_only_the_factory_chooses_a_target() -> None:
    users = outside(users_of("ecsconsul.targets.local", "ecsconsul.targets.aws"), "targets.aws", "targets.local")
    assert users == {"ecsconsul.cli.factory"}


def test_the_executor_knows_the_step_protocol_and_no_step() -> None:
    own = {one for one in IMPORTS["ecsconsul.deploy.executor"] if within(one, "ecsconsul")}
    assert own <= {"ecsconsul.errors", "ecsconsul.deploy.step"}


def test_nobody_imports_the_command_line() -> None:
    assert outside(users_of("ecsconsul.cli"), "cli", "__main__") == set()


@pytest.mark.parametrize("name", ["ecsconsul.errors", "ecsconsul.polling"])
def test_what_all_rooms_share_imports_nothing_of_ours(name: str) -> None:
    assert OWN_IMPORTS[name] == set()


@pytest.mark.parametrize("name", ["ecsconsul.config.lab", "ecsconsul.registrator.rules"])
def test_what_is_pure_imports_no_room_that_acts(name: str) -> None:
    rooms = ("targets", "deploy", "region", "cli", "consul", "docker")
    assert not {one for one in OWN_IMPORTS[name] if any(within(one, f"ecsconsul.{room}") for room in rooms)}


def test_the_registrator_needs_nothing_but_pythons_own_library() -> None:
    """Its image holds nothing else."""
    allowed = {"ecsconsul", "ecsconsul.errors"}
    for name in (name for name in IMPORTS if within(name, "ecsconsul.registrator")):
        strange = {i for i in IMPORTS[name] - allowed if not within(i, "ecsconsul.registrator")}
        assert {i.partition(".")[0] for i in strange} <= sys.stdlib_module_names, name


# --- no step asks where it runs


def conditions(tree: ast.AST) -> Iterator[ast.expr]:
    """What the code decides by: the tests of its branches, loops, comprehensions and comparisons."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If | ast.IfExp | ast.While | ast.Assert):
            yield node.test
        elif isinstance(node, ast.comprehension):
            yield from node.ifs
        elif isinstance(node, ast.Match):
            yield node.subject
        elif isinstance(node, ast.BoolOp):
            yield from node.values
        elif isinstance(node, ast.Compare):
            yield from (node.left, *node.comparators)


def asks_the_target(condition: ast.expr) -> bool:
    """Whether an attribute of a target is read in it; calling a method that does its work in both worlds is fine."""
    called = {id(node.func) for node in ast.walk(condition) if isinstance(node, ast.Call)}
    return any(
        isinstance(node, ast.Attribute) and id(node) not in called and _is_target(node.value)
        for node in ast.walk(condition)
    )


def _is_target(node: ast.expr) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return name.lstrip("_") == "target"


@pytest.mark.parametrize(
    "code",
    [
        "x = 1 if target.registers_itself else 2",
        "if self._target.name == 'x': pass",
        "y = [s for s in all if not target.is_remote]",
        "z = self._target.flag or other",
    ],
)
def test_a_question_to_the_target_is_found(code: str) -> None:
    assert any(asks_the_target(one) for one in conditions(ast.parse(code)))


def test_a_call_of_the_target_is_no_question() -> None:
    assert not any(asks_the_target(one) for one in conditions(ast.parse("if self._target.client('ecs').x(): pass")))


@pytest.mark.parametrize("name", [name for name in MODULES if within(name, "ecsconsul.deploy")])
def test_no_step_asks_in_which_world_it_is(name: str) -> None:
    """A target's name may be shown; nothing may depend on it, and neither world's name may stand in the code."""
    keys = {id(key) for node in ast.walk(TREES[name]) if isinstance(node, ast.Dict) for key in node.keys}
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Constant) and id(node) not in keys:
            assert node.value not in ("local", "aws"), f"line {node.lineno}"
    asked = [one.lineno for one in conditions(TREES[name]) if asks_the_target(one)]
    assert asked == []


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
