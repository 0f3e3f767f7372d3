"""A region over HTTP on loopback: real moto, the real API and control loop, with fake containers."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from ecsconsul.consul.lab_secrets import new_secrets
from ecsconsul.region.api_server import ApiServer
from ecsconsul.region.aws_api import AwsApi
from ecsconsul.region.consul_acl import ConsulAcl
from ecsconsul.region.control_loop import ControlLoop
from ecsconsul.region.ecs.model import ContainerInstance
from ecsconsul.region.ecs.state import Ecs
from ecsconsul.region.ecs_changes import EcsChanges
from ecsconsul.region.logs_api import LogsApi
from ecsconsul.region.moto import Moto
from ecsconsul.region.replays import UsedSignatures
from ecsconsul.region.request_auth import RequestAuth
from ecsconsul.region.request_guard import RequestGuard
from ecsconsul.region.runtimes.interface import Ec2Instance
from ecsconsul.region.runtimes.lab_dir import AccessKey, LabDir
from tests.region.fakes import FakeContainers, ec2_instance


class ApiRegion:
    """Serves until `close`. `instances_changed` counts how often EC2's instances may have changed."""

    def __init__(self, moto: Moto, lab_dir: LabDir) -> None:
        self.moto = moto
        self.lab_dir = lab_dir
        self.ecs = Ecs(moto)
        self.runtime = FakeContainers()
        self.loop = ControlLoop(self.ecs, self.runtime, lab_dir, ConsulAcl(new_secrets("lab")), "")
        self.changes = EcsChanges(self.ecs, self.loop)
        self.loop.start()
        self.instances_changed = 0
        self.instances: dict[str, Ec2Instance] = {}
        self.key = AccessKey.random()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.port = listening.getsockname()[1]
            auth = RequestAuth(self.key, moto.region, moto.serves)
            logs = LogsApi(lab_dir, self.ecs, moto.has_log_group)
            aws_api = AwsApi(moto, self.ecs, self._count, self.changes, logs)
            guard = RequestGuard(aws_api, auth, UsedSignatures(), self.port)
            self._server = ApiServer(guard, listening)
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def client(self, service: str, region: str = "", key: AccessKey | None = None) -> Any:
        """A client with the lab's key, or with another one."""
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=region or self.moto.region,
            aws_access_key_id=(key or self.key).id,
            aws_secret_access_key=(key or self.key).secret,
            config=Config(proxies={}, retries={"total_max_attempts": 1}, read_timeout=60),
        )

    def add_instance(self, folder: Path, cluster: str, instance_id: str) -> None:
        arn = self.ecs.arn("container-instance", cluster, instance_id.removeprefix("i-").zfill(32))
        one = ContainerInstance(instance_id, arn, cluster, "127.0.0.1", 2048, 4096)
        self.instances[instance_id] = ec2_instance(folder, instance_id)
        self.loop.add_instance(self.instances[instance_id], one)

    def remove_instance(self, instance_id: str) -> None:
        self.loop.remove_instance(self.instances.pop(instance_id))

    def close(self) -> None:
        self.changes.close()
        self.runtime.close()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self.loop.close()

    def _count(self) -> None:
        self.instances_changed += 1
