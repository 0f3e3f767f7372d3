"""Adopting new secrets where instances read them when they boot: an update of the stack replaces them."""

from __future__ import annotations

from ecsconsul.config.lab import Lab
from ecsconsul.consul.lab_secrets import LabSecrets, new_secrets, rotated
from ecsconsul.deploy.rotation_steps import AdoptStep
from ecsconsul.targets.base import Say
from tests.deploy.test_consul_security import Account
from tests.deploy.world import RecordingReport

LAB = Lab(name="blue")


class Adopting(Account):
    """Hands secrets to instances by these parameters of the stack."""

    def __init__(self, parameters: dict[str, str]) -> None:
        super().__init__()
        self.parameters_of_secrets = parameters
        self.adopted: list[LabSecrets] = []
        self.has(ConsulSecurity="enforced", SecretsGeneration="")

    def adopt_secrets(self, lab_secrets: LabSecrets, say: Say) -> dict[str, str]:
        self.adopted.append(lab_secrets)
        return self.parameters_of_secrets


def adopt(target: Adopting, report: RecordingReport) -> LabSecrets:
    rotation = rotated(new_secrets("blue"))
    AdoptStep(LAB, target, rotation).apply(None, report)  # type: ignore[arg-type]
    return rotation.new


def test_instances_are_replaced_after_the_secrets_are_written(report: RecordingReport) -> None:
    target = Adopting({"SecretsGeneration": "0a1b"})
    before: list[int] = []
    target.cloudformation.before["update_stack"] = lambda: before.append(len(target.adopted))
    assert target.adopted == [adopt(target, report)]
    assert before == [1]
    assert target.parameters == {"ConsulSecurity": "enforced", "SecretsGeneration": "0a1b"}


def test_agents_that_have_the_secrets_at_once_need_no_stack(report: RecordingReport) -> None:
    target = Adopting({})
    assert target.adopted == [adopt(target, report)]
    assert target.cloudformation.requests == {}
