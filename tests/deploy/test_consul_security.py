"""Moving a lab of an earlier version to ACLs and TLS: two updates of its stack, with the Registrator's between them."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from ecsconsul.aws_tags import as_items, as_mapping
from ecsconsul.config.lab import Lab
from ecsconsul.deploy import executor
from ecsconsul.deploy.consul_security import HALFWAY, OPEN, ConsulSecurityStep
from ecsconsul.deploy.stack_parameters import kept_parameters
from ecsconsul.deploy.step import Actual, BaseStep, Report, Step, decide, tags_for
from ecsconsul.deploy.step2_stack import StackParametersStep, StackStep
from ecsconsul.errors import LabError, StepFailed
from tests.deploy.cloudformation import ROLLED_ON, UPDATED, CloudFormation
from tests.deploy.network import Network
from tests.deploy.world import FakeTarget, RecordingReport, SilentObserver

LAB = Lab(name="blue")


class Account(FakeTarget):
    """A target with one stack, which notes what each operation makes Consul demand."""

    def __init__(self) -> None:
        self.cloudformation = CloudFormation()
        super().__init__(None, clients={"cloudformation": self.cloudformation, "ec2": Network()})

    @property
    def parameters(self) -> dict[str, str]:
        return as_mapping(self.cloudformation.parameters, key="ParameterKey", value="ParameterValue")

    def has(self, **parameters: str) -> None:
        """A stack made by this version exists, with these parameters."""
        self.cloudformation.status = "UPDATE_COMPLETE"
        tags = tags_for("blue", StackStep(LAB, self).desired())
        self.cloudformation.tags = as_items(tags, key="Key", value="Value")
        self.cloudformation.parameters = as_items(parameters, key="ParameterKey", value="ParameterValue")

    def has_earlier_version(self) -> None:
        self.has(LabName="blue")
        self.cloudformation.tags = as_items(tags_for("blue", {"an": "earlier version"}), key="Key", value="Value")


@dataclass
class RegistratorStep(BaseStep):
    """The Registrator's service, which notes what Consul demands when it gets its token."""

    account: Account
    name: str = "services/registrator"
    needs: tuple[str, ...] = ("stack",)
    seen: list[str] = field(default_factory=list)
    fails: bool = False

    @property
    def _desired(self) -> dict[str, str]:  # type: ignore[override]
        return {"token": "new"}

    def inspect(self) -> Actual | None:
        return Actual(self.fingerprint if self.seen else None, True, "")

    def apply(self, actual: Actual | None, report: Report) -> str:
        if self.fails:
            raise LabError("no task starts")
        self.seen.append(self.account.parameters["ConsulSecurity"])
        return "1/1 running"

    def destroy(self, report: Report) -> str:
        return "deleted"


@pytest.fixture
def account() -> Account:
    return Account()


def steps(account: Account, registrator: RegistratorStep | None = None) -> list[Step]:
    registrator = registrator or RegistratorStep(account)
    return [StackStep(LAB, account), registrator, ConsulSecurityStep(LAB, account, [registrator.name])]


def security(account: Account) -> ConsulSecurityStep:
    return ConsulSecurityStep(LAB, account, ())


def updates(account: Account) -> int:
    return account.cloudformation.requests["update_stack"]


def op(step: Step) -> str:
    return decide(step.desired(), step.inspect())


@pytest.mark.parametrize(
    ("known", "kept"),
    [
        (None, {"ConsulSecurity": "enforced"}),
        ({"LabName": "blue"}, {"ConsulSecurity": "transition"}),
        ({"ConsulSecurity": "transition"}, {"ConsulSecurity": "transition"}),
        ({"ConsulSecurity": "enforced", "SecretsGeneration": ""}, {"ConsulSecurity": "enforced"}),
        (
            {"ConsulSecurity": "enforced", "SecretsGeneration": "0a1b"},
            {"ConsulSecurity": "enforced", "SecretsGeneration": "0a1b"},
        ),
    ],
)
def test_update_keeps_what_the_config_does_not_say(known: dict[str, str] | None, kept: dict[str, str]) -> None:
    stack = None if known is None else {"Parameters": as_items(known, key="ParameterKey", value="ParameterValue")}
    assert kept_parameters(stack) == kept


def test_new_lab_demands_tokens_and_tls_at_once(account: Account) -> None:
    changes = executor.up(steps(account), SilentObserver())
    assert [change.op for change in changes] == ["create", "update", "keep"]
    assert account.parameters["ConsulSecurity"] == "enforced"
    assert updates(account) == 0


def test_lab_of_an_earlier_version_is_moved_in_two_updates(account: Account) -> None:
    account.has_earlier_version()
    registrator = RegistratorStep(account)
    executor.up(steps(account, registrator), SilentObserver())
    assert registrator.seen == ["transition"]
    assert account.parameters["ConsulSecurity"] == "enforced"
    assert updates(account) == 2
    assert [op(step) for step in steps(account, registrator)] == ["keep"] * 3
    executor.up(steps(account, registrator), SilentObserver())
    assert updates(account) == 2


def test_nothing_is_enforced_while_the_registrator_has_no_token(account: Account) -> None:
    account.has_earlier_version()
    with pytest.raises(LabError, match="no task starts"):
        executor.up(steps(account, RegistratorStep(account, fails=True)), SilentObserver())
    assert account.parameters["ConsulSecurity"] == "transition"
    registrator = RegistratorStep(account)
    executor.up(steps(account, registrator), SilentObserver())
    assert (registrator.seen, account.parameters["ConsulSecurity"]) == (["transition"], "enforced")
    assert updates(account) == 2


@pytest.mark.parametrize(
    ("parameters", "detail"),
    [({"LabName": "blue"}, OPEN), ({"ConsulSecurity": "transition"}, HALFWAY)],
)
def test_plan_says_that_instances_are_replaced_and_why(
    account: Account, parameters: dict[str, str], detail: str
) -> None:
    account.has(**parameters)
    (change,) = executor.plan([security(account)])
    assert (change.op, change.detail) == ("update", detail)
    assert "replaces all instances" in detail


def test_stack_stays_in_transition_until_the_last_step(account: Account, report: RecordingReport) -> None:
    """Also if the config changes meanwhile."""
    account.has(ConsulSecurity="transition")
    wider = StackStep(Lab(name="blue", instances=4), account)
    wider.apply(wider.inspect(), report)
    assert account.parameters.items() >= {("ConsulSecurity", "transition"), ("InstanceCount", "4")}


@pytest.mark.parametrize("security_now", ["transition", "enforced"])
def test_update_that_a_killed_up_started_is_awaited(
    account: Account, report: RecordingReport, security_now: str
) -> None:
    account.has(ConsulSecurity=security_now)
    account.cloudformation.begin("update_stack", UPDATED)
    stack = StackStep(LAB, account)
    assert op(stack) == "wait"
    stack.apply(stack.inspect(), report)
    assert updates(account) == 0
    step = security(account)
    if op(step) == "update":
        step.apply(step.inspect(), report)
    assert account.parameters["ConsulSecurity"] == "enforced"
    assert updates(account) == (1 if security_now == "transition" else 0)


def test_failed_update_is_tried_again(account: Account, report: RecordingReport) -> None:
    account.has(ConsulSecurity="transition")
    before = account.cloudformation.parameters
    account.cloudformation.plays["update_stack"] = [(UPDATED[0], *ROLLED_ON)]
    step = security(account)
    with pytest.raises(StepFailed, match="UPDATE_ROLLBACK"):
        step.apply(step.inspect(), report)
    # CloudFormation restores them
    account.cloudformation.parameters = before
    assert op(step) == "update"
    step.apply(step.inspect(), report)
    assert account.parameters["ConsulSecurity"] == "enforced"


def test_absent_stack_has_nothing_to_enforce_and_nothing_to_delete(account: Account, report: RecordingReport) -> None:
    step = security(account)
    assert step.inspect() is None
    step.destroy(report)
    assert not account.cloudformation.requests.keys() - {"describe_stacks"}


# --- parameters alone


def test_parameters_are_set_and_nothing_else_is_changed(account: Account, report: RecordingReport) -> None:
    account.has(ConsulSecurity="enforced", InstanceCount="2", LabName="blue", SecretsGeneration="")
    tags = account.cloudformation.tags
    step = StackParametersStep(Lab(name="blue", instances=5), account, {"SecretsGeneration": "0a1b"})
    for _ in "12":
        step.apply(step.inspect(), report)
    assert updates(account) == 1
    assert account.parameters == {
        "ConsulSecurity": "enforced", "InstanceCount": "2", "LabName": "blue", "SecretsGeneration": "0a1b",
    }  # fmt: skip
    assert account.cloudformation.tags == tags
    # the next `up` keeps it
    wider = StackStep(Lab(name="blue", instances=5), account)
    wider.apply(wider.inspect(), report)
    assert account.parameters.items() >= {("SecretsGeneration", "0a1b"), ("InstanceCount", "5")}


def test_parameters_of_no_stack_cannot_be_set(account: Account, report: RecordingReport) -> None:
    step = StackParametersStep(LAB, account, {"SecretsGeneration": "0a1b"})
    with pytest.raises(StepFailed, match="The stack can't be updated"):
        step.apply(step.inspect(), report)
    account.has(SecretsGeneration="")
    account.cloudformation.status = "ROLLBACK_COMPLETE"
    with pytest.raises(StepFailed, match="ROLLBACK_COMPLETE"):
        step.apply(step.inspect(), report)
    assert account.cloudformation.requests.keys() <= {"describe_stacks"}
