"""THE ordered list of the lab's steps: `plan` and `up` follow it, `down` follows it in reverse.

A step compares its desired state (from the config) with its actual state (from AWS or Consul), and applies the
difference. There is no state file: a fingerprint of the desired state is a tag on each resource. The stages, and the
one rule of each:

    prerequisites        the target's own work: an account with a network and a gossip key, or a region on this
                         machine. Rule: whatever blocks `up` is found here, before anything changes.
    cluster              the ECS cluster. Rule: it is the lab's only if its tag says so.
    stack                CloudFormation: Consul servers and container instances. Rule: its parameters come from the
                         config alone; what the target adds doesn't count as a change.
    capacity-provider    only with `instances: {min, max}`: lets ECS scale the stack's instances. Rule: nothing else may
                         set their number then.
    secret-access        only with secrets, where ECS has a role: it may read these. Rule: exactly these.
    images/NAME          build and publish, while the stack is created. Rule: the tag is the hash of the source.
    tasks/SERVICE        the task definition. Rule: the newest active revision that is the lab's counts.
    services/SERVICE     the ECS service. Rule: it is done when its rollout is, and fails as soon as it can't succeed.
    consul-security      where the Registrator is a service: Consul demands tokens and TLS. Rule: not before all who
                         register services have their tokens.
    discovery            creates nothing. Rule: done when Consul sees every instance of every service passing.

A target's system services (the Registrator) go through the same stages as those of the config. A service that the
config has dropped is an orphan (orphans.py), whose desired state is to be absent.
"""

from __future__ import annotations

from collections import Counter
from functools import partial

from msgspec import structs

from ..config.lab import Lab, ServiceSpec
from ..targets.base import Target
from .capacity_provider import CapacityProviderStep, strategy_of
from .consul_security import ConsulSecurityStep
from .prerequisites import PrerequisitesStep
from .registrator_steps import registrator_steps, service_names
from .secret_access import access_steps
from .service_poller import ServicePoller
from .step import Step
from .step1_cluster import ClusterStep
from .step2_stack import StackStep
from .step3_images import ExternalImage, ImageStep, images_of
from .step4_task_definitions import TaskDefinitionStep
from .step5_services import ScaleStep, ServiceStep, desired_count
from .step6_discovery import DISCOVERY, DiscoveryStep

__all__ = ["DISCOVERY", "discovery_step", "poller_for", "scaling_steps", "steps_for"]


def poller_for(lab: Lab, target: Target) -> ServicePoller:
    """The poller that all steps share."""
    return ServicePoller(target, lab.name, service_names(lab, target))


def steps_for(lab: Lab, target: Target, poller: ServicePoller | None = None, *, wait: bool = True) -> list[Step]:
    """One step for each resource of the lab, in order.

    Without `wait`, the config's services are only requested, and nobody asks Consul. What other steps need, such as the
    stack and the target's system services, is awaited in any case.
    """
    poller = poller or poller_for(lab, target)
    system_images, system_tasks, system_services = registrator_steps(lab, target, poller)
    images = [images_of(service, target, lab.base_image) for service in lab.services]
    built = [image for one in images for image in one.values() if isinstance(image, ImageStep)]
    tasks = [_task(lab, s, image, target) for s, image in zip(lab.services, images, strict=True)]
    pairs = zip(lab.services, tasks, strict=True)
    services = [ServiceStep(lab, service, task, target, poller, wait=wait) for service, task in pairs]
    services += system_services
    # without system services, whoever registers services gets its token together with its Consul
    security = [ConsulSecurityStep(lab, target, [step.name for step in system_services])] if system_services else []
    last: list[Step] = [*services, *security]
    return [
        PrerequisitesStep(target),
        ClusterStep(lab, target),
        StackStep(lab, target),
        *([CapacityProviderStep(lab, target)] if strategy_of(lab) else []),
        *access_steps(lab, target),
        *built,
        *system_images,
        *tasks,
        *system_tasks,
        *last,
        *([discovery_step(lab, target, needs=("stack", *(step.name for step in last)))] if wait else []),
    ]


def _task(
    lab: Lab, service: ServiceSpec, images: dict[str, ImageStep | ExternalImage], target: Target
) -> TaskDefinitionStep:
    task = TaskDefinitionStep(lab, service, images[service.name], target, images)
    for container, image in images.items():
        if isinstance(image, ImageStep):
            image.runs = partial(task.running_image, container)
    return task


def scaling_steps(lab: Lab, counts: dict[str, int], target: Target, *, wait: bool = True) -> list[Step]:
    """The steps of `scale`: the services with a new count, then, with `wait`, discovery for those alone."""
    poller = ServicePoller(target, lab.name)
    services = [service for service in lab.with_counts(counts).services if service.name in counts]
    steps: list[Step] = [ScaleStep(lab, service, target, poller, wait=wait) for service in services]
    if not wait:
        return steps
    scaled = structs.replace(lab, services=tuple(services))
    return [*steps, discovery_step(scaled, target, needs=tuple(step.name for step in steps))]


def discovery_step(
    lab: Lab, target: Target, needs: tuple[str, ...] = (), *, timeout: float | None = None
) -> DiscoveryStep:
    """Discovery of all services of the lab, under each name that they register.

    `timeout` in seconds, by default the target's.
    """
    passing: Counter[str] = Counter()
    owners: dict[str, str] = {}
    for service in lab.services:
        for port in service.registered:
            passing[str(port.name)] += desired_count(service)
            owners[str(port.name)] = service.name
    at_least = {name for name, owner in owners.items() if _is_daemon(lab, owner)}
    return DiscoveryStep(lab.name, passing, target, needs, timeout=timeout, owners=owners, at_least=at_least)


def _is_daemon(lab: Lab, name: str) -> bool:
    service = lab.service(name)
    return service is not None and service.is_daemon
