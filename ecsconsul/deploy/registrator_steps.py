"""The Registrator as a system service of the lab: one task on each instance, created by the steps of any service."""

from __future__ import annotations

from typing import Any

from ..config.lab import Lab, ServiceSpec
from ..errors import LabError
from ..paths import registrator_source
from ..targets.base import Target
from .revision import Image
from .service_poller import ServicePoller
from .step3_images import ExternalImage, ImageStep
from .step4_task_definitions import TaskDefinitionStep, with_secrets
from .step5_services import ServiceStep

REGISTRATOR = "registrator"
# the Consul agent of the instance, whose network the task shares
CONSUL = "consul://127.0.0.1:8500"
SOCKET = "/var/run/docker.sock"
# its resident memory stays below 80 MiB
CPU, MEMORY = 50, 128


class RegistratorTaskDefinitionStep(TaskDefinitionStep):
    """Its task definition: in the instance's network, with access to the socket of the Docker engine."""

    def task(self) -> dict[str, Any]:
        return {"networkMode": "host", "volumes": [{"name": "docker", "host": {"sourcePath": SOCKET}}]}

    def containers(self) -> list[dict[str, Any]]:
        logs = self._target.log_configuration(REGISTRATOR)
        logging = {"logConfiguration": logs} if logs else {}
        return [{**with_secrets(self.container(), self._secrets), **logging}]

    def container(self) -> dict[str, Any]:
        """The only container definition."""
        # ours can leave the catalog untouched when it is replaced; other Registrators have no such option
        on_exit = [] if self._lab.aws.registrator.image else ["-on-exit", "keep"]
        return {
            "name": REGISTRATOR,
            "image": self.image,
            "cpu": CPU,
            "memory": MEMORY,
            "essential": True,
            "command": ["-cleanup", "-resync", "60", "-retry-attempts", "-1", *on_exit, CONSUL],
            "environment": [{"name": "DOCKER_HOST", "value": f"unix://{SOCKET}"}],
            "mountPoints": [{"sourceVolume": "docker", "containerPath": SOCKET, "readOnly": True}],
        }


class RegistratorServiceStep(ServiceStep):
    """Its ECS service: a daemon, so that two Registrators never register the same containers."""

    def blockers(self) -> list[LabError]:
        if self._lab.service(REGISTRATOR) is None:
            return []
        return [
            LabError(
                f"The name {REGISTRATOR} is reserved for the lab's own Registrator",
                where=f"service {REGISTRATOR}",
                hint="give the service another name in the config",
            )
        ]


def service_names(lab: Lab, target: Target) -> list[str]:
    """The names of all ECS services of the lab: those of the config, then the target's system services."""
    return [*(service.name for service in lab.services), *target.system_services]


RegistratorSteps = tuple[list[ImageStep], list[TaskDefinitionStep], list[ServiceStep]]


def registrator_steps(lab: Lab, target: Target, poller: ServicePoller) -> RegistratorSteps:
    """The steps for its image, task definition and service; no image step where the config names an image."""
    system_services = target.system_services
    if REGISTRATOR not in system_services:
        return [], [], []
    spec = ServiceSpec(name=REGISTRATOR, path=str(registrator_source()), schedule="daemon")
    external = lab.aws.registrator.image
    built = None if external else ImageStep(spec, target, lab.base_image)
    image: Image = built or ExternalImage(str(external))
    task = RegistratorTaskDefinitionStep(lab, spec, image, target)
    if built:
        built.runs = task.running_image
    return [built] if built else [], [task], [RegistratorServiceStep(lab, spec, task, target, poller)]
