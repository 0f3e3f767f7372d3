"""Containers on a Docker engine that cannot remove one of them."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from requests.exceptions import ReadTimeout

from ecsconsul.region.runtimes.docker.bridge_network import LabNetwork
from ecsconsul.region.runtimes.docker.containers import DockerContainers
from ecsconsul.region.runtimes.interface import RunningContainer

TIMEOUT = 10.0


class Engine:
    """A Docker client whose request to remove the container `stuck` hangs until it is `given_up`."""

    def __init__(self) -> None:
        self.requested, self.given_up = threading.Event(), threading.Event()

    def create_container(self, *_: Any, name: str, **__: Any) -> dict[str, str]:
        return {"Id": f"{name}-000000000000"}

    def start(self, container: str) -> None:
        pass

    def create_host_config(self, **_: Any) -> dict[str, Any]:
        return {}

    create_networking_config = create_endpoint_config = lambda self, *_, **__: {}

    def inspect_container(self, container: str) -> dict[str, Any]:
        return {"Id": container, "Config": {"Env": []}, "NetworkSettings": {"Ports": {}}}

    def logs(self, *_: Any, **__: Any) -> Iterator[bytes]:
        return iter(())

    def remove_container(self, container: str, **_: Any) -> None:
        if container.startswith("stuck"):
            self.requested.set()
            self.given_up.wait(TIMEOUT)
            raise ReadTimeout("read timed out")


def task(name: str) -> Any:
    definition = {"family": "f", "revision": 1}
    names = {"id": name, "arn": "a", "cluster": "c", "task_definition": definition}
    return SimpleNamespace(**names, container_name=lambda container: f"{name}-{container}")


def test_container_that_cannot_be_removed_blocks_no_other_task(tmp_path: Path) -> None:
    engine: Any = Engine()
    network = LabNetwork("n", ipaddress.IPv4Network("172.18.0.0/16"), "127.0.0.1")
    runtime = DockerContainers(engine, network, {}, "/nowhere")
    instance: Any = SimpleNamespace(instance_id="i-1", address="127.0.0.2")

    def start(name: str) -> RunningContainer:
        return runtime.start(task(name), {"name": "c", "image": "i"}, instance, tmp_path / name, {})

    stuck_container, other = start("stuck"), start("other")
    with ThreadPoolExecutor() as pool:
        stuck = pool.submit(runtime.clean_up, "stuck", instance, [stuck_container])
        assert engine.requested.wait(TIMEOUT)
        try:
            pool.submit(runtime.clean_up, "other", instance, [other]).result(TIMEOUT / 2)
            pool.submit(start, "new").result(TIMEOUT / 2)
            assert not stuck.done()
        finally:
            engine.given_up.set()
        stuck.result(TIMEOUT)
