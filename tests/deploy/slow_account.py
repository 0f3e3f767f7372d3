"""A fake AWS account in which creating resources takes time, at a fraction of AWS's."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ecsconsul.config.lab import Lab, ServiceSpec
from ecsconsul.deploy.lab_steps import DISCOVERY, steps_for
from ecsconsul.deploy.step import Step
from ecsconsul.polling import PollingPolicy
from ecsconsul.targets.base import Say
from tests.deploy.cloudformation import CREATED, CloudFormation, Scene
from tests.deploy.network import Network
from tests.deploy.world import FakeTarget, MemoryImages, Runtime

# what AWS and a registry take, in seconds, and how often the AWS target looks
STACK, IMAGE, TASKS, LOOKS = 180.0, 90.0, 30.0, 2.0
SCENES = 20


@dataclass
class SlowImages(MemoryImages):
    """Images that take time to publish, any number at once."""

    seconds: float = 0.0

    def publish(self, service: str, tag: str, source: Path, build_args: Mapping[str, str], say: Say) -> None:
        time.sleep(self.seconds)
        super().publish(service, tag, source, build_args, say)


@dataclass
class SlowAccount(FakeTarget):
    """A target whose stack, images and tasks take `scale` times as long as in AWS."""

    scale: float = 0.01
    system_services: tuple[str, ...] = ("registrator",)
    cloudformation: CloudFormation = field(default_factory=CloudFormation)

    def __post_init__(self) -> None:
        self.polling = PollingPolicy(LOOKS * self.scale, 500)
        self.images = SlowImages(seconds=IMAGE * self.scale)
        middle = (Scene("CREATE_IN_PROGRESS"),) * (SCENES - 2)
        self.cloudformation.seconds = STACK * self.scale / (SCENES - 1)
        self.cloudformation.plays["create_stack"] = [(CREATED[0], *middle, CREATED[-1])]
        self.clients |= {"cloudformation": self.cloudformation, "ec2": Network()}

    @property
    def longest_path(self) -> float:
        """What making the lab takes at least: its images are built while the stack is created."""
        return (max(STACK, IMAGE) + TASKS) * self.scale


def slow_account(world: Runtime, scale: float) -> SlowAccount:
    """An empty account with room for any number of tasks."""
    world.reset()
    world.start_seconds = TASKS * scale
    world.add_instance("blue", cpu=1_000_000, memory=1_000_000)
    return SlowAccount(world.endpoint("region"), scale=scale)


def lab_of(services: int, path: Path) -> Lab:
    """A lab with this many services of one source."""
    return Lab(name="blue", services=tuple(ServiceSpec(name=f"s{n}", path=str(path)) for n in range(services)))


def all_but_consul(lab: Lab, target: FakeTarget) -> list[Step]:
    """The steps that this account supports: it runs no Consul and no daemons."""
    return [step for step in steps_for(lab, target) if step.name not in (DISCOVERY, "services/registrator")]
