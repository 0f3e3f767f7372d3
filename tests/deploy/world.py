"""Two small AWS regions for the steps, and a target that leads into one of them and counts what is asked of it.

`plain` is moto's own server; `region` is the local region's AWS API in front of it, with an agent that runs every
task at once and well, so that ECS services can be walked as well.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from werkzeug.serving import BaseWSGIServer, make_server

from ecsconsul.config.lab import Lab
from ecsconsul.deploy.step import SubResource
from ecsconsul.errors import LabError, TargetAbsent, Unreachable
from ecsconsul.region.aws_api import AwsApi
from ecsconsul.region.ecs.model import RUNNING, STOPPED, ContainerInstance
from ecsconsul.region.ecs.state import Ecs
from ecsconsul.region.moto import Moto
from ecsconsul.targets.base import ConsulAddress, Finding, LogLine, PollingPolicy, RuntimeInfo, Say, failed

REGION = "us-east-1"
READ_ONLY = ("Describe", "List", "Get")


@dataclass
class MemoryImages:
    """Images that are published by being remembered."""

    published: dict[str, list[str]] = field(default_factory=dict)
    away: bool = False

    def reference(self, service: str, tag: str) -> str:
        return f"registry.example/{service}:{tag}"

    def tags(self, service: str) -> list[str]:
        if self.away:
            raise Unreachable("The registry does not answer", where="registry.example", why="time-out")
        return list(self.published.get(service, []))

    def publish(self, service: str, tag: str, source: Path, build_args: Mapping[str, str], say: Say) -> None:
        say(f"publishing {tag}")
        self.published.setdefault(service, []).append(tag)

    def delete(self, service: str) -> None:
        self.published.pop(service, None)


@dataclass
class WorldTarget:
    """A target whose AWS API answers at `endpoint`; None: the world does not exist (yet).

    `asked` are the operations in order, `given` clients that stand in for those of the endpoint.
    """

    endpoint: str | None
    consul_address: ConsulAddress | None = None
    name: str = "world"
    region: str = REGION
    runtime_info: RuntimeInfo | None = None
    registers_itself: bool = True
    patience: PollingPolicy = field(default_factory=lambda: PollingPolicy(delay=0.0, attempts=20))
    images: MemoryImages = field(default_factory=MemoryImages)
    logs: list[LogLine] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    given: dict[str, Any] = field(default_factory=dict)
    against: list[LabError] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def client(self, service: str) -> Any:
        if self.endpoint is None and service not in self.given:
            raise TargetAbsent("there is no such world")
        with self.lock:
            if service not in self.given:
                self.given[service] = client(service, str(self.endpoint))
                self.given[service].meta.events.register("before-call", self._note)
            return self.given[service]

    def _note(self, model: Any, **_: Any) -> None:
        self.asked.append(model.name)

    def writes(self) -> list[str]:
        """The operations that were asked for and may have changed something."""
        return [name for name in self.asked if not name.startswith(READ_ONLY)]

    def counted(self) -> Counter[str]:
        return Counter(self.asked)

    def blockers(self, lab: Lab) -> list[LabError]:
        return list(self.against)

    def diagnostics(self, lab: Lab) -> list[Finding]:
        return [failed("world", error) for error in self.against]

    def confirmation(self, lab: Lab) -> str | None:
        return None

    def log_configuration(self, lab: Lab, service_name: str) -> dict[str, Any] | None:
        return None

    def boot_log(self, instance_id: str, lines: int) -> list[str]:
        return []

    def ground(self) -> str | None:
        return f"world at {self.endpoint}" if self.endpoint else None

    def prepare(self, lab: Lab, say: Say) -> str:
        raise LabError("this world is made by the tests")

    def release(self, say: Say) -> None:
        self.endpoint = None

    def stack_parameters(self, lab: Lab) -> dict[str, str]:
        ec2 = self.client("ec2")
        vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        subnets = [subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]]
        return {"VpcId": vpc, "SubnetIds": ",".join(subnets)}

    @contextmanager
    def consul(self) -> Iterator[ConsulAddress]:
        if self.consul_address is None:
            raise TargetAbsent("there is no Consul")
        yield self.consul_address

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        yield

    def last_lines(self, service: str, lines: int, task: str | None = None) -> list[LogLine]:
        return [line for line in self.logs if task is None or line.task == task[:8]][-lines:]

    def follow(self, service: str, lines: int) -> Iterator[LogLine]:
        yield from self.logs

    def portal_url(self, lab: Lab) -> str | None:
        return None

    def environment(self) -> Mapping[str, str]:
        return {}

    def leftovers(self, lab: Lab) -> list[str]:
        return []

    def kept(self) -> list[str]:
        return []


@dataclass
class Said:
    """A step's report that keeps what was said, and lets no time pass."""

    texts: list[str] = field(default_factory=list)
    parts: list[SubResource] = field(default_factory=list)
    left: str = ""

    def say(self, text: str) -> None:
        self.texts.append(text)

    def part(self, part: SubResource) -> None:
        self.parts.append(part)

    def under_way(self, text: str) -> None:
        self.left = text

    def pause(self, seconds: float) -> None:
        pass


def client(service: str, endpoint: str) -> Any:
    """An AWS client of the endpoint, as a user's own would be."""
    config = Config(proxies={}, connect_timeout=2, read_timeout=20, retries={"total_max_attempts": 1})
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=config,
    )


class Runtime:
    """moto and the local region's AWS API before it, each at an address; empty again after `reset`."""

    # how long tasks take from their deployment until they run
    start_seconds = 0.0

    def __init__(self) -> None:
        ids = itertools.count(1)
        self.moto = Moto(REGION, lambda: f"i-{next(ids):017x}")
        self._region = ProxyApp()
        self._plain = ProxyApp()
        self._servers = [serve(self._region), serve(self._plain)]
        self.reset()

    def reset(self) -> None:
        """Forget everything that was made."""
        from moto import backends

        # not BackendDict.reset(), after which the region would hold backends that nobody else has
        for name in ("ecs", "ec2", "cloudformation", "iam", "autoscaling", "logs"):
            for regions in backends.get_backend(name).values():  # type: ignore[call-overload]
                regions.reset()
        self.ecs = Ecs(self.moto)  # type: ignore[arg-type]
        api = AwsApi(self.moto, self.ecs, lambda: None)

        def region(environ: dict[str, Any], start_response: Any) -> Any:
            run_all_tasks(self.ecs, self.start_seconds)
            return api(environ, start_response)

        self._region.application = region
        self._plain.application = self.moto.application

    def endpoint(self, kind: str) -> str:
        server = self._servers[0 if kind == "region" else 1]
        return f"http://127.0.0.1:{server.server_port}"

    def add_instance(self, cluster: str, cpu: int = 2048, memory: int = 2048) -> None:
        """A container instance on which tasks find a place."""
        with self.ecs.lock:
            arn = self.ecs.arn("container-instance", cluster, "0" * 31 + "1")
            self.ecs.add_instance(ContainerInstance("i-1", arn, cluster, "127.0.0.1", cpu, memory))

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


class ProxyApp:
    """A WSGI application that can be exchanged while its server runs."""

    application: Any = None

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        return self.application(environ, start_response)


def serve(application: Any) -> BaseWSGIServer:
    """A running server on a free port of loopback, without a line for each request."""
    from werkzeug.serving import WSGIRequestHandler

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_request(self, *_: object) -> None:
            pass

    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Quiet)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


def run_all_tasks(ecs: Ecs, after: float = 0.0) -> None:
    """What an agent does, if all tasks took so long: each service has as many as it wants, of its newest definition."""
    with ecs.lock:
        for service in ecs.services():
            if service.primary.rollout_state == "FAILED" or time.time() - service.primary.created_at < after:
                continue
            tasks = [task for task in ecs.tasks_of_service(service) if task.last_status == RUNNING]
            old = [task for task in tasks if task.deployment_id != service.primary.id]
            mine = [task for task in tasks if task.deployment_id == service.primary.id]
            for task in [*old, *mine[service.desired :]]:
                task.last_status = task.desired_status = STOPPED
            for _ in range(service.desired - len(mine)):
                task = ecs.add_task(
                    service.cluster,
                    service.primary.task_definition,
                    f"service:{service.name}",
                    overrides={},
                    service=service,
                )
                assert not hasattr(task, "reason"), "give the cluster an instance with more room"
                task.last_status = RUNNING  # type: ignore[union-attr]
            service.primary.rollout_state = "COMPLETED"
            service.deployments = [service.primary]
            if service.status == "DRAINING":
                ecs.retire(service)
