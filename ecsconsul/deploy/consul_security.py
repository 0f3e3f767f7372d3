"""Consul's security: for a lab of an earlier version, the second of two updates of its stack.

Such a lab has no ACLs and no TLS. The step `stack` replaces its instances by ones that use both and still accept who
uses neither: the instances not yet replaced, and the Registrator without a token. Once the Registrator has its token,
this step replaces the instances by ones that demand both. A new lab demands both from the start.

Where a lab stands is a parameter of its stack, so an interrupted run goes on from there.
https://developer.hashicorp.com/consul/docs/secure/encryption/tls/enable/existing/builtin
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

from ..config.lab import Lab
from ..targets.base import Target
from .stack_parameters import ENFORCED, SECURITY
from .step import Actual, BaseStep, Report
from .step2_stack import StackParametersStep, StackStep

OPEN = (
    "Consul has no ACLs and no TLS: `up` replaces all instances twice, one by one, first to accept tokens and TLS, and "
    "then to demand them"
)
HALFWAY = (
    "Consul accepts tokens and TLS, and does not demand them yet: `up` replaces all instances once more, one by one"
)


class ConsulSecurityStep(BaseStep):
    """Consul refuses who has no token and no certificate."""

    name = "consul-security"

    def __init__(self, lab: Lab, target: Target, needs: Iterable[str]) -> None:
        """`needs` are the services that must have their tokens before."""
        self.needs = (StackStep.name, *needs)
        self._stack = StackParametersStep(lab, target, {SECURITY: ENFORCED})

    @cached_property
    def _desired(self) -> dict[str, Any]:
        return {SECURITY: ENFORCED}

    def inspect(self) -> Actual | None:
        parameters = self._stack.parameters()
        if parameters is None:
            return None
        security = parameters.get(SECURITY)
        if security == ENFORCED:
            return Actual(self.fingerprint, True, ENFORCED)
        return Actual(None, True, HALFWAY if security else OPEN)

    def apply(self, actual: Actual | None, report: Report) -> str:
        report.say("replacing the instances by ones that demand tokens and TLS")
        self._stack.apply(self._stack.inspect(), report)
        return ENFORCED

    def destroy(self, report: Report) -> str:
        return "goes with the stack"
