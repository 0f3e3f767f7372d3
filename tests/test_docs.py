"""The documentation is true where a machine can tell: links, commands, YAML, JSON, and the list of rooms."""

from __future__ import annotations

import itertools
import json
import re
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
    said = set(re.findall(r"`(?:\$ )?ecsconsul ([a-z]+)\b", page.read_text()))
    said |= set(re.findall(r"^\$ ecsconsul ([a-z]+)\b", page.read_text(), re.MULTILINE))
    assert said <= set(VERBS)


def test_the_readme_names_every_command() -> None:
    table = re.findall(r"^\| `ecsconsul ([a-z]+)", (ROOT / "README.md").read_text(), re.MULTILINE)
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


def test_the_rooms_are_those_that_there_are() -> None:
    """docs/architecture.md lists every module of the package, and none that is not there."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    rooms = text[text.index("## Rooms") : text.index("## Steps and walks")]
    modules = {path.name for path in (ROOT / "ecsconsul").rglob("*.py") if path.name != "__init__.py"}
    listed = {word for line in rooms.splitlines() for word in _modules_listed(line)}
    assert listed == modules


def _modules_listed(line: str) -> list[str]:
    """The file names with which a line of the listing begins."""
    return list(itertools.takewhile(re.compile(r"[a-z0-9_]+\.py").fullmatch, line.split()))
