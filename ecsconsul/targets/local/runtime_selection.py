"""Decides what a lab's tasks run as on this machine: in containers or as processes, and says why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...config.lab import Lab
from ...docker.dockerfile import base_images
from ...docker.engine import Engine, EngineUnusable, engine_url
from ...errors import LabError
from ...region.runtimes.lab_dir import DOCKER, PROCESSES


@dataclass(frozen=True)
class RuntimeSelection:
    """What tasks run as, why, and for containers on which engine and upon which base images."""

    runtime: str
    why: str
    engine: str = ""
    bases: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """For people."""
        return "containers" if self.runtime == DOCKER else "processes"


def select_runtime(lab: Lab) -> RuntimeSelection:
    """Docker where it was asked for, or where nothing is in its way. Reads, and changes nothing.

    Raises EngineUnusable when it was asked for and cannot be, LabError for a Dockerfile that cannot be read.
    """
    if lab.runtime == PROCESSES:
        return RuntimeSelection(PROCESSES, "as told")
    engine, bases = Engine(engine_url()), bases_of(lab)
    if lab.runtime == DOCKER:
        engine.check()
        return RuntimeSelection(DOCKER, "as told", engine.url, bases)
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
    lab: Lab, choice: RuntimeSelection, binary: str, home: Path, say: Callable[[str], None]
) -> tuple[RuntimeSelection, str]:
    """The choice, and for containers the image on which Consul's agents run.

    Where that cannot be: processes, if nobody asked for containers. Raises LabError if somebody did.
    """
    if choice.runtime == PROCESSES:
        return choice, ""
    from ...region.runtimes.docker.agent_image import agent_image

    try:
        return choice, agent_image(choice.engine, choice.bases, binary, lab.name, home, say)
    except LabError as error:
        if lab.runtime == DOCKER:
            raise
        return RuntimeSelection(PROCESSES, str(error)), ""


def bases_of(lab: Lab) -> tuple[str, ...]:
    """The images that the lab's services build upon, that on which the first one runs first. Raises LabError."""
    args = {"BASE": lab.base_image} if lab.base_image else {}
    of_each = [base_images(Path(service.path), args) for service in lab.services]
    return tuple(dict.fromkeys(image for bases in of_each for image in reversed(bases)))
