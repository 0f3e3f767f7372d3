"""`ecsconsul snapshot`: saves Consul's data, lists what was saved, and restores it."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from ..errors import ExitCode, LabError, WrongUsage
from .changes import confirm, document
from .common import common_options, settings

if TYPE_CHECKING:
    from ..config.lab import Lab
    from ..consul.lab_secrets import LabSecrets
    from ..consul.snapshot_file import SnapshotContents, SnapshotName
    from ..targets.commands import CommandTarget

Json = dict[str, Any]
# names in a hint
SHOWN = 5
TIME = "%Y-%m-%dT%H:%M:%SZ"


class Chosen(NamedTuple):
    """A snapshot to restore: its file on this machine, what it's called, and its name if ecsconsul has named it."""

    path: Path
    title: str
    name: SnapshotName | None


@click.group("snapshot")
@common_options
def command() -> None:
    """Save, list and restore Consul's data: key-value store, prepared queries, intentions, tokens, catalog."""


@command.command("save")
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@common_options
def save(file: Path | None) -> None:
    """Save Consul's data to FILE, by default to where the lab keeps its snapshots.

    A snapshot holds all of Consul's tokens: whoever can read it can do everything in Consul.
    """
    from ..consul import snapshot_transfer
    from ..consul.lab_secrets import MANAGEMENT

    lab = settings().lab(sources=False)
    target = settings().open_target(lab)
    # fails before anything is fetched if there is no place for it
    store = None if file else target.snapshots()
    lab_secrets = target.consul_secrets()
    with snapshot_transfer.scratch() as scratch, target.consul() as address:
        path = file.absolute() if file else scratch
        consul = address.client(lab_secrets.token(MANAGEMENT))
        name = snapshot_transfer.name_for(consul, snapshot_transfer.save(consul, path), lab_secrets)
        found = _described(name, path.stat().st_size, lab_secrets)
        if store:
            store.put(path, name)
    where = f"{store.where.rstrip('/')}/{name}" if store else str(path)
    settings().view().snapshot_save({"lab": lab.name, "target": target.name, "file": where, "snapshot": found})


@command.command("list")
@common_options
def list_() -> None:
    """List the lab's snapshots, the newest first."""
    lab = settings().lab(sources=False)
    target = settings().open_target(lab)
    store = target.snapshots()
    stored, lab_secrets = store.stored(), _secrets_or_none(target)
    found = [_described(one.name, one.size, lab_secrets) for one in stored]
    document = {"lab": lab.name, "target": target.name, "where": store.where, "snapshots": found}
    settings().view().snapshot_list(document)


@command.command("restore")
@click.argument("snapshot", required=False)
@click.option("-y", "--yes", is_flag=True, help="Don't ask for confirmation.")
@common_options
def restore(snapshot: str | None, yes: bool) -> int:
    """Replace Consul's data by those of SNAPSHOT, a file or a name from `list`; by default the lab's newest."""
    from ..consul.snapshot_file import verified
    from ..consul.snapshot_transfer import scratch

    begun = time.monotonic()
    lab = settings().lab(sources=False)
    target = settings().open_target(lab)
    with target.lock(), scratch() as fetched:
        lab_secrets = target.consul_secrets()
        _refuse_during_rotation(target)
        chosen = _choose(target, snapshot, lab_secrets, fetched)
        contents = verified(chosen.path)
        if not yes:
            if not confirm(_question(lab, target, chosen, contents, lab_secrets), "snapshot restore"):
                click.echo("Nothing was restored.", err=True)
                return ExitCode.FAILED
            begun = time.monotonic()  # excludes the time spent at the prompt
        found = _restore(lab, target, chosen, lab_secrets, begun)
    settings().view().snapshot_restore({**found, "file": chosen.title, "index": contents.raft_index})
    return ExitCode.DONE


def _restore(lab: Lab, target: CommandTarget, chosen: Chosen, lab_secrets: LabSecrets, begun: float) -> Json:
    from ..deploy import executor
    from ..deploy.restore_steps import restore_steps

    settings().changing = True
    with settings().view().progress() as observer:
        changes = executor.up(restore_steps(lab, target, chosen.path, lab_secrets), observer)
    return document(lab, target, changes, time.monotonic() - begun)


def _refuse_during_rotation(target: CommandTarget) -> None:
    if target.rotation():
        raise LabError(
            "The lab's tokens are being replaced",
            why="`ecsconsul rotate` has begun and not ended, and the data would bring older tokens back",
            hint="run `ecsconsul rotate` again, which finishes it; then restore",
        )


def _secrets_or_none(target: CommandTarget) -> LabSecrets | None:
    """The lab's secrets; None if no lab runs, or if the caller may not read them, which a list doesn't need."""
    try:
        return target.consul_secrets()
    except LabError:
        return None


def _choose(target: CommandTarget, given: str | None, lab_secrets: LabSecrets, fetched: Path) -> Chosen:
    """The file that was named, or a snapshot of the lab, which is copied to `fetched`. Raises WrongUsage."""
    from ..consul.snapshot_file import life_of, parsed

    if given and Path(given).is_file():
        return Chosen(Path(given), given, parsed(Path(given).name))
    store = target.snapshots()
    names = [one.name for one in store.stored()]
    life = life_of(lab_secrets)
    fitting = [name for name in names if (str(name) == given if given else name.life == life)]
    if not fitting:
        what = f"There is no snapshot {given}" if given else "There is no snapshot of this lab yet"
        known = "it has: " + ", ".join(map(str, names[:SHOWN])) if names else "`ecsconsul snapshot save` makes one"
        raise WrongUsage(what, where=store.where, hint=known)
    store.fetch(fitting[0], fetched)
    return Chosen(fetched, str(fitting[0]), fitting[0])


def _question(
    lab: Lab, target: CommandTarget, chosen: Chosen, contents: SnapshotContents, lab_secrets: LabSecrets
) -> str:
    """What is lost, and what is unusual about the snapshot."""
    from ..consul.snapshot_file import life_of

    running = _running_version(target, lab_secrets)
    lines = [
        f"{chosen.title} was taken at {contents.taken.strftime(TIME)}, {_ago(contents.taken)}.",
        f"What was written since then to the Consul of the lab {lab.name} ({target.name}) is lost: key-value pairs,",
        "prepared queries, intentions, sessions and your own tokens. Running services are registered again.",
    ]
    if chosen.name and chosen.name.life != life_of(lab_secrets):
        lines.append("It's of an earlier life of the lab, before a `down`.")
    if chosen.name and running and chosen.name.consul != running:
        lines.append(f"It was written by Consul {chosen.name.consul}; the lab runs {running}.")
    return "\n".join([*lines, "Restore it?"])


def _running_version(target: CommandTarget, lab_secrets: LabSecrets) -> str:
    """The version of the lab's Consul; empty if it doesn't say, as after a restore that was interrupted."""
    from ..consul.catalog import version_of_agent
    from ..consul.lab_secrets import MANAGEMENT

    try:
        with target.consul() as address:
            return version_of_agent(address.client(lab_secrets.token(MANAGEMENT)))
    except LabError:
        return ""


def _ago(then: datetime) -> str:
    seconds = max(0, round((datetime.now(timezone.utc) - then).total_seconds()))
    units = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))
    unit, length = next((unit for unit in units if seconds >= unit[1]), units[-1])
    count = seconds // length
    return f"{count} {unit}{'' if count == 1 else 's'} ago"


def _described(name: SnapshotName, size: int, lab_secrets: LabSecrets | None) -> Json:
    """A snapshot for JSON; `current` is null where the secrets of the lab's life aren't known."""
    from ..consul.snapshot_file import life_of

    return {
        "name": str(name),
        "time": name.taken.strftime(TIME),
        "bytes": size,
        "index": name.raft_index,
        "consul": name.consul,
        "current": name.life == life_of(lab_secrets) if lab_secrets else None,
    }
