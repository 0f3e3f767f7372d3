"""The Registrator, where the target does not register tasks by itself: one on each instance, by the services' steps."""

from __future__ import annotations

from typing import Any

from ..config.lab import Lab, ServiceSpec
from ..errors import LabError
from ..paths import registrator_source
from ..targets.base import Target
from .prerequisites import PrerequisitesStep
from .service_poller import ServicePoller
from .step3_images import ImageStep
from .step4_task_definitions import Image, TaskDefinitionStep
from .step5_services import ServiceStep

REGISTRATOR = "registrator"
# the agent of the instance: both are in its network
CONSUL = "consul://127.0.0.1:8500"
SOCKET = "/var/run/docker.sock"
# resident it takes less than 80 MiB
CPU, MEMORY = 50, 128

# one at a time gives way to the next one: two would register the same tasks
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_services.html#service_scheduler_daemon
REPLACED = {"minimumHealthyPercent": 0, "maximumPercent": 100}


class ExternalImage:
    """An image that is somewhere already; what needs it can begin with the ground."""

    name = PrerequisitesStep.name

    def __init__(self, reference: str) -> None:
        self.reference = reference


class RegistratorTaskDefinitionStep(TaskDefinitionStep):
    """Its task definition: in the network of its instance, and with the socket of its Docker engine."""

    def running(self) -> dict[str, Any]:
        return {
            "networkMode": "host",
            "volumes": [{"name": "docker", "host": {"sourcePath": SOCKET}}],
        }

    def container(self) -> dict[str, Any]:
        # our own leaves the catalog as it is when it gives way to the next one; others have no such option
        own = [] if self._lab.aws.registrator.image else ["-on-exit", "keep"]
        return {
            "name": REGISTRATOR,
            "image": self.image,
            "cpu": CPU,
            "memory": MEMORY,
            "essential": True,
            "command": ["-cleanup", "-resync", "60", "-retry-attempts", "-1", *own, CONSUL],
            "environment": [{"name": "DOCKER_HOST", "value": f"unix://{SOCKET}"}],
            "mountPoints": [{"sourceVolume": "docker", "containerPath": SOCKET, "readOnly": True}],
        }


class RegistratorServiceStep(ServiceStep):
    """Its ECS service: a DAEMON, which ECS starts on each instance that joins."""

    def blockers(self) -> list[LabError]:
        if self._lab.service(REGISTRATOR) is None:
            return []
        return [
            LabError(
                f"The name {REGISTRATOR} is taken by the lab's own Registrator",
                where=f"service {REGISTRATOR}",
                hint="give the service another name in the config",
            )
        ]

    def scheduling(self) -> dict[str, Any]:
        return {"deploymentConfiguration": REPLACED}

    def placing(self) -> dict[str, Any]:
        return {"schedulingStrategy": "DAEMON"}


def service_names(lab: Lab, target: Target) -> list[str]:
    """The names of all ECS services that the lab has there."""
    return [*(service.name for service in lab.services), *([] if target.registers_itself else [REGISTRATOR])]


RegistratorSteps = tuple[list[ImageStep], list[TaskDefinitionStep], list[ServiceStep]]


def registrator_steps(lab: Lab, target: Target, watch: ServicePoller) -> RegistratorSteps:
    """Its image, task definition and service: none where it is not needed, no image where the config names one."""
    if target.registers_itself:
        return [], [], []
    spec = ServiceSpec(name=REGISTRATOR, path=str(registrator_source()))
    given = lab.aws.registrator.image
    own = None if given else ImageStep(spec, target, lab.base_image)
    image: Image = own or ExternalImage(str(given))
    task = RegistratorTaskDefinitionStep(lab, spec, image, target)
    return [own] if own else [], [task], [RegistratorServiceStep(lab, spec, task, target, watch)]
