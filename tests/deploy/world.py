"""Two small AWS regions for the steps, and a target that uses one of them and records its requests.

`plain` is moto's own server. `region` is the local region's AWS API in front of it, where every task starts at once,
so that services become stable.
"""

from __future__ import annotations

import gc
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from werkzeug.serving import BaseWSGIServer, make_server
from werkzeug.wrappers import Response

from ecsconsul.deploy.step import Change, SubResource
from ecsconsul.docker.source_files import source_files
from ecsconsul.errors import LabError, TargetAbsent, Unreachable
from ecsconsul.polling import PollingPolicy
from ecsconsul.region.aws_api import AwsApi
from ecsconsul.region.ecs.model import RUNNING, STOPPED, ContainerInstance
from ecsconsul.region.ecs.state import Ecs
from ecsconsul.region.moto import Moto
from ecsconsul.region.ping import PING_PATH
from ecsconsul.region.request_guard import SERVICE
from ecsconsul.targets.base import NO_SECRETS, ConsulAddress, LogLine, ResourceDrift, Say, TaskSecrets
from ecsconsul.targets.commands import Alarm, AmiInfo, Finding, RuntimeInfo, TaskOutput, failed

REGION = "us-east-1"
AMIS = dict.fromkeys(("InstanceAmi", "ServerAmi"), "ami-0123456789abcdef0")
READ_ONLY = ("Describe", "List", "Get")


@dataclass
class MemoryImages:
    """Images in memory."""

    published: dict[str, list[str]] = field(default_factory=dict)
    sources: dict[tuple[str, str], Mapping[str, str]] = field(default_factory=dict)
    away: bool = False

    def reference(self, service: str, tag: str) -> str:
        return f"registry.example/{service}:{tag}"

    def tags(self, service: str) -> list[str]:
        if self.away:
            raise Unreachable("The registry does not answer", where="registry.example", why="time-out")
        return list(self.published.get(service, []))

    def exists(self, service: str, reference: str) -> bool:
        return reference.rpartition(":")[2] in self.tags(service)

    def publish(self, service: str, tag: str, source: Path, build_args: Mapping[str, str], say: Say) -> None:
        say(f"publishing {tag}")
        self.published.setdefault(service, []).append(tag)
        self.sources[service, tag] = source_files(source, build_args)

    def source(self, service: str, tag: str) -> Mapping[str, str] | None:
        return self.sources.get((service, tag))

    def delete(self, service: str) -> None:
        self.published.pop(service, None)


@dataclass
class FakeTarget:
    """A target whose AWS API is at `endpoint`; None when the target doesn't exist yet.

    `requests` are the operations in order, `clients` replace those of the endpoint.
    `pinned` are the images whose `digest` was asked for.
    """

    endpoint: str | None
    consul_address: ConsulAddress | None = None
    name: str = "world"
    region: str = REGION
    runtime_info: RuntimeInfo | None = None
    system_services: tuple[str, ...] = ()
    template_parts: tuple[str, ...] = ()
    polling: PollingPolicy = field(default_factory=lambda: PollingPolicy(delay=0.0, attempts=20))
    images: MemoryImages = field(default_factory=MemoryImages)
    secrets: dict[str, TaskSecrets] = field(default_factory=dict)
    role: str | None = None
    target_groups: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    logs: list[LogLine] = field(default_factory=list)
    raised: list[Alarm] | None = field(default_factory=list)
    unreadable: LabError | None = None
    drifted: list[ResourceDrift] = field(default_factory=list)
    undetected: LabError | None = None
    outputs_of_tasks: dict[str, TaskOutput] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    clients: dict[str, Any] = field(default_factory=dict)
    blocking: list[LabError] = field(default_factory=list)
    pinned: list[str] = field(default_factory=list)
    digest: str = ""
    renewed: dict[str, str] = field(default_factory=dict)
    clients_lock: threading.Lock = field(default_factory=threading.Lock)

    def client(self, service: str) -> Any:
        if self.endpoint is None and service not in self.clients:
            raise TargetAbsent("there is no such target")
        with self.clients_lock:
            if service not in self.clients:
                self.clients[service] = client(service, str(self.endpoint))
                self.clients[service].meta.events.register("before-call", self._note)
            return self.clients[service]

    def _note(self, model: Any, **_: Any) -> None:
        self.requests.append(model.name)

    def writes(self) -> list[str]:
        """The requests that may have changed something."""
        return [name for name in self.requests if not name.startswith(READ_ONLY)]

    def counted(self) -> Counter[str]:
        return Counter(self.requests)

    def blockers(self) -> list[LabError]:
        return list(self.blocking)

    def diagnostics(self) -> list[Finding]:
        return [failed("world", error) for error in self.blocking]

    def amis(self) -> list[AmiInfo]:
        return []

    def confirmation(self, replaced: Callable[[], Sequence[str]] = tuple) -> str | None:
        return None

    def task_secrets(self, service: str) -> TaskSecrets:
        return self.secrets.get(service, NO_SECRETS)

    def execution_role(self) -> str | None:
        return self.role

    def has_execution_role(self) -> bool:
        return self.role is not None

    def target_group(self, service: str) -> str | None:
        return self.target_groups.get(service)

    def stack_output(self, name: str) -> str | None:
        return self.outputs.get(name)

    def log_configuration(self, service: str) -> dict[str, Any] | None:
        return None

    def stack_drift(self, stack: str) -> list[ResourceDrift]:
        if self.undetected:
            raise self.undetected
        return list(self.drifted)

    def boot_log(self, instance_id: str, lines: int) -> list[str]:
        return []

    def prerequisites(self) -> str | None:
        return f"region at {self.endpoint}" if self.endpoint else None

    def bootstrap(self, say: Say) -> str:
        raise LabError("the tests create this target")

    def teardown(self, say: Say) -> None:
        self.endpoint = None

    def stack_parameters(self) -> dict[str, str]:
        ec2 = self.client("ec2")
        vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        subnets = [subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]]
        return {"VpcId": vpc, "SubnetIds": ",".join(subnets), **AMIS}

    def renewed_parameters(self) -> dict[str, str]:
        return dict(self.renewed)

    def instances_of(self, groups: Sequence[str]) -> dict[str, int]:
        named = self.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=list(groups))
        return {one["AutoScalingGroupName"]: len(one["Instances"]) for one in named["AutoScalingGroups"]}

    def pinned_image(self, image: str, say: Say) -> str:
        self.pinned.append(image)
        return image + self.digest

    @contextmanager
    def consul(self) -> Iterator[ConsulAddress]:
        if self.consul_address is None:
            raise TargetAbsent("there is no Consul")
        yield self.consul_address

    def estimate(self) -> None:
        return None

    @contextmanager
    def lock(self, command: str = "") -> Iterator[None]:
        yield

    def last_lines(
        self, service: str, lines: int, task: str | None = None, since: float | None = None
    ) -> list[LogLine]:
        if self.unreadable:
            raise self.unreadable
        return [line for line in self.logs if task is None or line.task == task[:8]][-lines:]

    def follow(self, service: str, lines: int, since: float | None = None) -> Iterator[LogLine]:
        yield from self.logs

    def task_output(self, task: str, definition: Mapping[str, Any], container: str) -> TaskOutput | None:
        return self.outputs_of_tasks.get(container)

    def execute(self, service: str, argv: Sequence[str], *, task: str | None) -> int:
        raise LabError("nothing runs here")

    def alarms(self) -> list[Alarm] | None:
        return self.raised

    def portal_url(self) -> str | None:
        return None

    def environment(self) -> Mapping[str, str]:
        return {}

    def leftovers(self) -> list[str]:
        return []

    def retained(self) -> list[str]:
        return []


@dataclass
class RecordingReport:
    """A step's report that records the progress and doesn't wait."""

    texts: list[str] = field(default_factory=list)
    subresources: list[SubResource] = field(default_factory=list)
    running: str = ""

    def say(self, text: str) -> None:
        self.texts.append(text)

    def subresource(self, subresource: SubResource) -> None:
        self.subresources.append(subresource)

    def in_progress(self, text: str) -> None:
        self.running = text

    def wait(self, seconds: float) -> None:
        pass


class SilentObserver:
    """An observer that ignores a run."""

    def started(self, step: str, op: str) -> None: ...
    def progress(self, step: str, text: str) -> None: ...
    def subresource(self, step: str, part: SubResource) -> None: ...
    def finished(self, change: Change) -> None: ...
    def failed(self, step: str, error: BaseException) -> None: ...
    def still_running(self, step: str, text: str) -> None: ...


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
        # it keeps all that is there, which here is that of earlier tests too
        gc.unfreeze()
        self._region = ProxyApp()
        self._plain = ProxyApp()
        self._servers = [serve(self._region), serve(self._plain)]
        self.reset()

    def reset(self) -> None:
        """Forget everything that was made."""
        forget_all(("ecs", "ec2", "cloudformation", "iam", "autoscaling", "logs"))
        self.ecs = Ecs(self.moto)  # type: ignore[arg-type]
        api = AwsApi(self.moto, self.ecs, lambda: None)

        def region(environ: dict[str, Any], start_response: Any) -> Any:
            if environ["PATH_INFO"] == PING_PATH:
                return Response("alive")(environ, start_response)
            run_all_tasks(self.ecs, self.start_seconds)
            # What the request guard does, which isn't here: any key signs.
            service = environ["HTTP_AUTHORIZATION"].split("/")[3]
            return api({**environ, SERVICE: service}, start_response)

        def one_at_a_time(environ: dict[str, Any], start_response: Any) -> Any:
            with self.moto.lock:
                return self.moto.application(environ, start_response)

        self._region.application = region
        self._plain.application = one_at_a_time

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


def forget_all(services: Iterable[str]) -> None:
    """Empty moto's backends of these services."""
    from moto import backends
    from moto.core.model_instances import reset_model_data

    # not BackendDict.reset(), after which a region would hold backends that nobody else has
    for name in services:
        for regions in backends.get_backend(name).values():  # type: ignore[call-overload]
            regions.reset()
    # for a page of its own, moto keeps whatever it has ever made: gigabytes, in the end
    reset_model_data()


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
