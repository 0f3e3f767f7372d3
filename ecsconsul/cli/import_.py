"""`ecsconsul import`: writes a config.yaml from a compose file, task definitions, or a cluster that exists in AWS."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import LabError, WrongUsage
from .common import CONFIG, check_folder, common_options, settings

if TYPE_CHECKING:
    from ..importers.document import Node
    from ..importers.draft import LabDraft
    from ..importers.settle import Imported

STDOUT = Path("-")
# of the losses that the summary lists; the config has them all
MOST_LISTED = 40


@click.command("import")
@click.argument("files", nargs=-1, metavar="[FILE]...", type=click.Path(path_type=Path))
@click.option("--cluster", metavar="NAME", help="Read an ECS cluster in AWS, without changing it.")
@click.option(
    "-o", "--output-file", type=click.Path(path_type=Path), metavar="FILE",
    help="Config to write; - for stdout.  [default: config.yaml in this folder]",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Overwrite the config.")
@common_options
def command(files: tuple[Path, ...], cluster: str | None, output_file: Path | None, force: bool) -> None:
    """Write a config.yaml from a compose file, ECS task definitions, or a cluster.

    Without FILE, it's the compose file in this folder. Of several compose files, a later one overrides. Comments in the
    config say what can't be taken, and what changes for services that find each other by name.
    """
    from ..importers.settle import settled

    if cluster and files:
        raise WrongUsage(
            "Either files or --cluster can be imported", hint="run the command twice, with -o for each config"
        )
    path = output_file or settings().config or Path(CONFIG)
    _check_writable(path, force=force)
    folder = Path() if path == STDOUT else path.parent
    lab = _cluster(cluster) if cluster else _files(files, folder)
    imported = settled(lab, folder.absolute())
    if path == STDOUT:
        sys.stdout.write(imported.text)
    else:
        _write(path, imported.text, force=force)
    _summarize(imported, path)


def _check_writable(path: Path, *, force: bool) -> None:
    """Raises LabError before anything is read if the config can't be written."""
    if path == STDOUT:
        return
    if path.is_dir():
        raise LabError("Can't write the config to a folder", where=str(path), hint=f"-o {path / CONFIG}")
    check_folder(path)
    if path.exists() and not force:
        raise _exists(path)


def _exists(path: Path) -> LabError:
    hint = "overwrite it with --force, or write another one with -o other.yaml"
    return LabError("The config already exists and isn't overwritten", where=str(path), hint=hint)


def _write(path: Path, text: str, *, force: bool) -> None:
    """Writes the whole file or nothing: beside it, then in its place."""
    import tempfile

    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=".ecsconsul-", delete=False
        ) as file:
            beside = Path(file.name)
            file.write(text)
        try:
            # values that look like secrets may stand in it, so nobody else may read it
            if force:
                beside.replace(path)
            else:
                os.link(beside, path)
        finally:
            beside.unlink(missing_ok=True)
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError as error:
        raise LabError("The config can't be written", where=str(path), why=error.strerror or str(error)) from error


def _cluster(name: str) -> LabDraft:
    from ..importers.cluster import ClusterAnswers, import_cluster
    from .factory import open_cluster

    answers = open_cluster(name, region=settings().region, profile=settings().profile).read()
    return import_cluster(ClusterAnswers(name.rpartition("/")[2], *answers))


def _files(given: tuple[Path, ...], config_folder: Path) -> LabDraft:
    from ..importers.compose import NAMES, import_compose
    from ..importers.files import Files
    from ..importers.task_definition import import_task_definitions, is_task_definition

    files = given or tuple(Path(name) for name in NAMES if Path(name).is_file())[:1]
    if not files:
        raise WrongUsage(
            "There is no compose file in this folder",
            where=str(Path.cwd()),
            why=f"looked for {', '.join(NAMES)}",
            hint="name a compose file or task definitions, or a cluster with --cluster",
        )
    documents = [_document(path) for path in files]
    definitions = [is_task_definition(one) for one in documents]
    if all(definitions):
        return import_task_definitions(documents)
    for path, document, is_definition in zip(files, documents, definitions, strict=True):
        if not is_definition and (document.kind != "map" or not document.fields().keys() & {"services", "include"}):
            raise _unknown(path, document)
    if any(definitions):
        raise WrongUsage(
            "Compose files and task definitions can't be imported into one config",
            hint="import each kind by itself, with -o",
        )
    folder = files[0].parent
    # a file's paths are relative to the first one's folder
    names = [os.path.relpath(path.absolute(), folder.absolute()) for path in files]
    return import_compose(names, Files(folder, config_folder, _read_named), dict(os.environ))


def _document(path: Path) -> Node:
    from ..importers.document import from_json, from_yaml

    data = _read_if_there(path)
    if data is None:
        raise LabError(f"{path} can't be read", where=str(path), why="there is no such file")
    # JSON may have tabs and escapes that YAML doesn't know
    is_json = path.suffix == ".json" or data.lstrip()[:1] in (b"{", b"[")
    return from_json(data, str(path)) if is_json else from_yaml(data, str(path))


def _read_if_there(path: Path) -> bytes | None:
    """A file's content, or None. Raises LabError."""
    from ..config.yaml_reader import MAX_BYTES

    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        # ValueError: a name with a null byte
        raise LabError(f"{path} can't be read", where=str(path), why=getattr(error, "strerror", str(error))) from error


def _read_named(path: Path) -> bytes | None:
    """A file that a document names, which mustn't be one that never ends or makes its reader wait. Raises LabError."""
    from ..config.yaml_reader import MAX_BYTES

    if "\0" not in str(path) and path.exists() and not path.is_file():
        raise LabError(f"{path} can't be read", where=str(path), why="it isn't a regular file")
    data = _read_if_there(path)
    if data is not None and len(data) > MAX_BYTES:
        raise LabError(f"{path} can't be read", where=str(path), why=f"the file is larger than {MAX_BYTES >> 20} MiB")
    return data


def _unknown(path: Path, document: Node) -> LabError:
    keys = ", ".join(list(document.fields())[:8]) if document.kind == "map" else f"a {document.kind}"
    return LabError(
        f"{path} is neither a compose file nor a task definition",
        where=str(path),
        why=f"it has {keys or 'nothing'}, but no `services` and no `containerDefinitions`",
        hint="for ECS: `aws ecs describe-task-definition --task-definition NAME > task.json`",
    )


def _summarize(imported: Imported, path: Path) -> None:
    """Says what was taken and what was lost; on stderr if the config is on stdout."""
    lost = [
        {
            "service": service,
            "field": one.path,
            "value": one.value,
            "file": one.file,
            "line": one.line or None,
            "why": one.why,
        }
        for service, one in imported.losses
    ]
    document: dict[str, Any] = {"config": str(path), "services": list(imported.services), "lost": lost}
    if settings().output == "json" and path != STDOUT:
        settings().view().result(document)
        return
    _say(imported, path)


def _say(imported: Imported, path: Path) -> None:
    from .printable import printable

    to_stderr = path == STDOUT
    number = len(imported.services)
    target = "" if to_stderr else f", into {path}"
    click.echo(
        f"{number} service{'' if number == 1 else 's'} taken{target}: {', '.join(imported.services)}", err=to_stderr
    )
    losses = imported.losses
    if losses:
        click.echo(
            f"{len(losses)} field{' lost,' if len(losses) == 1 else 's lost, each'} with the reason in the config:",
            err=to_stderr,
        )
    for _, one in losses[:MOST_LISTED]:
        at = f"line {one.line}: " if one.line else ""
        click.echo(printable(f"  {at}{one.path}"), err=to_stderr)
    if len(losses) > MOST_LISTED:
        click.echo(f"  and {len(losses) - MOST_LISTED} more", err=to_stderr)
    if not to_stderr:
        config = "" if path == Path(CONFIG) else f" -c {path}"
        click.echo(f"Read its comments, then run: ecsconsul up{config}")
