"""`ecsconsul gameday`: injects faults under a load, and reports what callers noticed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ExitCode, WrongUsage
from .changes import confirm
from .common import check_folder, common_options, find_service, settings
from .complete import services as complete_services
from .interrupts import ended_like_ctrl_c

if TYPE_CHECKING:
    from ..config.lab import Lab, ServiceSpec
    from ..gameday.faults import Fault
    from ..gameday.figures import Game
    from ..targets.commands import CommandTarget
    from .output import View

# the least and the most that a client may do
FEWEST_REQUESTS, MOST_REQUESTS = 1, 500


@click.command("gameday")
@click.argument("services", nargs=-1, metavar="[SERVICE]...", shell_complete=complete_services)
@click.option("--fault", "names", multiple=True, metavar="NAME", help="A fault to inject; repeatable.  [default: all]")
@click.option("--list", "only_list", is_flag=True, help="List the faults, and say which can't be injected here.")
@click.option("--tasks", type=click.IntRange(2, 20), default=2, show_default=True, help="Least tasks per service.")
@click.option(
    "--rate", type=click.IntRange(FEWEST_REQUESTS, MOST_REQUESTS), default=50, show_default=True,
    help="Requests a second and service.",
)  # fmt: skip
@click.option("--assert", "assertion", metavar="EXPR", help="Fail unless this holds, such as 'failed == 0'.")
@click.option("--page", type=click.Path(path_type=Path), metavar="FILE", help="Also write the report as a page.")
@click.option("-y", "--yes", is_flag=True, help="Don't ask before faults in AWS.")
@common_options
def command(
    services: tuple[str, ...], names: tuple[str, ...], only_list: bool, tasks: int, rate: int,
    assertion: str | None, page: Path | None, yes: bool,
) -> int:  # fmt: skip
    """Inject faults while services are in use, and report what their callers noticed.

    Each request looks its service up in Consul's DNS, and tries the next SRV record when an instance doesn't answer.
    Services with fewer tasks than --tasks are scaled up for the game, and back at its end.
    """
    from ..gameday.figures import document

    lab = settings().lab(sources=False)
    target = settings().open_target(lab)
    faults, skipped = _faults(target, names)
    if only_list:
        _list(settings().view(), faults, skipped)
        return ExitCode.DONE
    _check(assertion)
    if page:
        check_folder(page)
    chosen = _chosen(lab, services)
    if not yes and not _agreed(target, faults):
        click.echo("Nothing was changed.", err=True)
        return ExitCode.FAILED
    settings().changing = True
    with ended_like_ctrl_c(), target.lock("gameday"), _scaled(lab, target, chosen, tasks) as counts:
        game = _play(lab, target, counts, (faults, skipped), rate)
    found = document(game)
    if page:
        _write(page, game)
    settings().view().gameday(found)
    return _verdict(found, assertion)


def _faults(target: CommandTarget, names: Sequence[str]) -> tuple[list[Fault], list[tuple[str, str]]]:
    from ..gameday.faults import FAULTS, NEVER
    from ..gameday.preparation import faults_for

    known = [*(fault.name for fault in FAULTS), *NEVER]
    for name in names:
        if name not in known:
            raise WrongUsage(f"There is no fault {name}", hint=f"the faults are {', '.join(known)}")
    # raises TargetAbsent without a lab
    target.client("ecs")
    faults, skipped = faults_for(target, names)
    if names and not faults:
        raise WrongUsage(f"{skipped[0][0]} can't be injected here", why=skipped[0][1])
    return faults, skipped


def _check(assertion: str | None) -> None:
    """Refuse an assertion that can't be read before anything is done."""
    if assertion is not None:
        from ..gameday.assertion import check
        from ..gameday.figures import Game, totals

        check(assertion, totals(Game((), (), (), (), 0.0, 0.0)))


def _chosen(lab: Lab, names: Sequence[str]) -> list[ServiceSpec]:
    from ..gameday.preparation import playable

    possible = playable(lab)
    chosen = [find_service(lab, name) for name in dict.fromkeys(names)] or possible
    refused = [one.name for one in chosen if one not in possible]
    if refused or not chosen:
        why = "a game needs services with tasks, which Consul lists, and which accept connections"
        raise WrongUsage(f"No game can be played with {', '.join(refused) or 'this lab'}", why=why)
    return chosen


def _agreed(target: CommandTarget, faults: Sequence[Fault]) -> bool:
    if target.is_here:
        return True
    costs = "\n".join(f"  {fault.name}: {fault.costs}" for fault in faults)
    return confirm(f"In AWS, this game\n{costs}\nContinue?", "gameday")


@contextmanager
def _scaled(
    lab: Lab, target: CommandTarget, chosen: Sequence[ServiceSpec], tasks: int
) -> Iterator[dict[str, ServiceSpec]]:
    """The chosen services with at least that many tasks each, during the context."""
    from msgspec import structs

    from ..deploy.service_poller import ServicePoller
    from ..deploy.shipping import running_service

    poller = ServicePoller(target, lab.name, [one.name for one in chosen])
    # not the config's: `scale` may have changed them
    now = {one.name: running_service(lab, one.name, poller)["desiredCount"] for one in chosen}
    wanted = {one.name: structs.replace(one, count=max(now[one.name], tasks)) for one in chosen}
    before = {name: count for name, count in now.items() if count < tasks}
    for one in chosen:
        if one.host_ports and wanted[one.name].count > lab.min_instances:
            port = one.host_ports[0].host_port
            raise WrongUsage(
                f"{one.name} can't have {wanted[one.name].count} tasks",
                why=f"only one task per instance can use port {port}, and there are {lab.min_instances}",
                hint="name the services to play with: ecsconsul gameday SERVICE ...",
            )
    try:
        if before:
            _say(f"scaling {', '.join(before)} to {tasks} tasks, for the time of the game")
            _scale(lab, target, dict.fromkeys(before, tasks))
        yield wanted
    finally:
        if before:
            _say(f"scaling back {', '.join(f'{name} to {count}' for name, count in before.items())}")
            try:
                _scale(lab, target, before)
            except KeyboardInterrupt:
                _say("not all are scaled back; `ecsconsul up` does it")
                raise


def _scale(lab: Lab, target: CommandTarget, counts: dict[str, int]) -> None:
    from ..deploy import executor
    from ..deploy.lab_steps import scaling_steps

    with settings().view().progress() as observer:
        executor.up(scaling_steps(lab, counts, target), observer)


def _play(
    lab: Lab, target: CommandTarget, chosen: dict[str, ServiceSpec],
    faults: tuple[Sequence[Fault], Sequence[tuple[str, str]]], rate: int,
) -> Game:  # fmt: skip
    from ..gameday.game import Players
    from ..gameday.preparation import load_of, victims_of, world_of

    with target.consul() as consul:
        load = load_of(lab, consul, list(chosen.values()), threads=2, rate=float(rate))
        wanted = {name: one.count for name, one in chosen.items()}
        players = Players(
            world_of(lab, target, consul), load.directory, load, wanted,
            lambda name: victims_of(lab, target, chosen[name]), _say,
        )  # fmt: skip
        game = players.play(*faults)
    runtime = target.runtime_info
    game.facts.update(
        lab=lab.name, target=target.name, runtime=runtime.runtime if runtime else "", services=wanted,
        time=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )  # fmt: skip
    return game


def _say(text: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')} {text}", err=True)


def _write(path: Path, game: Game) -> None:
    """Write the page. What the game found is printed even if this fails, which is said on stderr."""
    from ..gameday.page import page as page_of

    try:
        path.write_text(page_of(game), encoding="utf-8")
    except OSError as error:
        click.echo(f"The page wasn't written: {error}", err=True)


def _list(view: View, faults: Sequence[Fault], skipped: Sequence[tuple[str, str]]) -> None:
    view.faults({
        "faults": [{"fault": fault.name, "what": fault.what} for fault in faults],
        "skipped": [{"fault": name, "why": why} for name, why in skipped],
    })  # fmt: skip


def _verdict(found: dict[str, Any], assertion: str | None) -> int:
    from ..gameday.assertion import holds

    if found["unhealed"]:
        click.echo("Not everything is as it was before; `ecsconsul status` and `ecsconsul up` help.", err=True)
        return ExitCode.FAILED
    if assertion is not None and not holds(assertion, found):
        click.echo(f"The assertion doesn't hold: {assertion}", err=True)
        return ExitCode.FAILED
    return ExitCode.DONE
