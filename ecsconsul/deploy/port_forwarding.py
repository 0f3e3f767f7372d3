"""Finds the instances of a service to which `port-forward` may join a connection: those that pass in Consul."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from ..config.container_spec import PortSpec
from ..config.lab import Lab, ServiceSpec
from ..consul.catalog import Consul, Instance
from ..errors import LabError, NameNotFound, Unreachable, WrongUsage
from ..targets.base import Target
from .endpoints import Endpoint, endpoints_of

# a free local port
ANY_PORT = 0
MOST_PORT = 65535


@dataclass(frozen=True)
class Request:
    """What the words SERVICE [[LOCAL:]PORT] ask for: the port here, and the port of the service."""

    local: int
    port: PortSpec

    @property
    def name(self) -> str:
        """The name in Consul."""
        return str(self.port.name)


def parse(service: ServiceSpec, text: str) -> Request:
    """Read [LOCAL:]PORT; PORT is a container port or a name in Consul, by default the first. Raises WrongUsage.

    >>> parse(ServiceSpec(name="weather", path="."), "8080:").local
    8080
    """
    local, colon, port = text.rpartition(":")
    if not colon:
        return Request(ANY_PORT, _port_of(service, port))
    if local and not (local.isdecimal() and int(local) <= MOST_PORT):
        hint = f"ecsconsul port-forward {service.name} 8080:{service.port}"
        raise WrongUsage(f"{local!r} isn't a port", why=f"a port is from 0 to {MOST_PORT}", hint=hint)
    return Request(int(local or ANY_PORT), _port_of(service, port))


def _port_of(service: ServiceSpec, text: str) -> PortSpec:
    known = [port for port in service.registered if port.protocol == "tcp"]
    if not known:
        raise WrongUsage(
            f"{service.name} has no TCP port in Consul",
            where=f"service {service.name}",
            why="port-forward asks Consul where its tasks are, and carries TCP only",
            hint="give it a port in the config, and don't set `register: false`",
        )
    if not text:
        return known[0]
    found = next((port for port in known if text in (str(port.port), port.name)), None)
    if found is None:
        names = [str(port.name) for port in known]
        close = get_close_matches(text, names, n=1)
        ports = ", ".join(f"{port.port} ({port.name})" for port in known)
        hint = f"it has: {ports}" + (f"; did you mean {close[0]}?" if close else "")
        raise WrongUsage(f"{service.name} has no port {text}", where=f"service {service.name}", hint=hint)
    return found


def task_of(lab: Lab, service: str, prefix: str, target: Target) -> Endpoint:
    """The running task of the service whose ID starts like this. Raises WrongUsage."""
    running = [one for one in endpoints_of(target.client("ecs"), lab.name) if one.service == service]
    found = [one for one in running if one.task.startswith(prefix)]
    if len(found) != 1:
        what = "Several tasks match" if found else f"{service} has no running task"
        known = ", ".join(one.task[:8] for one in running) or "none"
        raise WrongUsage(f"{what} {prefix}", where=f"service {service}", hint=f"running: {known}")
    return found[0]


class PassingInstances:
    """Asks Consul for the instances of a name, over one access that is opened again when it breaks.

    With a `task`, only its own instances count.
    """

    def __init__(
        self,
        name: str,
        target: Target,
        task: Endpoint | None = None,
    ) -> None:
        self._name = name
        self._target = target
        self._task = task
        self._access = contextlib.ExitStack()
        self._consul: Consul | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> PassingInstances:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def endpoints(self) -> Sequence[tuple[str, int]]:
        """Where they listen, in random order as in DNS. Raises NameNotFound if there is none, and Unreachable."""
        found = [one for one in self._passing() if self._task is None or self._task.has(one)]
        if not found:
            raise self._none()
        random.shuffle(found)
        return [(one.address, one.port) for one in found]

    def _passing(self) -> list[Instance]:
        with self._lock:
            if self._consul is not None:
                try:
                    return self._consul.passing(self._name)
                except Unreachable:
                    self._close()
            return self._opened().passing(self._name)

    def _opened(self) -> Consul:
        self._consul = self._access.enter_context(self._target.consul()).client()
        return self._consul

    def _close(self) -> None:
        self._consul = None
        # a tunnel that has broken says so as it is closed
        with contextlib.suppress(LabError):
            self._access.close()

    def _none(self) -> NameNotFound:
        if self._task:
            return NameNotFound(
                f"The task {self._task.task[:8]} isn't passing in Consul",
                where=self._name,
                why="it has stopped, or a check of it fails",
                hint="without --task, each connection goes to any instance that passes",
            )
        return NameNotFound(
            f"No instance of {self._name} is passing in Consul",
            hint=f"`ecsconsul why {self._name}` says what is wrong",
        )
