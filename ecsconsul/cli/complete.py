"""What the shell may complete: the lab's services and tasks, as far as they are found without any trouble.

Completion is silent: with a mistake in the config, or a lab that isn't running, there is nothing to offer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from ..errors import LabError
from ..targets.client_errors import any_client_error
from .common import Settings

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def services(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The names of the lab's services."""
    return _offer(_service_names(ctx), incomplete)


def counts(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """SERVICE= for each service whose count isn't given yet."""
    given = {str(word).partition("=")[0] for word in ctx.params.get(parameter.name or "") or ()}
    return _offer((f"{name}=" for name in _service_names(ctx) if name not in given), incomplete)


def tasks(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The IDs of the running tasks of the service; of all services while it isn't given yet."""
    service = ctx.params.get("service")
    chosen = {"serviceName": service} if service else {}
    try:
        lab = ctx.ensure_object(Settings).lab(sources=False)
        target = ctx.ensure_object(Settings).open_target(lab)
        arns = target.client("ecs").list_tasks(cluster=lab.name, **chosen)["taskArns"]
    except LabError:
        return []
    except any_client_error():
        return []
    return _offer((arn.rpartition("/")[2] for arn in arns), incomplete)


def _service_names(ctx: click.Context) -> list[str]:
    try:
        return [service.name for service in ctx.ensure_object(Settings).lab(sources=False).services]
    except LabError:
        return []


def _offer(words: Iterable[str], incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(word) for word in words if word.startswith(incomplete)]
