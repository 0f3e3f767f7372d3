"""Looks for a service in the other labs of this machine's user."""

from __future__ import annotations

import re

from ...errors import LabError
from ...paths import state_folder
from ...region.runtimes.lab_dir import LabDir
from .clients import consul_of

# labs that are asked; each takes some milliseconds
MOST_LABS = 20
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*", re.IGNORECASE)


def labs_with(service: str, own: str) -> list[str]:
    """The running labs whose Consul has a service of that name, as far as they answer."""
    folders = state_folder()
    names = sorted(path.name for path in folders.iterdir() if path.is_dir()) if folders.is_dir() else []
    others = [name for name in names if name != own and _NAME.fullmatch(name)]
    return [name for name in others[:MOST_LABS] if _has(name, service)]


def _has(lab: str, service: str) -> bool:
    try:
        info = LabDir(lab).info()
        return info is not None and service in consul_of(info).client().catalog()
    except LabError:
        return False
