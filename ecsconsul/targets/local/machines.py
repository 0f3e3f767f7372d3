"""What a game day may do to the tasks and Consul agents of a lab on this machine: kill them, or stop their clocks."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...errors import LabError
from ...region.runtimes.lab_dir import DOCKER, LabDir, RegionInfo
from ..machine import Machine


def machine_of(home: LabDir, info: RegionInfo) -> Machine:
    """The machine of a running lab."""
    if info.runtime != DOCKER:
        return ProcessMachine(home.root)
    from ...docker.engine import INSTANCE_LABEL, client, labels

    return DockerMachine(client(info.engine), labels(home.lab, home.root), INSTANCE_LABEL)


class ProcessMachine:
    """Tasks and agents as processes."""

    def __init__(self, root: Path) -> None:
        """`root` is the lab's folder: only processes that belong to it are touched."""
        self._root = root

    def kill_task(self, runtime_id: str) -> None:
        _signal_group(self._own(runtime_id), signal.SIGKILL)

    def freeze_task(self, runtime_id: str) -> Callable[[], None]:
        pid = self._own(runtime_id)
        _signal_group(pid, signal.SIGSTOP)
        return lambda: _signal_group(pid, signal.SIGCONT)

    def agents(self) -> Mapping[str, str]:
        """The process of each node's agent, by node: its configuration lies in the instance's folder."""
        from ...region.runtimes.lab_processes import find_leftovers

        found = {}
        for process in find_leftovers(self._root):
            with suppress(_gone()):
                words = process.cmdline()
                if words[1:2] == ["agent"] and "-config-file" in words:
                    node = Path(words[words.index("-config-file") + 1]).parent.name
                    found[node] = str(process.pid)
        return found

    def kill_agent(self, node: str) -> None:
        _signal(self._agent(node), signal.SIGKILL)

    def freeze_agent(self, node: str) -> Callable[[], None]:
        pid = self._agent(node)
        _signal(pid, signal.SIGSTOP)
        return lambda: _signal(pid, signal.SIGCONT)

    def _agent(self, node: str) -> int:
        agents = self.agents()
        if node not in agents:
            raise LabError(f"The Consul agent of {node} isn't running")
        return int(agents[node])

    def _own(self, runtime_id: str) -> int:
        from ...region.runtimes.lab_processes import find_leftovers

        if not runtime_id.isdecimal() or int(runtime_id) not in {one.pid for one in find_leftovers(self._root)}:
            raise LabError(f"Process {runtime_id} isn't one of the lab's")
        return int(runtime_id)


class DockerMachine:
    """Tasks and agents as containers of this lab."""

    def __init__(self, docker: Any, labels: Mapping[str, str], instance_label: str) -> None:
        self._docker = docker
        self._labels = [f"{name}={value}" for name, value in labels.items()]
        self._instance_label = instance_label

    def kill_task(self, runtime_id: str) -> None:
        self._docker.kill(self._own(runtime_id))

    def freeze_task(self, runtime_id: str) -> Callable[[], None]:
        container = self._own(runtime_id)
        self._docker.pause(container)
        return lambda: self._unpause(container)

    def agents(self) -> Mapping[str, str]:
        """When each node's agent was started, by node."""
        wanted = {"label": [*self._labels, "SERVICE_IGNORE=true"], "status": ["running"]}
        containers = self._docker.containers(filters=wanted)
        return {
            one["Labels"][self._instance_label]: str(self._docker.inspect_container(one["Id"])["State"]["StartedAt"])
            for one in containers
            if self._instance_label in one["Labels"]
        }

    def kill_agent(self, node: str) -> None:
        self._docker.kill(self._agent(node)["Id"])

    def freeze_agent(self, node: str) -> Callable[[], None]:
        container = self._agent(node)["Id"]
        self._docker.pause(container)
        return lambda: self._unpause(container)

    def _unpause(self, container: str) -> None:
        from docker.errors import APIError, NotFound

        # gone, or no longer paused: ECS has replaced the task meanwhile
        with suppress(NotFound):
            try:
                self._docker.unpause(container)
            except APIError:
                if self._docker.inspect_container(container)["State"]["Paused"]:
                    raise

    def _agent(self, node: str) -> Any:
        wanted = {"label": [*self._labels, "SERVICE_IGNORE=true", f"{self._instance_label}={node}"]}
        containers = self._docker.containers(filters=wanted)
        if not containers:
            raise LabError(f"The Consul agent of {node} isn't running")
        return self._docker.inspect_container(containers[0]["Id"])

    def _own(self, runtime_id: str) -> str:
        if not runtime_id or not self._docker.containers(filters={"id": runtime_id, "label": self._labels}):
            raise LabError(f"Container {runtime_id[:12]} isn't one of the lab's")
        return runtime_id


def _gone() -> type[Exception]:
    import psutil

    return psutil.Error


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, number)
