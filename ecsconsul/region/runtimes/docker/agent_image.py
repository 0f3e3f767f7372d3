"""Chooses the image for a region's Consul agents, and removes what a crashed region left on the engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ....docker.engine import Engine, client, labels
from ....errors import LabError

PULL_TIMEOUT = 900


def agent_image(url: str, bases: tuple[str, ...], binary: str, lab: str, root: Path, say: Callable[[str], None]) -> str:
    """A base image of the lab that can run the consul binary; pulls missing base images. Raises LabError."""
    from .consul_agents import check_binary  # with Docker's SDK, which `clear_left` rarely needs

    docker = client(url)
    engine = Engine(url)
    for image in bases:
        if not engine.has_image(image):
            say(f"pulling {image}")
            pull(url, image)
    errors = []
    for image in bases:
        try:
            check_binary(docker, image, binary, labels(lab, root))
        except LabError as error:
            errors.append(error)
        else:
            return image
    if errors:
        raise errors[0]
    raise LabError(
        "There is no image to run Consul agents on",
        why="no service of the lab has a base image",
        hint="run the tasks as processes: ecsconsul up --runtime processes",
    )


def pull(url: str, image: str) -> None:
    """Pull an image from its registry. Raises LabError."""
    from docker import APIClient
    from docker.errors import APIError
    from requests.exceptions import RequestException

    docker = APIClient(base_url=url, version="auto", timeout=PULL_TIMEOUT)
    # Without a tag the SDK pulls all tags.
    reference = image if ":" in image.rpartition("/")[2] or "@" in image else f"{image}:latest"
    try:
        for message in docker.pull(reference, stream=True, decode=True):
            if "error" in message:
                raise _pull_error(image, message["error"])
    except APIError as error:
        raise _pull_error(image, str(error.explanation)) from error
    except RequestException as error:
        raise _pull_error(image, str(error)) from error
    finally:
        docker.close()


def _pull_error(image: str, why: str) -> LabError:
    return LabError(
        "A base image cannot be pulled",
        where=image,
        why=why,
        hint="set another base_image in the config, or run the tasks as processes: --runtime processes",
    )


def clear_left(url: str, lab: str, root: Path, say: Callable[[str], None], *, images: bool) -> None:
    """Remove everything with the lab's labels; does nothing when no engine answers."""
    engine = Engine(url)
    if not engine.is_there():
        return
    leftovers = engine.left(lab, root)
    if leftovers.containers or leftovers.networks or leftovers.volumes or (images and leftovers.images):
        from .runtime import clear

        for name in leftovers.containers.values():
            say(f"removing container {name}")
        clear(client(url), leftovers, images=images)
