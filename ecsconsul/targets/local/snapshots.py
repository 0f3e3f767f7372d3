"""Where a lab on this machine keeps its snapshots, and when its region makes them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...config.lab import Lab
from ...config.scalars import seconds_of
from ...region.runtimes.lab_dir import LabDir, SnapshotSchedule

if TYPE_CHECKING:
    from ...consul.snapshot_folder import SnapshotFolder


def folder_of(lab: Lab, lab_dir: LabDir) -> SnapshotFolder:
    """The folder of the config, with one for each lab in it, or the lab's own, which `down` keeps."""
    from ...consul.snapshot_folder import SnapshotFolder

    return SnapshotFolder(_path(lab, lab_dir))


def are_scheduled(lab: Lab, lab_dir: LabDir) -> bool:
    """Whether the region follows the config's schedule."""
    return lab_dir.snapshot_schedule() == _schedule(lab, lab_dir)


def schedule(lab: Lab, lab_dir: LabDir) -> bool:
    """Write the config's schedule, and wake the region, if there is one, to read it; returns whether it is another."""
    if are_scheduled(lab, lab_dir):
        return False
    from .region_process import reread_schedule

    lab_dir.write_snapshot_schedule(_schedule(lab, lab_dir))
    reread_schedule(lab_dir)
    return True


def _path(lab: Lab, lab_dir: LabDir) -> Path:
    spec = lab.consul.snapshots
    return Path(spec.folder) / lab.name if spec and spec.folder else lab_dir.snapshots


def _schedule(lab: Lab, lab_dir: LabDir) -> SnapshotSchedule | None:
    spec = lab.consul.snapshots
    if spec is None:
        return None
    return SnapshotSchedule(seconds_of(spec.every), seconds_of(spec.keep), str(_path(lab, lab_dir)))
