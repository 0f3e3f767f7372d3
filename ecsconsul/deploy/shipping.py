"""What `deploy` and `rollback` do to one service: another revision, and the one before it again if that fails.

canary/SERVICE     removes a canary that an interrupted `deploy` left. Rule: only what has a canary's tag.
images/SERVICE     as for `up`; none for an image that exists already.
tasks/SERVICE      as for `up`.
services/SERVICE   moves the service. Rule: it ends stable on one revision, the new one or the one that ran before.
discovery          as for `up`, for this service alone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from msgspec import structs

from ..config.lab import Lab, ServiceSpec
from ..errors import LabError, StepFailed
from ..targets.base import Target
from ..targets.client_errors import client_error
from .canary import Canary, CanaryLeftover, CanarySettings, canary_name
from .lab_steps import discovery_step, steps_for
from .revisions import Revision, history, mark_rolled_back, number_of, rollback_target, settle
from .rollout import Rollout, counts, has_failed, is_stable
from .secret_access import access_steps
from .service_poller import ServicePoller
from .step import Actual, BaseStep, Report, Step, fingerprint
from .step4_task_definitions import TaskDefinitionStep
from .step5_services import ServiceStep, claim_service


@dataclass(frozen=True)
class Shipping:
    """What a deployment takes: an image that exists instead of a build, a canary, and for how long to wait (seconds).

    `environment` are variables besides those of the config. Without `wait`, ECS goes on by itself.
    """

    image: str = ""
    environment: tuple[tuple[str, str], ...] = ()
    canary: CanarySettings | None = None
    wait: bool = True
    timeout: float | None = None


class ShipStep(ServiceStep):
    """The service with its new revision. What fails is taken back, and says what runs then."""

    def __init__(
        self,
        lab: Lab,
        service: ServiceSpec,
        task: TaskDefinitionStep,
        target: Target,
        poller: ServicePoller,
        shipping: Shipping,
    ) -> None:
        super().__init__(lab, service, task, target, poller)
        self.needs = (*self.needs, f"canary/{service.name}")
        self._shipping = shipping

    def apply(self, actual: Actual | None, report: Report) -> str:
        before = running_service(self._lab, self._service.name, self._poller)
        if not self._shipping.wait:
            arn = str(self._task.newest())
            self._write(arn, report)
            return _goes_on(arn)
        try:
            return self._ship(actual, report)
        except StepFailed as failure:
            move = _Move(self._lab, self._service, self._target, self._poller, report)
            raise move.back(before, failure) from failure

    def _ship(self, actual: Actual | None, report: Report) -> str:
        settings = self._shipping.canary
        if settings is None:
            return super().apply(actual, report)
        canary = Canary(self._lab, self._service, str(self._task.newest()), self._target, self._poller)
        try:
            canary.run(settings, report)
            detail = super().apply(actual, report)
        except LabError:
            canary.remove(report)
            raise
        canary.remove(report)
        return detail


class RollbackStep(BaseStep):
    """The service with one of its earlier revisions, as many tasks as it has now."""

    def __init__(
        self, lab: Lab, service: ServiceSpec, revision: Revision, target: Target, poller: ServicePoller, *, wait: bool
    ) -> None:
        self.name = f"services/{service.name}"
        self.needs = (f"canary/{service.name}",)
        self._lab = lab
        self._service = service
        self._revision = revision
        self._target = target
        self._poller = poller
        self._wait = wait

    @cached_property
    def _desired(self) -> dict[str, Any]:
        return {"taskDefinition": self._revision.arn}

    def inspect(self) -> Actual | None:
        service = running_service(self._lab, self._service.name, self._poller)
        made_from = None if has_failed(service) else fingerprint({"taskDefinition": service["taskDefinition"]})
        return Actual(made_from, is_stable(service), counts(service))

    def apply(self, actual: Actual | None, report: Report) -> str:
        before = running_service(self._lab, self._service.name, self._poller)
        move = _Move(self._lab, self._service, self._target, self._poller, report)
        try:
            detail = move.to(self._revision.arn, wait=self._wait)
        except StepFailed as failure:
            raise move.back(before, failure) from failure
        left = before["taskDefinition"]
        if number_of(left) > self._revision.number:
            mark_rolled_back(self._target, left, report)
        if self._wait:
            settle(self._target, self._lab, self._poller.seen[self._service.name], report)
        return detail

    def destroy(self, report: Report) -> str:
        raise LabError(f"{self.name} can only be rolled back here")


def deploy_steps(lab: Lab, service: ServiceSpec, shipping: Shipping, target: Target) -> list[Step]:
    """The steps of `deploy`. Raises LabError if the lab doesn't run the service.

    It keeps the number of tasks that it has, which `scale` may have changed.
    """
    poller = _poller(lab, service, target, shipping)
    running = running_service(lab, service.name, poller)
    environment = {**service.environment, **dict(shipping.environment)}
    service = structs.replace(service, environment=environment, count=running["desiredCount"])
    images, task = _definition(lab, service, shipping, target)
    ship = ShipStep(lab, service, task, target, poller, shipping)
    # the access is the whole lab's: that of one service would take the others' away
    access = access_steps(lab, target)
    steps: list[Step] = [CanaryLeftover(lab, service.name, target, poller), *access, *images, task, ship]
    return [*steps, *_discovery(lab, service, target, shipping)]


def _definition(
    lab: Lab, service: ServiceSpec, shipping: Shipping, target: Target
) -> tuple[list[Step], TaskDefinitionStep]:
    """The steps of `up` for the service's images and its task definition; an image that exists needs none."""
    if shipping.image:
        service = structs.replace(service, path=None, image=shipping.image)
    others = {f"images/{name}" for name in target.system_services}
    steps = steps_for(structs.replace(lab, services=(service,)), target)
    (task,) = (one for one in steps if isinstance(one, TaskDefinitionStep) and one.name == f"tasks/{service.name}")
    return [one for one in steps if one.name.startswith("images/") and one.name not in others], task


def rollback_steps(
    lab: Lab, service: ServiceSpec, revision: Revision, target: Target, shipping: Shipping
) -> list[Step]:
    """The steps of `rollback` to a revision."""
    poller = _poller(lab, service, target, shipping)
    running = running_service(lab, service.name, poller)
    service = structs.replace(service, count=running["desiredCount"])
    steps: list[Step] = [
        CanaryLeftover(lab, service.name, target, poller),
        RollbackStep(lab, service, revision, target, poller, wait=shipping.wait),
    ]
    return [*steps, *_discovery(lab, service, target, shipping)]


def find_rollback(lab: Lab, name: str, target: Target, to: int | None) -> tuple[Revision, int]:
    """The revision that a rollback goes to, and the number of the one that the service is to run now.

    `to` is its number; by default it is the last one that was stable before. Raises LabError.
    """
    service = running_service(lab, name, ServicePoller(target, lab.name))
    revisions, current = history(target, lab, name, service), number_of(service["taskDefinition"])
    chosen = rollback_target(revisions, current) if to is None else _numbered(revisions, to)
    if chosen is None:
        raise _nowhere(name, current, revisions, to)
    is_published = target.images.exists(name, chosen.image)
    if not is_published:
        raise LabError(
            f"The image of revision {chosen.number} of {name} no longer exists",
            where=chosen.image,
            why="a rollback starts an image that was published before, and builds none",
            hint=f"`ecsconsul history {name}` lists the other revisions; `--to NUMBER` chooses one",
        )
    return chosen, current


def summary(lab: Lab, name: str, target: Target) -> dict[str, Any]:
    """What the documents of `deploy` and `rollback` say of the service: its revision, and that one's image."""
    service = running_service(lab, name, ServicePoller(target, lab.name))
    arn = service["taskDefinition"]
    found = target.client("ecs").describe_task_definition(taskDefinition=arn)["taskDefinition"]
    return {"service": name, "revision": number_of(arn), "image": found["containerDefinitions"][0]["image"]}


def history_document(lab: Lab, name: str, target: Target) -> dict[str, Any]:
    """The JSON document of `history` (docs/cli.md). Raises TargetAbsent."""
    service = ServicePoller(target, lab.name).describe(name)
    revisions = [_document_of(one) for one in history(target, lab, name, service)]
    return {"lab": lab.name, "target": target.name, "service": name, "keep": lab.keep, "revisions": revisions}


def _document_of(one: Revision) -> dict[str, Any]:
    return {
        "revision": one.number,
        "image": one.image,
        "registered": one.registered or None,
        "by": one.by or None,
        "stable": one.stable or None,
        "rolled_back": one.rolled_back if one.rolled_back > one.stable else None,
        "running": one.running,
        "current": one.is_current,
    }


def running_service(lab: Lab, name: str, poller: ServicePoller) -> dict[str, Any]:
    """ECS's description of a service that runs. Raises LabError if there is none, or if it isn't the lab's."""
    service = poller.describe(name)
    if service is None or service["status"] != "ACTIVE":
        raise LabError(f"The service {name} is not running", where=f"lab {lab.name}", hint="`ecsconsul up` starts it")
    claim_service(lab, service)
    return service


def _poller(lab: Lab, service: ServiceSpec, target: Target, shipping: Shipping) -> ServicePoller:
    names = (service.name, canary_name(service.name))
    return ServicePoller(target, lab.name, names, timeout=shipping.timeout)


def _discovery(lab: Lab, service: ServiceSpec, target: Target, shipping: Shipping) -> list[Step]:
    alone = structs.replace(lab, services=(service,))
    needs = (f"services/{service.name}",)
    return [discovery_step(alone, target, needs, timeout=shipping.timeout)] if shipping.wait else []


def _numbered(revisions: Sequence[Revision], number: int) -> Revision | None:
    return next((one for one in revisions if one.number == number), None)


def _nowhere(name: str, current: int, revisions: Sequence[Revision], to: int | None) -> LabError:
    """Why there is no such revision to go back to."""
    numbers = ", ".join(str(one.number) for one in revisions) or "none"
    if to is not None:
        what, why = f"{name} has no revision {to}", f"it has {numbers}"
    else:
        what, why = f"{name} has nothing to go back to", f"no revision before {current} was stable; it has {numbers}"
    hint = f"`ecsconsul history {name}` lists its revisions; `keep` in the config says how many there are"
    return LabError(what, where=f"service {name}", why=why, hint=hint)


class _Move:
    """Moves one service from revision to revision."""

    def __init__(self, lab: Lab, service: ServiceSpec, target: Target, poller: ServicePoller, report: Report) -> None:
        self._lab = lab
        self._service = service
        self._target = target
        self._poller = poller
        self._report = report

    def to(self, arn: str, *, wait: bool = True) -> str:
        """Let the service run another revision, with the one request that this takes. Raises StepFailed."""
        since = time.time()
        rollout = Rollout(self._lab, self._service, arn, self._target, self._poller)
        request = {"cluster": self._lab.name, "service": self._service.name, "taskDefinition": arn}
        updated = self._target.client("ecs").update_service(**request)["service"]
        if not wait:
            return _goes_on(arn)
        rollout.started_as(updated)
        return rollout.await_stable(self._report, since)

    def back(self, before: Mapping[str, Any], failure: StepFailed) -> StepFailed:
        """Take back what failed, to what ran `before`; returns the failure with what runs now.

        ECS's circuit breaker would do the same, after more failures than one needs to see:
        https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html
        """
        result, detail = self._take_back(before)
        self._report.in_progress("")
        what, why = f"{failure.what}; {result}", f"{failure.why}\nnow: {result}{detail}"
        return StepFailed(
            what,
            where=failure.where,
            why=why,
            hint=failure.hint.replace("sul up`", f"sul deploy {self._service.name}`"),
        )

    def _take_back(self, before: Mapping[str, Any]) -> tuple[str, str]:
        """What runs now, and how well."""
        arn, now = str(before["taskDefinition"]), self._poller.describe(self._service.name)
        revision = f"revision {number_of(arn)}"
        if now and now["taskDefinition"] == arn and is_stable(now):
            return f"{revision} runs as before", f", {counts(now)}"
        if not is_stable(before):
            return "nothing was taken back", f", because {revision} before it wasn't healthy either"
        self._report.say(f"failed; going back to {revision}")
        try:
            return f"{revision} runs again", f", {self.to(arn)}"
        except (LabError, client_error()) as error:
            return f"going back to {revision} failed too", f": {error}"


def _goes_on(arn: str) -> str:
    return f"revision {number_of(arn)}, and ECS goes on without waiting"
