"""The steps of `snapshot restore`: Consul's data go back, then the lab's tokens, then the catalog follows what runs.

Each is safe to repeat, so that after a failure or a Ctrl-C the command can be run again.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ..config.lab import Lab
from ..consul.catalog import Consul, Refused
from ..consul.lab_secrets import MANAGEMENT, LabSecrets
from ..errors import StepFailed, Unreachable
from ..polling import PollingPolicy, poll_until
from ..targets.commands import CommandTarget
from .endpoints import by_service, endpoints_of, ghosts_and_missing
from .step import Actual, BaseStep, Report, Step

DATA, TOKENS, CATALOG = "snapshot/data", "snapshot/tokens", "snapshot/catalog"
# A leader makes its management token some milliseconds after the data are there, or after its election.
TOKENS_POLICY = PollingPolicy(delay=0.2, attempts=300)
# Agents compare their services with the catalog each minute, plus a random part of it, and the leader compares its
# members with the nodes as often: https://developer.hashicorp.com/consul/docs/concept/consistency
CATALOG_POLICY = PollingPolicy(delay=0.5, attempts=480)


def restore_steps(lab: Lab, target: CommandTarget, path: Path, lab_secrets: LabSecrets) -> list[Step]:
    """The steps that restore the snapshot in a file, in order."""
    with_token = [service.name for service in lab.services if service.reports_itself]
    return [
        DataStep(target, path, lab_secrets),
        TokensStep(target, lab_secrets, with_token),
        CatalogStep(lab, target),
    ]


class RestoreStep(BaseStep):
    """A step that is always taken."""

    def inspect(self) -> Actual | None:
        return Actual(None, True, "")

    @cached_property
    def _desired(self) -> dict[str, Any]:
        return {}

    def destroy(self, report: Report) -> str:
        return "nothing to delete"


class DataStep(RestoreStep):
    """Consul's data are the snapshot's."""

    name = DATA

    def __init__(self, target: CommandTarget, path: Path, lab_secrets: LabSecrets) -> None:
        self._target = target
        self._path = path
        self._secrets = lab_secrets

    def apply(self, actual: Actual | None, report: Report) -> str:
        from ..consul.rotation import is_known
        from ..consul.snapshot_transfer import restore

        with self._target.consul() as address:
            consul = address.client(self._secrets.token(MANAGEMENT))
            if not is_known(consul):
                # an earlier restore was interrupted before it had come so far
                self._target.after_restore(report.say)
                _await_management_token(consul, self.name, report)
            restore(consul, self._path)
        self._target.after_restore(report.say)
        return "restored"


class TokensStep(RestoreStep):
    """The lab's own policies and tokens are there, and those of other generations aren't."""

    name = TOKENS
    needs = (DATA,)

    def __init__(self, target: CommandTarget, lab_secrets: LabSecrets, services: Sequence[str]) -> None:
        self._target = target
        self._secrets = lab_secrets
        self._services = services

    def apply(self, actual: Actual | None, report: Report) -> str:
        from ..consul.acl import acl_requests, service_requests
        from ..consul.rotation import create_tokens, revoke_others

        with self._target.consul() as address:
            consul = address.client(self._secrets.token(MANAGEMENT))
            _await_management_token(consul, self.name, report)
            create_tokens(consul, [*acl_requests(self._secrets), *service_requests(self._secrets, self._services)])
            revoke_others(consul, self._secrets)
        return "those of the lab, and no older ones"


class CatalogStep(RestoreStep):
    """The catalog lists exactly the tasks that run: the data bring back the catalog of their time."""

    name = CATALOG
    needs = (TOKENS,)

    def __init__(self, lab: Lab, target: CommandTarget) -> None:
        self._lab = lab
        self._target = target

    def apply(self, actual: Actual | None, report: Report) -> str:
        different = ""

        def agrees() -> bool | None:
            nonlocal different
            before, different = different, self._difference()
            if different and different != before:
                report.say(f"not up to date yet: {different}")
            return None if different else True

        try:
            poll_until(agrees, CATALOG_POLICY, report.wait)
        except TimeoutError as error:
            raise StepFailed(
                "The data are restored, but Consul's catalog isn't up to date",
                where=f"step {self.name}",
                why=f"{different}; {error}",
                hint="`ecsconsul status` shows every instance and its checks",
            ) from error
        return "lists the tasks that run"

    def _difference(self) -> str:
        """The services whose instances aren't the tasks that run; empty when all are."""
        running = by_service(endpoints_of(self._target.client("ecs"), self._lab.name))
        try:
            with self._target.consul() as address:
                catalog = address.client().catalog()
        except (Unreachable, Refused) as error:
            return str(error)
        agree: tuple[list[str], list[str]] = ([], [])
        names = [service.name for service in self._lab.services]
        return ", ".join(n for n in names if ghosts_and_missing(catalog.get(n, []), running.get(n, [])) != agree)


def _await_management_token(consul: Consul, step: str, report: Report) -> None:
    """Wait until there is a leader that knows the client's token."""
    from ..consul.rotation import is_known

    last = ""

    def is_there() -> bool | None:
        nonlocal last
        try:
            last = "the leader makes none from its configuration" if consul.leader() else "there is no leader"
            return is_known(consul) or None
        except (Unreachable, Refused) as error:
            last = str(error)
            return None

    try:
        poll_until(is_there, TOKENS_POLICY, report.wait)
    except TimeoutError as error:
        raise StepFailed(
            "Consul doesn't accept the lab's management token after the restore",
            where=f"step {step}",
            why=f"{last}; {error}",
            hint="restart Consul's servers, then run `ecsconsul snapshot restore` again",
        ) from error
