"""The volumes of tasks as volumes of the Docker engine, which keeps their files whatever user writes them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any

from docker import APIClient
from docker.errors import APIError
from requests.exceptions import RequestException

from ...ecs.model import Task
from ..volumes import mounts

log = logging.getLogger(__name__)


class TaskVolumes:
    """Creates volumes with a lab's labels, and removes those that a task had for itself."""

    def __init__(self, docker: APIClient, labels: Mapping[str, str]) -> None:
        self._docker = docker
        self._labels = dict(labels)
        self._of_tasks: dict[str, set[str]] = {}
        self._lock = threading.Lock()

    def create(self, task: Task, definition: Mapping[str, Any], instance: str) -> list[str]:
        """Create the volumes that a container mounts; returns Docker's binds. Raises docker.errors.APIError."""
        if not (definition.get("mountPoints") or definition.get("volumesFrom")):
            return []
        found = mounts(task.id, task.task_definition, definition, instance)
        binds = []
        for one in found:
            name = self._name(one.volume.name)
            # Docker answers with the volume of that name if there is one.
            self._docker.create_volume(name, labels=self._labels)
            if one.volume.task:
                with self._lock:
                    self._of_tasks.setdefault(task.id, set()).add(name)
            options = [*(["ro"] if one.read_only else []), *([] if one.volume.starts_with_image else ["nocopy"])]
            binds.append(":".join([name, one.path, ",".join(options) or "rw"]))
        return binds

    def remove(self, task_id: str) -> None:
        """Remove the volumes of a task that has stopped; those that can't be removed go with the lab."""
        with self._lock:
            names = self._of_tasks.pop(task_id, set())
        for name in names:
            try:
                self._docker.remove_volume(name)
            except (APIError, RequestException) as error:
                log.warning("volume %s was not removed yet: %s", name, error)

    def _name(self, volume: str) -> str:
        """Labs of one engine have volumes of their own."""
        lab = "-".join(self._labels.values()).strip("/").replace("/", "-")
        return f"{lab}-{volume}" if lab else volume
