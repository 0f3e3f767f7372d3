"""Selects what a lab's tasks run as on this machine, containers or processes, and says why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...config.lab import Lab
from ...docker.dockerfile import base_images, image_config
from ...docker.engine import Engine, EngineUnusable, engine_url
from ...errors import LabError
from ...region.runtimes.lab_dir import DOCKER, PROCESSES, RegionSpec


@dataclass(frozen=True)
class RuntimeSelection:
    """The runtime, the reason for it, and for containers the engine and the base images."""

    runtime: str
    why: str
    engine: str = ""
    bases: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name shown to the user."""
        return "containers" if self.runtime == DOCKER else "processes"


def select_runtime(lab: Lab) -> RuntimeSelection:
    """Docker if it is requested, or if it is ready to use, or if a container's image exists already. Read-only.

    Raises EngineUnusable when it is requested and can't be used, LabError for a Dockerfile that can't be read, or where
    no engine can run images that exist.
    """
    if lab.runtime == PROCESSES:
        return RuntimeSelection(PROCESSES, "as requested")
    engine, bases = Engine(engine_url()), bases_of(lab)
    if lab.runtime == DOCKER:
        engine.check()
        return RuntimeSelection(DOCKER, "as requested", engine.url, bases)
    try:
        engine.check()
        missing = [image for image in bases if not engine.has_image(image)]
    except EngineUnusable as error:
        if found := image_errors(lab, error.why):
            raise found[0] from error
        return RuntimeSelection(PROCESSES, error.why)
    if ready := images_of(lab):
        return RuntimeSelection(DOCKER, f"{ready[0]} is an image that only containers can run", engine.url, bases)
    if missing:
        return RuntimeSelection(
            PROCESSES, f"the Docker engine has no {' and no '.join(missing)}, and would have to pull it"
        )
    return RuntimeSelection(DOCKER, "the Docker engine answers, and has the base images", engine.url, bases)


def with_agent_image(
    lab: Lab, selection: RuntimeSelection, binary: str, home: Path, say: Callable[[str], None]
) -> tuple[RuntimeSelection, str]:
    """The selection, and for containers the image for Consul's agents.

    If that image can't be built, falls back to processes, or raises LabError when containers are requested.
    """
    if selection.runtime == PROCESSES:
        return selection, ""
    from ...region.runtimes.docker.agent_image import agent_image

    try:
        return selection, agent_image(selection.engine, selection.bases, binary, lab.name, home, say)
    except LabError as error:
        if lab.runtime == DOCKER or images_of(lab):
            raise
        return RuntimeSelection(PROCESSES, str(error)), ""


def region_spec(lab: Lab, region: str, selection: RuntimeSelection, binary: str, image: str) -> RegionSpec:
    """What a new region is started with; `image` is that of Consul's agents, if tasks are containers."""
    from ...region.runtimes.addresses import must_share_address

    return RegionSpec(
        lab.name,
        region,
        binary,
        lab.consul.servers,
        must_share_address(),
        ecs_instances=lab.min_instances,
        runtime=selection.runtime,
        runtime_why=selection.why,
        engine=selection.engine,
        agent_image=image,
    )


def bases_of(lab: Lab) -> tuple[str, ...]:
    """The base images of the lab's services; first the one on which the first service runs. Raises LabError.

    Where nothing is built, Consul's agents need another image to run on: one of the services'.
    """
    args = {"BASE": lab.base_image} if lab.base_image else {}
    per_service = [base_images(folder, args) for folder in _sources(lab)]
    found = tuple(dict.fromkeys(image for bases in per_service for image in reversed(bases)))
    return found or (*args.values(), *images_of(lab))


def images_of(lab: Lab) -> tuple[str, ...]:
    """The images that exist already, each once."""
    containers = (container for service in lab.services for container in service.all_containers)
    return tuple(dict.fromkeys(container.image for container in containers if container.image))


def image_errors(lab: Lab, why: str) -> list[LabError]:
    """An error for each service with an image that exists already, where tasks can't be containers."""
    return [
        LabError(
            f"The image {container.image} can't run as a process",
            where=f"config, services.{service.name}" + (f".containers.{container.name}" if index else ""),
            why=f"only a Docker engine can run it, and {why}",
            hint="start Docker and run `ecsconsul up --runtime docker`, or set `path` to a folder with a Dockerfile"
            " instead of `image`",
        )
        for service in lab.services
        for index, container in enumerate(service.all_containers)
        if container.image
    ]


def process_errors(lab: Lab) -> list[LabError]:
    """An error for each container that can't be a process: for its image, or its Dockerfile."""
    errors = image_errors(lab, "the lab's tasks are processes")
    for folder in _sources(lab):
        try:
            image_config(folder)
        except LabError as error:
            errors.append(error)
    return errors


def _sources(lab: Lab) -> list[Path]:
    """The folders with Dockerfiles of the lab's containers."""
    containers = [container for service in lab.services for container in service.all_containers]
    return [Path(container.path) for container in containers if container.path]


def consul_binary(lab: Lab) -> tuple[str, list[LabError]]:
    """The consul binary of this machine for a lab, and what is wrong with it."""
    from ...consul.install import at_hand

    try:
        return at_hand(lab.consul.version), []
    except LabError as error:
        return "", [error]
