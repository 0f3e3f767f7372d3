"""Builds small snapshots for the tests of what is observed."""

from __future__ import annotations

from ecsconsul.consul.catalog import Member
from ecsconsul.observe.states import (
    RUNNING,
    STOPPED,
    ConsulState,
    Container,
    EcsState,
    Endpoint,
    Members,
    Service,
    ServiceEvent,
    Snapshot,
    Task,
)

NODE = "i-0a1b"
TASK_ID = "3f2a" + "0" * 28


def task(
    status: str = RUNNING, *, id: str = TASK_ID, port: int = 32768, code: int | None = None, **more: object
) -> Task:
    """A task of weather with one container."""
    container = Container("weather", status, (port,) if port else (), exit_code=code, cpu=100, memory=200)
    started = None if status == "PENDING" else 10.0
    given = {
        "id": id, "service": "weather", "node": NODE, "status": status, "revision": "lab-weather:1",
        "desired": STOPPED if status == STOPPED else RUNNING, "containers": (container,), "created": 9.0,
        "started": started,
    }  # fmt: skip
    return Task(**{**given, **more})  # type: ignore[arg-type]


def service(desired: int = 1, running: int = 1, *events: str, name: str = "weather", revision: int = 1) -> Service:
    """The service weather; the events are given newest first."""
    seen = tuple(ServiceEvent(text, 11.0, text) for text in events)
    return Service(name, desired, running, revision=f"lab-{name}:{revision}", rollout="COMPLETED", events=seen)


def endpoint(status: str = "passing", *, port: int = 32768, name: str = "weather", **more: object) -> Endpoint:
    """An instance of weather in Consul."""
    given = {"id": f"{NODE}:{name}:{port}", "node": NODE, "address": "127.0.9.2", "tags": ("http",)}
    return Endpoint(**{"service": name, "port": port, "status": status, **given, **more})  # type: ignore[arg-type]


def ecs(*tasks: Task, services: tuple[Service, ...] = (service(),), own_clock: bool = True) -> EcsState:
    return EcsState(1, tasks, services, own_clock)


def consul(*endpoints: Endpoint) -> ConsulState:
    return ConsulState(endpoints)


def members(*statuses: str, leader: str = "127.0.9.1:8300") -> Members:
    """Servers with these states."""
    return Members(tuple(Member(f"i-{n}", f"127.0.9.{n}", "server", s) for n, s in enumerate(statuses, 1)), leader)


def seen(time: float = 20.0, **parts: object) -> Snapshot:
    """A snapshot in which one task of weather runs and is passing."""
    whole = {"ecs": ecs(task()), "consul": consul(endpoint()), "members": members("alive")}
    return Snapshot(time, **{**whole, **parts})  # type: ignore[arg-type]
