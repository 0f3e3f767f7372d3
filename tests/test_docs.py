"""The documentation is true where a machine can tell: links, commands, YAML, JSON, and the list of rooms."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from ecsconsul.cli.app import VERBS
from ecsconsul.config.loader import load

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
LINK = re.compile(r"\]\(([^)#\s]+)")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[object]:
    """Every block of a language in every page, by page and number."""
    found = []
    for page in PAGES:
        texts = [text for kind, text in BLOCK.findall(page.read_text()) if kind == language]
        found += [pytest.param(text, id=f"{page.name}-{number}") for number, text in enumerate(texts)]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = [target for target in LINK.findall(page.read_text()) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_page_is_reached_from_the_readme() -> None:
    seen, ahead = set(), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        seen.add(page)
        linked = {(page.parent / target).resolve() for target in LINK.findall(page.read_text()) if "://" not in target}
        ahead += [one for one in linked if one.suffix == ".md" and one not in seen]
    assert set(PAGES) <= seen


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_are_named_exist(page: Path) -> None:
    said = set(re.findall(r"`(?:\$ )?ecsconsul ([a-z][a-z-]+)", page.read_text()))
    said |= set(re.findall(r"^\$ ecsconsul ([a-z][a-z-]+)", page.read_text(), re.MULTILINE))
    assert said <= set(VERBS)


def test_the_readme_names_every_command() -> None:
    table = re.findall(r"^\| `ecsconsul ([a-z][a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert table == list(VERBS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_that_are_named_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    said = set(re.findall(r"(?:`|^\$ )make ([a-z]+)", page.read_text(), re.MULTILINE))
    assert said <= targets


@pytest.mark.parametrize("text", blocks("json"))
def test_json_blocks_parse(text: str) -> None:
    assert json.loads(text)


@pytest.mark.parametrize("text", blocks("yaml"))
def test_yaml_blocks_are_configs(text: str, tmp_path: Path) -> None:
    """Folders that a config names relative to itself are made up for it."""
    config = yaml.safe_load(text)
    if config is None:
        # nothing but a comment
        assert text.startswith("#")
        return
    for service in config["services"].values():
        folder = tmp_path / service["path"]
        if not service["path"].startswith("lab:"):
            folder.mkdir(parents=True)
            (folder / "Dockerfile").write_text('FROM scratch\nCMD ["true"]\n')
    (tmp_path / "config.yaml").write_text(text)
    assert {service.name for service in load(tmp_path / "config.yaml").services} == set(config["services"])


def test_architecture_opens_with_the_tree_that_exists() -> None:
    """One line per room, drawn from the folders."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    tree = text[text.index("```") : text.index("```", text.index("```") + 3)]
    package = tree[: tree.index("\ntemplates/")]
    listed = re.findall(r"^ +([a-z]+)/ ", package, re.MULTILINE)
    folders = {path.parent for path in (ROOT / "ecsconsul").rglob("*.py")} - {ROOT / "ecsconsul"}
    assert sorted(listed) == sorted(folder.name for folder in folders)
    loose = {path.name for path in (ROOT / "ecsconsul").glob("*.py")} - {"__init__.py", "__main__.py"}
    assert set(re.findall(r"\b[a-z_]+\.py\b", package)) == loose


def test_files_that_architecture_names_exist_and_its_stories_name_each_once() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    named = re.findall(r"`([a-z0-9_]+/[a-z0-9_/]+\.py)`", text)
    paths = {path.relative_to(ROOT / "ecsconsul").as_posix() for path in (ROOT / "ecsconsul").rglob("*.py")}
    assert {name for name in named if not name.startswith("tests/")} <= paths
    stories = text[text.index("## Three things") : text.index("## Steps and")]
    twice = [name for name, number in Counter(re.findall(r"`([a-z0-9_/]+\.py)`", stories)).items() if number > 1]
    assert twice == []


def test_the_site_has_every_page_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    made = {path.parent.name for path in (tmp_path / "site").glob("*/index.html")}
    assert {page.stem for page in PAGES if page.stem != "README"} <= made
    start = (tmp_path / "site" / "index.html").read_text()
    assert re.findall(r"""<(?:script|img|link|iframe)[^>]*(?:src|href)=["'](?:https?:)?//[^"']*""", start) == []
