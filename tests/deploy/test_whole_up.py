"""What a whole `up` does at the same time, and how many requests it makes. How long it takes is the benchmarks'."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ecsconsul.config.lab import Lab, ServiceSpec
from ecsconsul.deploy import executor
from ecsconsul.deploy.lab_steps import DISCOVERY, steps_for
from ecsconsul.polling import PollingPolicy
from ecsconsul.targets.base import Say
from tests.deploy.cloudformation import CloudFormation
from tests.deploy.network import Network
from tests.deploy.world import FakeTarget, MemoryImages, Runtime, SilentObserver

PATIENCE = 60.0


@dataclass
class MeetingImages(MemoryImages):
    """Images that are published once all that is to happen at the same time does."""

    meeting: threading.Barrier = field(default_factory=lambda: threading.Barrier(1))

    def publish(self, service: str, tag: str, source: Path, build_args: Mapping[str, str], say: Say) -> None:
        self.meeting.wait()
        super().publish(service, tag, source, build_args, say)


def account_of(world: Runtime) -> FakeTarget:
    """An empty account with room for any number of tasks, which run as soon as they are asked for."""
    world.reset()
    world.add_instance("blue", cpu=1_000_000, memory=1_000_000)
    return FakeTarget(
        world.endpoint("region"),
        system_services=("registrator",),
        polling=PollingPolicy(0.0, 500),
        clients={"cloudformation": CloudFormation(), "ec2": Network()},
    )


def up(account: FakeTarget, services: int, path: Path) -> None:
    """Create a lab with this many services of one source; the account runs no Consul and no daemons."""
    lab = Lab(name="blue", services=tuple(ServiceSpec(name=f"s{n}", path=str(path)) for n in range(services)))
    steps = [step for step in steps_for(lab, account) if step.name not in (DISCOVERY, "services/registrator")]
    executor.up(steps, SilentObserver())


def test_images_are_built_side_by_side_while_the_stack_is_created(world: Runtime, tmp_path: Path) -> None:
    account = account_of(world)
    images = {"s0", "s1", "s2", "registrator"}
    meeting = threading.Barrier(len(images) + 1, timeout=PATIENCE)

    def first_look() -> None:
        meeting.wait()

    before = account.clients["cloudformation"].before
    before["create_stack"] = lambda: before.update(describe_stacks=first_look)
    account.images = MeetingImages(meeting=meeting)
    up(account, 3, tmp_path)
    assert account.images.published.keys() == images


def cost(world: Runtime, services: int, path: Path) -> dict[str, float]:
    """The requests of an `up`, per service."""
    account = account_of(world)
    up(account, services, path)
    return {name: count / services for name, count in account.counted().items()}


def test_requests_per_service_do_not_grow(world: Runtime, tmp_path: Path) -> None:
    few, many = cost(world, 3, tmp_path), cost(world, 50, tmp_path)
    assert few.keys() == many.keys()
    # how many services share one of these is up to the threads
    assert {name for name in few.keys() - {"DescribeServices"} if many[name] > few[name]} == set()
    assert many["DescribeServices"] < 3
