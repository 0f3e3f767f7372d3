"""The lab's steps, in the order in which a person does them by hand; `down` walks the same list backwards."""

from __future__ import annotations

from msgspec import structs

from ..config.lab import Lab
from ..targets.base import Target
from .prerequisites import PrerequisitesStep
from .registrator_steps import registrator_steps, service_names
from .service_poller import ServicePoller
from .step import Step
from .step1_cluster import Cluster
from .step2_stack import Stack
from .step3_images import ImageStep
from .step4_task_definitions import TaskDefinitionStep
from .step5_services import ScaleStep, ServiceStep
from .step6_discovery import DISCOVERY, Discovery

__all__ = ["DISCOVERY", "poller_for", "scaling_steps", "steps_for"]


def poller_for(lab: Lab, target: Target) -> ServicePoller:
    """What looks at the ECS services for all steps."""
    return ServicePoller(target, lab.name, service_names(lab, target))


def steps_for(lab: Lab, target: Target, watch: ServicePoller | None = None) -> list[Step]:
    """THE ordered list: one step for each resource of the lab."""
    watch = watch or poller_for(lab, target)
    its_image, its_task, its_service = registrator_steps(lab, target, watch)
    images = [ImageStep(service, target, lab.base_image) for service in lab.services]
    tasks = [TaskDefinitionStep(lab, s, image, target) for s, image in zip(lab.services, images, strict=True)]
    services = [ServiceStep(lab, s, task, target, watch) for s, task in zip(lab.services, tasks, strict=True)]
    services += its_service
    return [
        PrerequisitesStep(lab, target),
        Cluster(lab, target),
        Stack(lab, target),
        *images,
        *its_image,
        *tasks,
        *its_task,
        *services,
        Discovery(lab, target, needs=("stack", *(service.name for service in services))),
    ]


def scaling_steps(lab: Lab, counts: dict[str, int], target: Target) -> list[Step]:
    """What `scale` walks: the services that get another count, and what Consul then sees of them."""
    watch = ServicePoller(target, lab.name)
    services = [service for service in lab.with_counts(counts).services if service.name in counts]
    steps = [ScaleStep(lab, service, target, watch) for service in services]
    only_those = structs.replace(lab, services=tuple(services))
    return [*steps, Discovery(only_those, target, needs=tuple(step.name for step in steps))]
