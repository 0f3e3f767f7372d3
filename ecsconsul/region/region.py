"""The region put together: the AWS API on loopback, and everything that runs behind it."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import IO

from msgspec.structs import replace

from .. import __version__
from ..consul.install import version_of
from ..consul.lab_secrets import REGISTRATOR
from ..errors import LabError
from .aws_api import AwsApi
from .consul_acl import ConsulAcl
from .container_start import log_of
from .control_loop import ControlLoop
from .ecs.model import RUNNING, STOPPED, TCP, UDP, Task
from .ecs.state import Ecs
from .ecs_changes import EcsChanges
from .instance_lifecycle import InstanceLifecycle
from .instances import Ec2Instances
from .log_times import LogTimes
from .logs_api import LogsApi
from .managed_scaling import ManagedScaling
from .moto import Moto
from .port_forwarder import Endpoint, PortForwarder
from .recorder import Recorder
from .replays import UsedSignatures
from .request_auth import RequestAuth
from .request_guard import RequestGuard
from .runtimes.addresses import LOOPBACK
from .runtimes.interface import Ec2Instance, Runtime
from .runtimes.lab_dir import DOCKER, AccessKey, LabDir, RegionInfo, RegionSpec
from .scheduled_snapshots import ScheduledSnapshots

log = logging.getLogger(__name__)


class Region:
    """Creates the parts and connects them; each part knows only those it is given."""

    def __init__(self, spec: RegionSpec, lab_dir: LabDir, key: AccessKey) -> None:
        self._spec = spec
        self._key = key
        self._started = int(time.time())
        self._lab_dir = lab_dir
        self._runtime = _runtime(spec, lab_dir)
        version = version_of(Path(spec.consul_binary))
        self._secrets = lab_dir.consul_secrets()
        self._acl = ConsulAcl(self._secrets)
        agents, servers = self._runtime.consul_agents, spec.consul_servers
        self._instances = Ec2Instances(lab_dir, agents, version, servers, self._secrets, self._acl)
        self._info_lock = threading.Lock()
        self._info: RegionInfo | None = None
        self._published: RegionInfo | None = None
        self._own_ports: set[int] = set()  # those of 127.0.0.1 at which tasks listen themselves
        self._snapshots = ScheduledSnapshots(lab_dir, self._consul_address, lambda: self._secrets)

    def run(self, ready: IO[str]) -> None:
        """Serve until SIGTERM; writes a line to `ready` when the API listens."""
        self._instances.warm_up(self._spec.ecs_instances)
        self._moto = Moto(self._spec.region, self._instances.next_instance_id)
        self._ecs = Ecs(self._moto)
        token = self._secrets.token(REGISTRATOR)
        self._control_loop = ControlLoop(self._ecs, self._runtime.containers, self._lab_dir, self._acl, token)
        self._forwarder = PortForwarder(self._endpoints_of_port, self._udp_endpoints_of_port)
        self._control_loop.on_pass = self._forward_ports
        self._lifecycle = InstanceLifecycle(
            self._moto, self._ecs, self._control_loop, self._instances, self._instances_changed
        )
        self._moto.hold_leaving()
        self._scaling = ManagedScaling(self._ecs, self._control_loop, self._moto, self._lifecycle.reconcile)
        self._changes = EcsChanges(self._ecs, self._control_loop)
        recorder = Recorder(self._lab_dir, self._changes, self._consul_address)
        self._log_times = LogTimes(self._growing_logs)
        self._control_loop.start()
        self._log_times.start()
        self._scaling.start()
        from .api_server import ApiServer, listen

        with listen() as listening:
            server = ApiServer(self._guard(listening.getsockname()[1]), listening)
        self._info = self._initial_info(server.port)
        self._publish_info()
        with contextlib.suppress(BrokenPipeError):
            # The command that started the region may have been killed; the region keeps running.
            ready.write("ready\n")
            ready.flush()
        _on_terminate(server.shutdown)
        _on_signal(signal.SIGHUP, self._reload_secrets)
        _on_signal(signal.SIGUSR1, self._get_over_restore)
        _on_signal(signal.SIGUSR2, self._snapshots.wake)
        self._snapshots.start()
        recorder.start()
        try:
            server.serve_forever(poll_interval=0.1)
        finally:
            server.server_close()
            # the record ends with what the lab was, before all of it stops
            parts = (
                recorder,
                self._changes,
                self._snapshots,
                self._scaling,
                self._control_loop,
                self._log_times,
                self._forwarder,
                self._instances,
                self._runtime,
            )
            for part in parts:
                part.close()

    def _guard(self, port: int) -> RequestGuard:
        """The AWS API, for requests that are signed with the lab's key."""
        logs = LogsApi(self._lab_dir, self._ecs, self._moto.has_log_group)
        api = AwsApi(self._moto, self._ecs, self._lifecycle.reconcile, self._changes, logs)
        auth = RequestAuth(self._key, self._spec.region, self._moto.serves)
        used = UsedSignatures(since=0 if self._spec.key_is_new else self._started)
        return RequestGuard(api, auth, used, port)

    def _initial_info(self, port: int) -> RegionInfo:
        vpc, subnets = self._moto.default_network()
        return RegionInfo(
            pid=os.getpid(),
            version=__version__,
            lab=self._spec.lab,
            region=self._spec.region,
            key_id=self._key.id,
            endpoint=f"http://{LOOPBACK}:{port}",
            consul_http="",
            consul_dns="",
            runtime=self._spec.runtime,
            runtime_why=self._spec.runtime_why,
            engine=self._spec.engine,
            vpc_id=vpc,
            subnet_ids=subnets,
        )

    def _publish_info(self) -> None:
        """Write the region's info as it is now, with the Consul server that clients should use."""
        with self._info_lock:
            if self._info is None:
                return
            own = tuple(sorted({*self._forwarder.ports(), *self._own_ports}))
            info = replace(self._info, forwarded_ports=own, secrets=self._secrets.generation)
            servers = self._instances.servers()
            if servers:
                lead = next((one for one in servers if one.also_on_loopback), servers[0])
                address = LOOPBACK if lead.also_on_loopback else lead.address
                ports = lead.loopback_ports or lead.consul
                info = replace(info, consul_http=f"{address}:{ports.http}", consul_dns=f"{address}:{ports.dns}")
            if info != self._published:
                self._lab_dir.write_info(info)
                self._published = info

    def _reload_secrets(self) -> None:
        """Use the secrets that a rotation has written, and publish that all parts do."""
        try:
            found = self._lab_dir.consul_secrets()
            self._acl.use(found)
            self._control_loop.use_token(found.token(REGISTRATOR))
            self._instances.use(found)
        except LabError as error:
            log.error("not all agents have the new secrets: %s", error)
            return
        # What is published says that all parts use them.
        self._secrets = found
        self._publish_info()

    def _get_over_restore(self) -> None:
        """Restart Consul's servers with the secrets of now, and publish that it's done."""
        # The restored data may lack the tokens of tasks that run.
        self._acl.use(self._secrets)
        self._instances.restart_servers()
        if self._info:
            self._info = replace(self._info, restores=self._info.restores + 1)
        self._publish_info()

    def _consul_address(self) -> str:
        """The host:port of Consul's HTTP API, once there is one and it knows the lab's tokens; "" before."""
        return self._published.consul_http if self._published and self._acl.ready.is_set() else ""

    def _instances_changed(self) -> None:
        self._forward_ports()
        self._publish_info()

    def _growing_logs(self) -> list[Path]:
        with self._ecs.lock:
            tasks = [task for task in self._ecs.tasks() if task.last_status != STOPPED]
            return [log_of(self._lab_dir, task, one) for task in tasks for one in task.containers]

    def _forward_ports(self) -> None:
        """Forward the fixed host ports of the services' tasks, and that of a Consul behind a Unix socket.

        A process may want a port at 127.0.0.1 itself, so none is forwarded before it's seen where its tasks listen.
        """
        with self._ecs.lock:
            bindings = [one for task in self._service_tasks() for one in task.bindings]
        own = {(one.host_port, one.protocol) for one in bindings if one.fills_machine}
        fixed = {(one.requested_port or 0, one.protocol) for one in bindings if one.is_forwarded} - own
        desired = {port for port, protocol in fixed if protocol == TCP} | set(self._consul_ports())
        udp = {port for port, protocol in fixed if protocol == UDP}
        own_ports = {port for port, protocol in own if protocol == TCP}
        before = (set(self._forwarder.ports()), set(self._forwarder.udp_ports()), self._own_ports)
        if (desired, udp, own_ports) != before:
            self._forwarder.forward(desired, udp)
            self._own_ports = own_ports
            self._publish_info()

    def _consul_ports(self) -> dict[int, Ec2Instance]:
        """The ports of 127.0.0.1 that must lead to an instance's Consul, whose API listens at a Unix socket."""
        return {
            one.loopback_ports.http: one for one in self._instances.servers() if one.http_socket and one.loopback_ports
        }

    def _endpoints_of_port(self, port: int) -> list[Endpoint]:
        """The endpoints of the tasks with a fixed host port, passing ones first, then the newest; or Consul.

        Standalone tasks, as of RunTask, get none of the traffic.
        """
        if consul := self._consul_ports().get(port):
            return [consul.http_socket]
        return self._task_endpoints(port, TCP)

    def _udp_endpoints_of_port(self, port: int) -> list[Endpoint]:
        return self._task_endpoints(port, UDP)

    def _task_endpoints(self, port: int, protocol: str) -> list[Endpoint]:
        with self._ecs.lock:
            tasks = self._service_tasks()
            tasks.sort(key=lambda task: (not task.passing, -task.created_at))
            return [endpoint for task in tasks for endpoint in self._endpoints(task, port, protocol)]

    def _service_tasks(self) -> list[Task]:
        return [task for task in self._ecs.tasks() if task.service and task.last_status == RUNNING]

    def _endpoints(self, task: Task, port: int, protocol: str) -> list[Endpoint]:
        address = self._ecs.instance_address(task.instance_id)
        wanted = (port, protocol)
        asked = [one for one in task.bindings if (one.requested_port, one.protocol) == wanted]
        return [(one.host_ip or address, one.host_port) for one in asked]


def _runtime(spec: RegionSpec, lab_dir: LabDir) -> Runtime:
    """The only place that chooses between the runtimes."""
    if spec.runtime == DOCKER:
        from .runtimes.docker.runtime import DockerRuntime

        return DockerRuntime(lab_dir, spec.engine, spec.agent_image, spec.consul_binary)
    from .runtimes.processes.runtime import ProcessRuntime

    return ProcessRuntime(lab_dir, spec.consul_binary, shared_address=spec.shared_address)


def _on_signal(number: signal.Signals, do: Callable[[], None]) -> None:
    """Do it in a thread of its own: a handler interrupts the main thread anywhere, even while it holds a lock."""
    signal.signal(number, lambda *_: threading.Thread(target=do, daemon=True).start())


def _on_terminate(shut_down: Callable[[], None]) -> None:
    """Shut the server down on SIGTERM, from another thread, since the server's own would wait for itself."""

    def handle(number: int, frame: FrameType | None) -> None:
        threading.Thread(target=shut_down, daemon=True).start()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
