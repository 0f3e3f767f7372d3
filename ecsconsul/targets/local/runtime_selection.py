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
    """Docker if it is requested, or if it is ready to use. Read-only.

    Raises EngineUnusable when it is requested and can't be used, LabError for a Dockerfile that can't be read.
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
        return RuntimeSelection(PROCESSES, error.why)
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
        if lab.runtime == DOCKER:
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
    """The base images of the lab's services; first the one on which the first service runs. Raises LabError."""
    args = {"BASE": lab.base_image} if lab.base_image else {}
    per_service = [base_images(folder, args) for folder in _sources(lab)]
    return tuple(dict.fromkeys(image for bases in per_service for image in reversed(bases)))


def dockerfile_errors(lab: Lab) -> list[LabError]:
    """An error for each service whose Dockerfile can't run as a process."""
    errors = []
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
