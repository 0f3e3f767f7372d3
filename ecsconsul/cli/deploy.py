"""`ecsconsul deploy`: builds and ships one service alone."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from ..errors import WrongUsage
from .changes import document
from .common import common_options, find_service, settings
from .complete import services
from .durations import in_seconds, timeout_option
from .variables import variables_of

if TYPE_CHECKING:
    from ..config.lab import Lab, ServiceSpec
    from ..deploy.canary import CanarySettings

CANARY_TIME = "30s"


@click.command("deploy")
@click.argument("service", shell_complete=services)
@click.option("--image", default="", metavar="REF", help="Deploy an image that exists instead of building one.")
@click.option("--env", "variables", multiple=True, metavar="NAME=VALUE", help="Set a variable; the config stays.")
@click.option("--canary", type=click.IntRange(1, 10), metavar="N", help="First start N new tasks beside the old ones.")
@click.option(
    "--canary-time",
    callback=in_seconds,
    default=CANARY_TIME,
    show_default=True,
    metavar="TIME",
    help="How long Consul must see the canary passing.",
)
@click.option("--wait/--no-wait", default=True, help="Wait until Consul sees the new tasks.  [default: wait]")
@timeout_option
@common_options
def command(
    service: str,
    image: str,
    variables: tuple[str, ...],
    canary: int | None,
    canary_time: float,
    wait: bool,
    timeout: float | None,
) -> None:
    """Build and ship one service alone. What fails is taken back."""
    from ..deploy import executor
    from ..deploy.shipping import Shipping, deploy_steps, summary

    begun = time.monotonic()
    lab = settings().lab(sources=not image)
    spec = find_service(lab, service)
    environment = tuple(variables_of(variables).items())
    shipping = Shipping(image, environment, _canary(lab, spec, canary, canary_time, wait), wait, timeout)
    target = settings().open_target(lab)
    # raises TargetAbsent if the lab isn't running: `deploy` doesn't create it
    target.client("ecs")
    if image and not target.images.exists(service, image):
        why = "tasks couldn't start from it"
        raise WrongUsage(f"There is no image {image}", where="--image", why=why, hint=f"ecsconsul history {service}")
    view = settings().view()
    with target.lock("deploy"):
        steps = deploy_steps(lab, spec, shipping, target)
        settings().changing = True
        with view.progress() as observer:
            changes = executor.up(steps, observer)
        found: dict[str, Any] = document(lab, target, changes, time.monotonic() - begun)
        differs = [*(["image"] if image else []), *(name for name, _ in environment)]
        view.deploy({**found, **summary(lab, service, target), "waited": wait, "differs": differs})


def _canary(lab: Lab, service: ServiceSpec, tasks: int | None, seconds: float, wait: bool) -> CanarySettings | None:
    """Raises WrongUsage where a canary makes no sense."""
    from ..deploy.canary import CanarySettings, canary_name

    if tasks is None:
        return None
    if not wait:
        raise WrongUsage("--canary needs to wait", where="--no-wait", hint="leave out one of them")
    if why := _no_canary(service):
        raise WrongUsage(f"{service.name} can't have a canary", where="--canary", why=why, hint="leave out --canary")
    if lab.service(canary_name(service.name)):
        why = f"the canary's name in ECS would be {canary_name(service.name)}, which is another service of the config"
        raise WrongUsage(f"{service.name} can't have a canary", where="--canary", why=why, hint="rename that service")
    return CanarySettings(tasks, seconds)


def _no_canary(service: ServiceSpec) -> str:
    """Why a service can have no tasks of a canary beside its own; empty if it can."""
    if service.is_daemon:
        return "it is a daemon, and each instance has its task already"
    if service.host_ports:
        fixed = service.host_ports[0].host_port
        return f"its tasks have the fixed port {fixed}, and a canary would take a place that they need"
    return "" if service.registered else "none of its ports is registered in Consul, which a canary is watched in"
