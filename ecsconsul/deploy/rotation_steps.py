"""The steps of `rotate`: new secrets beside the old ones, then everybody changes, then the old ones are revoked.

They run again from the beginning after a crash; until the last one has ended, both generations are valid.
"""

from __future__ import annotations

import time
from functools import cached_property
from typing import Any

from ..config.lab import Lab
from ..consul.lab_secrets import Rotation
from ..targets.commands import CommandTarget
from .rollout import Rollout
from .service_poller import ServicePoller
from .step import Actual, BaseStep, Report, Step
from .step2_stack import StackParametersStep
from .step5_services import ScaleStep

INSTALL, ADOPT, REVOKE = "secrets/install", "secrets/adopt", "secrets/revoke"


def rotation_steps(lab: Lab, target: CommandTarget, rotation: Rotation) -> list[Step]:
    """The steps of one rotation, in order."""
    with_token = [service for service in lab.services if service.reports_itself]
    names = tuple(service.name for service in with_token)
    poller = ServicePoller(target, lab.name)
    restarts = [RestartStep(lab, service, target, poller) for service in with_token]
    return [
        InstallStep(target, rotation, names),
        AdoptStep(lab, target, rotation),
        *restarts,
        RevokeStep(target, rotation, tuple(step.name for step in restarts)),
    ]


class RotationStep(BaseStep):
    """A step that is always taken."""

    def __init__(self, target: CommandTarget, rotation: Rotation) -> None:
        self._target = target
        self._rotation = rotation

    @cached_property
    def _desired(self) -> dict[str, Any]:
        return {"generation": self._rotation.new.generation}

    def inspect(self) -> Actual | None:
        return Actual(None, True, "")

    def destroy(self, report: Report) -> str:
        return "nothing to delete"


class InstallStep(RotationStep):
    """The new tokens and the new gossip key, beside the old ones."""

    name = INSTALL

    def __init__(self, target: CommandTarget, rotation: Rotation, services: tuple[str, ...]) -> None:
        super().__init__(target, rotation)
        self._services = services

    def apply(self, actual: Actual | None, report: Report) -> str:
        from ..consul.rotation import install

        with self._target.consul() as address:
            install(address.client, self._rotation, self._services)
        return "both generations are valid"


class AdoptStep(RotationStep):
    """All agents and Registrators use the new ones."""

    name = ADOPT
    needs = (INSTALL,)

    def __init__(self, lab: Lab, target: CommandTarget, rotation: Rotation) -> None:
        super().__init__(target, rotation)
        self._lab = lab

    def apply(self, actual: Actual | None, report: Report) -> str:
        parameters = self._target.adopt_secrets(self._rotation.new, report.say)
        if parameters:
            stack = StackParametersStep(self._lab, self._target, parameters)
            stack.apply(stack.inspect(), report)
        return "in use"


class RestartStep(ScaleStep):
    """New tasks of a service that reports to a `ttl` check: a task gets its token when it starts."""

    needs = (ADOPT,)

    def inspect(self) -> Actual | None:
        return Actual(None, True, "")

    def apply(self, actual: Actual | None, report: Report) -> str:
        if self._poller.describe(self._service.name) is None:
            return "does not run"
        service, since = self._describe(), time.time()
        rollout = Rollout(self._lab, self._service, service["taskDefinition"], self._target, self._poller)
        own = {"cluster": self._lab.name, "service": self._service.name}
        updated = self._target.client("ecs").update_service(**own, forceNewDeployment=True)
        rollout.started_as(updated["service"])
        return rollout.await_stable(report, since)


class RevokeStep(RotationStep):
    """Nobody can use the old ones any more."""

    name = REVOKE

    def __init__(self, target: CommandTarget, rotation: Rotation, restarts: tuple[str, ...]) -> None:
        super().__init__(target, rotation)
        self.needs = (ADOPT, *restarts)

    def apply(self, actual: Actual | None, report: Report) -> str:
        from ..consul.rotation import revoke

        with self._target.consul() as address:
            revoke(address.client, self._rotation)
        self._target.keep_rotation(None)
        return "revoked"
