"""Finds what is left of a lab on this machine after `down`, and what `down` keeps."""

from __future__ import annotations

from ...config.lab import Lab
from ...region.runtimes.lab_dir import LabDir
from .snapshots import folder_of


def leftovers(lab: Lab, lab_dir: LabDir) -> list[str]:
    """What still exists of the lab, one line each."""
    from ...docker.engine import Engine, engine_url
    from ...region.runtimes.lab_processes import find_leftovers

    processes = [f"process {p.pid}" for p in find_leftovers(lab_dir.root)]
    engine = Engine(engine_url())
    left = engine.left(lab.name, lab_dir.root).lines() if engine.is_there() else []
    return [*processes, *left, *(str(path) for path in lab_dir.leftovers())]


def retained(lab: Lab, lab_dir: LabDir) -> list[str]:
    """What is kept on purpose, one line each."""
    from ...consul.install import cached

    logs = [f"logs: {lab_dir.logs}"] if lab_dir.logs.is_dir() else []
    folder = folder_of(lab, lab_dir)
    snapshots = [f"snapshots: {folder.where}"] if folder.stored() else []
    binary = cached()
    return [*logs, *snapshots, *([f"the downloaded Consul: {binary}"] if binary else [])]
