"""Who looks up whom, as far as configuration tells: Consul's DNS keeps no record of who asks.

A service is said to look up another one if a variable of its containers, from the config or from the Dockerfile, names
it: as weather.service.consul anywhere in the value, or as the whole host (weather, weather:4567, http://weather/).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from ..config.lab import Lab, ServiceSpec
from ..errors import LabError

# https://developer.hashicorp.com/consul/docs/services/discovery/dns-static-lookups
_IN_CONSUL = re.compile(r"(?<![\w-])([a-z0-9][a-z0-9-]*)\.service\.(?:[a-z0-9-]+\.)?consul\b", re.IGNORECASE)
_HOST = re.compile(r"(?:[a-z][a-z0-9+.-]*://)?(?:[^@/]*@)?([a-z0-9][a-z0-9-]*)(?::\d+)?(?:/.*)?", re.IGNORECASE)


class Lookup(msgspec.Struct, frozen=True):
    """One service looks up another; `because` names the variables that say so, without their values."""

    caller: str
    service: str
    because: tuple[str, ...]


def lookups(lab: Lab, images: Mapping[str, Mapping[str, str]]) -> tuple[Lookup, ...]:
    """The lookups of a lab. `images` are the variables of the services' Dockerfiles."""
    owners = {name: service.name for service in lab.services for name in service.registered_names}
    found: dict[tuple[str, str], list[str]] = {}
    for service in lab.services:
        for variable, value in _variables(service, images.get(service.name, {})):
            for name in names_in(value):
                owner = owners.get(name)
                if owner and owner != service.name:
                    found.setdefault((service.name, owner), []).append(variable)
    return tuple(Lookup(caller, name, tuple(dict.fromkeys(why))) for (caller, name), why in found.items())


def names_in(value: str) -> list[str]:
    """The services that a variable's value may name.

    >>> names_in("http://weather.service.consul:4567/"), names_in("weather:4567"), names_in("two words")
    (['weather'], ['weather'], [])
    """
    named = [name.lower() for name in _IN_CONSUL.findall(value)]
    host = _HOST.fullmatch(value.strip())
    return named or ([host[1].lower()] if host else [])


def _variables(service: ServiceSpec, image: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Each variable with where it's from; the config's replace the image's."""
    for container in service.all_containers:
        for name, value in container.environment.items():
            yield f"{name} in the config", value
    own = service.all_containers[0].environment
    for name, value in image.items():
        if name not in own:
            yield f"{name} in the Dockerfile", value


def image_variables(lab: Lab) -> dict[str, Mapping[str, str]]:
    """The variables that each service's Dockerfile sets; none where it can't be read, as with an image that exists."""
    from ..docker.dockerfile import image_config

    found: dict[str, Mapping[str, str]] = {}
    for service in lab.services:
        if service.path and Path(service.path).is_dir():
            try:
                found[service.name] = image_config(Path(service.path)).environment
            except LabError:
                # `up` reports it, with its line
                found[service.name] = {}
    return found
