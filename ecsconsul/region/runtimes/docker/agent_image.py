"""What a lab in containers needs before its region starts, and what a region that crashed has left on the engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ....docker.engine import Engine, client, labels
from ....errors import LabError
from .consul_agents import check_binary

PULL_SECONDS = 900


def agent_image(url: str, bases: tuple[str, ...], binary: str, lab: str, home: Path, say: Callable[[str], None]) -> str:
    """A base image of the lab on which the consul binary runs; the bases are pulled if need be. Raises LabError."""
    docker = client(url)
    engine = Engine(url)
    for image in bases:
        if not engine.has_image(image):
            say(f"pulling {image}")
            pull(url, image)
    refusals = []
    for image in bases:
        try:
            check_binary(docker, image, binary, labels(lab, home))
        except LabError as error:
            refusals.append(error)
        else:
            return image
    if refusals:
        raise refusals[0]
    raise LabError(
        "There is no image on which Consul's agents could run",
        why="no service of the lab builds upon one",
        hint="run the tasks as processes: ecsconsul up --runtime processes",
    )


def pull(url: str, image: str) -> None:
    """Fetch an image from its registry. Raises LabError."""
    from docker import APIClient
    from docker.errors import APIError
    from requests.exceptions import RequestException

    docker = APIClient(base_url=url, version="auto", timeout=PULL_SECONDS)
    # without a tag the SDK would fetch all of them
    reference = image if ":" in image.rpartition("/")[2] or "@" in image else f"{image}:latest"
    try:
        for message in docker.pull(reference, stream=True, decode=True):
            if "error" in message:
                raise _not_pulled(image, message["error"])
    except APIError as error:
        raise _not_pulled(image, str(error.explanation)) from error
    except RequestException as error:
        raise _not_pulled(image, str(error)) from error
    finally:
        docker.close()


def _not_pulled(image: str, why: str) -> LabError:
    return LabError(
        "A base image cannot be pulled",
        where=image,
        why=why,
        hint="give another one as base_image in the config, or run the tasks as processes: --runtime processes",
    )


def clear_left(url: str, lab: str, home: Path, say: Callable[[str], None], *, images: bool) -> None:
    """Remove what bears the lab's labels; nothing where no engine answers."""
    engine = Engine(url)
    if not engine.is_there():
        return
    left = engine.left(lab, home)
    if left.containers or left.networks or (images and left.images):
        from .runtime import clear

        for name in left.containers.values():
            say(f"removing container {name}")
        clear(client(url), left, images=images)
