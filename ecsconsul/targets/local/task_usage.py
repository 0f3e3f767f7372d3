"""Measures what tasks on this machine use: by their processes, or by the Docker engine's statistics."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import psutil

from ...errors import LabError
from ...observe.states import Container, Task
from ...observe.usage import Usage, Used, cpu_of, memory_of
from ...region.runtimes.lab_dir import DOCKER, RegionInfo

# the engine measures each container for a second; this many at a time
MEASURED_AT_ONCE = 32
Containers = Sequence[tuple[Task, Container]]


def measure(info: RegionInfo, containers: Containers, seconds: float) -> list[Usage]:
    """What each container uses, its CPU over that many seconds (with Docker, over one second). Raises LabError."""
    used = _of_engine(info.engine, containers) if info.runtime == DOCKER else _of_processes(containers, seconds)
    return [Usage(task, container, one) for (task, container), one in zip(containers, used, strict=True)]


def _of_processes(containers: Containers, seconds: float) -> list[Used | None]:
    """A container is a process with everything that it has started."""
    began = time.monotonic()
    before = [_seconds_and_bytes(int(one.runtime_id)) for _, one in containers]
    time.sleep(seconds)
    after = [_seconds_and_bytes(int(one.runtime_id)) for _, one in containers]
    passed = time.monotonic() - began
    # a child that has exited meanwhile takes its time with it
    return [
        Used(max(new[0] - old[0], 0.0) / passed, new[1]) if old and new else None
        for old, new in zip(before, after, strict=True)
    ]


def _seconds_and_bytes(pid: int) -> tuple[float, int] | None:
    """The CPU time of a process and its descendants, and their resident memory; None if it has exited."""
    try:
        main = psutil.Process(pid)
        found = [_of(one) for one in (main, *main.children(recursive=True))]
    except psutil.Error:
        return None
    return sum(cpu for cpu, _ in found), sum(memory for _, memory in found)


def _of(process: psutil.Process) -> tuple[float, int]:
    try:
        times = process.cpu_times()
        return times.user + times.system, int(process.memory_info().rss)
    except psutil.Error:
        return 0.0, 0


def _of_engine(url: str, containers: Containers) -> list[Used | None]:
    from docker.errors import APIError, DockerException

    from ...docker.engine import client

    docker = client(url)

    def one(runtime_id: str) -> Used | None:
        try:
            stats = docker.stats(runtime_id, stream=False)
        except APIError:
            return None
        if not (stats.get("memory_stats") or {}).get("usage"):
            # it has just stopped
            return None
        return Used(cpu_of(stats["precpu_stats"], stats["cpu_stats"]), memory_of(stats["memory_stats"]))

    try:
        with ThreadPoolExecutor(MEASURED_AT_ONCE) as pool:
            return list(pool.map(one, [container.runtime_id for _, container in containers]))
    except (DockerException, OSError) as error:
        raise LabError("The Docker engine doesn't tell what tasks use", where=url, why=str(error)) from error
    finally:
        docker.close()
