"""`up` and `down` killed at random moments: the next run completes the work."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ecsconsul.config.lab import Lab, ServiceSpec
from ecsconsul.deploy import executor
from ecsconsul.deploy.lab_steps import DISCOVERY, steps_for
from ecsconsul.deploy.step import Step
from tests.deploy.world import FakeTarget, Runtime, SilentObserver

ROOT = Path(__file__).parent.parent.parent
MOMENTS = 4
PATIENCE = 60.0
SCRIPT = """
import sys
from pathlib import Path
from tests.deploy.test_killed import SilentObserver, account, lab_in, steps
from ecsconsul.deploy import executor

verb, kind, endpoint, folder = sys.argv[1:]
target = account(kind, endpoint)
target.client("ecs"), target.client("cloudformation")
print("begins", flush=True)
getattr(executor, verb)(steps(lab_in(Path(folder), kind), target), SilentObserver())
"""


def account(kind: str, endpoint: str) -> FakeTarget:
    """moto's own API stands for an account. The region runs no daemons, so there it has no system services."""
    return FakeTarget(endpoint, system_services=() if kind == "region" else ("registrator",))


def lab_in(folder: Path, kind: str) -> Lab:
    """moto runs no tasks, so there the desired count is 0."""
    count = 2 if kind == "region" else 0
    return Lab(name="blue", services=tuple(ServiceSpec(name=f"s{n}", path=str(folder), count=count) for n in range(3)))


def steps(lab: Lab, target: FakeTarget) -> list[Step]:
    return [step for step in steps_for(lab, target) if step.name != DISCOVERY]


class Walks:
    """Runs in processes of their own."""

    def __init__(self, world: Runtime, kind: str, folder: Path) -> None:
        self.world, self.kind, self.folder = world, kind, folder
        self.endpoint = world.endpoint(kind)
        self.seconds = 1.0

    def has_instance(self, there: bool) -> None:
        """What joins the cluster with the stack in an account, and leaves it with the stack."""
        self.world.ecs.remove_instance("i-1")
        if there:
            self.world.add_instance("blue", cpu=10_000, memory=10_000)

    def killed(self, verb: str, after: float) -> None:
        """One that is killed so many seconds after it has begun."""
        words = [sys.executable, "-c", SCRIPT, verb, self.kind, self.endpoint, str(self.folder)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "begins\n"
            time.sleep(after)
            process.kill()

    def undisturbed(self, verb: str) -> FakeTarget:
        """One in this process; the world as it left it."""
        target = account(self.kind, self.endpoint)
        begun = time.monotonic()
        self.has_instance(verb == "up")
        getattr(executor, verb)(steps(lab_in(self.folder, self.kind), target), SilentObserver())
        self.seconds = time.monotonic() - begun
        return account(self.kind, self.endpoint)

    def pending(self) -> set[str]:
        # the images of this target are forgotten with the process that made them
        every = steps(lab_in(self.folder, self.kind), account(self.kind, self.endpoint))
        return {change.op for change in executor.plan([step for step in every if not step.name.startswith("images/")])}


@pytest.fixture(params=["plain", "region"])
def walks(world: Runtime, request: pytest.FixtureRequest, tmp_path: Path) -> Walks:
    return Walks(world, request.param, tmp_path)


def there(target: FakeTarget) -> dict[str, Any]:
    """Everything that exists of the lab, by kind."""
    ecs, cloudformation = target.client("ecs"), target.client("cloudformation")
    described = ecs.describe_clusters(clusters=ecs.list_clusters()["clusterArns"] or ["blue"])["clusters"]
    clusters = [cluster["clusterName"] for cluster in described if cluster["status"] == "ACTIVE"]
    stacks = cloudformation.describe_stacks()["Stacks"]
    revisions = [
        arn.rpartition("/")[2]
        for status in ("ACTIVE", "INACTIVE")
        for arn in ecs.list_task_definitions(status=status)["taskDefinitionArns"]
    ]
    services = [arn.rpartition("/")[2] for name in clusters for arn in ecs.list_services(cluster=name)["serviceArns"]]
    return {
        "clusters": clusters,
        "stacks": [stack["StackName"] for stack in stacks if stack["StackStatus"] != "DELETE_COMPLETE"],
        "revisions": sorted(revisions),
        "services": sorted(services),
        "instances": len(ecs_instances(target)),
    }


def ecs_instances(target: FakeTarget) -> list[str]:
    groups = target.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
    return [instance["InstanceId"] for group in groups for instance in group["Instances"]]


NOTHING = {"clusters": [], "stacks": [], "revisions": [], "services": [], "instances": 0}


def test_killed_runs_are_completed_by_the_next_run(walks: Walks) -> None:
    expected = there(walks.undisturbed("up"))
    duration = walks.seconds
    assert there(walks.undisturbed("down")) == NOTHING
    moments = random.Random(4)
    walks.has_instance(True)
    for _ in range(MOMENTS):
        walks.killed("up", moments.uniform(0, duration))
    assert there(walks.undisturbed("up")) == expected
    assert walks.pending() == {"keep"}
    walks.has_instance(False)
    for _ in range(MOMENTS):
        walks.killed("down", moments.uniform(0, walks.seconds))
    assert there(walks.undisturbed("down")) == NOTHING
