"""Inputs in the style of well-known projects, and what an import makes of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import yaml

from ecsconsul.config.lab import Lab
from ecsconsul.config.loader import parse
from ecsconsul.importers.compose import import_compose
from ecsconsul.importers.document import from_json
from ecsconsul.importers.draft import LabDraft
from ecsconsul.importers.files import Files
from ecsconsul.importers.settle import Imported, settled
from ecsconsul.importers.task_definition import import_task_definitions

EXAMPLES = Path(__file__).parent / "examples"
COMPOSE = sorted((EXAMPLES / "compose").iterdir())
TASKS = sorted((EXAMPLES / "tasks").iterdir())
FOLDER = Path("/lab")


def files(contents: Mapping[str, str]) -> Files:
    """Files in a folder that exists only here."""
    known = {FOLDER / name: text.encode() for name, text in contents.items()}  # as if they lay there
    return Files(FOLDER, FOLDER, known.get)


def from_compose(text: str, environment: Mapping[str, str] | None = None, **others: str) -> Imported:
    """What a compose file becomes; `others` are files beside it, with _ for . and - in their names."""
    contents = {"compose.yaml": text, **{name.replace("__", "."): other for name, other in others.items()}}
    return settled(import_compose(["compose.yaml"], files(contents), environment or {}), FOLDER)


def drafted(text: str) -> LabDraft:
    """A task definition's draft."""
    return import_task_definitions([from_json(text.encode(), "task.json")])


def from_task(text: str) -> Imported:
    """What a task definition becomes."""
    return settled(drafted(text), FOLDER)


def lab_of(imported: Imported) -> Lab:
    """The lab that the config's own loader reads."""
    return parse(imported.text.encode(), "config.yaml", FOLDER, sources=False)


def services_of(imported: Imported) -> dict[str, dict[str, object]]:
    """The config's services, as they're written."""
    found: dict[str, dict[str, object]] = yaml.safe_load(imported.text)["services"]
    return found


def said(imported: Imported) -> str:
    """The config with each comment on one line."""
    return re.sub(r"\n *#   ", " ", imported.text)
