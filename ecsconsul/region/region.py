"""The tiny AWS region: one background process that serves the AWS API on loopback and runs what it is asked for.

Started by the local target as `python -m ecsconsul.region.region`, with what it must know as JSON on its standard
input. It says in the lab's one small file where it listens, and that it is ready by a line on its standard output.
It ends on SIGTERM, and leaves nothing but logs.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import IO

from .. import __version__
from ..consul.install import version_of
from .aws_api import AwsApi
from .control_loop import Agent
from .ecs.model import RUNNING, ContainerInstance, Task, fixed_ports
from .ecs.state import Ecs
from .instances import ROLES, Ec2Instance, Ec2Instances, Role
from .moto import Instance, Moto
from .port_forwarder import PortForwarder
from .runtimes import lab_processes as processes
from .runtimes.addresses import HOME
from .runtimes.lab_dir import DOCKER, LabDir, RegionInfo, RegionSpec
from .runtimes.processes.runtime import ProcessRuntime, Runtime

log = logging.getLogger(__name__)

API_PORT = 5566
BACKLOG = 128
LOCK_PATIENCE = 2.0
JOIN_PATIENCE = 10.0
ROLE_TAG, CLUSTER_TAG = "ecsconsul:role", "ecsconsul:cluster"


class Region:
    """Puts the parts together; each part knows only those it is given."""

    def __init__(self, spec: RegionSpec, home: LabDir) -> None:
        self._spec = spec
        self._home = home
        self._world = _world(spec, home)
        version = version_of(Path(spec.consul_binary))
        self._machines = Ec2Instances(home, self._world.consuls, version, spec.consul_servers)
        self._machines.on_restart = self._consul_restarted
        self._instances_lock = threading.Lock()
        self._facts_lock = threading.Lock()
        self._facts: RegionInfo | None = None
        self._published: RegionInfo | None = None

    def run(self, ready: IO[str]) -> None:
        """Serve until SIGTERM. One line goes to `ready` when the API listens."""
        from werkzeug.serving import make_server

        self._machines.warm_up(self._spec.ecs_instances)
        self._moto = Moto(self._spec.region, self._machines.next_instance_id)
        self._ecs = Ecs(self._moto)
        self._agent = Agent(self._ecs, self._world.runtime, self._home)
        self._doors = PortForwarder(self._behind_door)
        self._agent.on_pass = self._services_changed
        self._agent.begin()
        api = AwsApi(self._moto, self._ecs, self._instances_changed)
        with _listening() as listening:
            server = make_server(HOME, 0, api, threaded=True, request_handler=_quiet_handler(), fd=listening.fileno())
        self._facts = self._first_facts(server.port)
        self._publish()
        with contextlib.suppress(BrokenPipeError):
            # whoever started the region may be gone by now; the region stays
            ready.write("ready\n")
            ready.flush()
        _on_terminate(server.shutdown)
        try:
            server.serve_forever(poll_interval=0.1)
        finally:
            server.server_close()
            self._close()

    def _close(self) -> None:
        self._agent.close()
        self._doors.close()
        self._machines.close()
        self._world.close()

    def _first_facts(self, port: int) -> RegionInfo:
        vpc, subnets = self._moto.default_network()
        return RegionInfo(
            pid=os.getpid(),
            version=__version__,
            lab=self._spec.lab,
            region=self._spec.region,
            endpoint=f"http://{HOME}:{port}",
            consul_http="",
            consul_dns="",
            runtime=self._spec.runtime,
            runtime_why=self._spec.runtime_why,
            engine=self._spec.engine,
            vpc_id=vpc,
            subnet_ids=subnets,
        )

    def _publish(self) -> None:
        """Write the facts as they are now, with the Consul server that leads the way to all others."""
        with self._facts_lock:
            if self._facts is None:
                return
            facts = replace(self._facts, doors=self._doors.ports())
            servers = self._machines.servers()
            if servers:
                lead = next((m for m in servers if m.also_on_loopback), servers[0])
                address = HOME if lead.also_on_loopback else lead.address
                ports = lead.loopback_ports or lead.consul
                facts = replace(facts, consul_http=f"{address}:{ports.http}", consul_dns=f"{address}:{ports.dns}")
            if facts != self._published:
                self._home.write_info(facts)
                self._published = facts

    # EC2

    def _instances_changed(self) -> None:
        """Boot a machine for each new instance of the lab, and take those away whose instance is gone."""
        with self._instances_lock:
            wanted = {one.id: one for one in self._moto.instances() if one.tags.get(ROLE_TAG) in ROLES}
            known = {machine.instance_id: machine for machine in self._machines.all()}
            for instance_id in known.keys() - wanted.keys():
                self._terminate(known[instance_id])
            fresh = [one for one in wanted.values() if one.id not in known]
            joining = [self._launch(one) for one in sorted(fresh, key=lambda one: one.tags[ROLE_TAG])]
        self._publish()
        # as a stack is complete when its instances have signalled, so that tasks spread over all of them
        end = time.monotonic() + JOIN_PATIENCE
        for thread in joining:
            thread.join(max(0.0, end - time.monotonic()))

    def _launch(self, one: Instance) -> threading.Thread:
        """Boot the machine of an instance; the thread ends when it has joined."""
        role: Role = "consul-server" if one.tags[ROLE_TAG] == "consul-server" else "ecs-instance"
        machine = self._machines.launch(one.id, role)
        self._moto.set_address(one.id, machine.address)
        joining = threading.Thread(target=self._join_when_ready, args=(machine, one), daemon=True)
        joining.start()
        return joining

    def _join_when_ready(self, machine: Ec2Instance, one: Instance) -> None:
        """An instance registers with its cluster when its Consul agent answers, as the boot script would have it."""
        if not self._agent.await_consul(machine):
            log.error("the Consul agent of %s does not answer", one.id)
            return
        if machine.role != "ecs-instance":
            return
        cluster = one.tags.get(CLUSTER_TAG, "default")
        arn = self._ecs.arn("container-instance", cluster, one.id.removeprefix("i-").zfill(32))
        instance = ContainerInstance(one.id, arn, cluster, machine.host_address, one.cpu, one.memory)
        self._agent.join_instance(machine, instance)

    def _terminate(self, machine: Ec2Instance) -> None:
        # one whose Consul has just answered must not join after it was lost
        machine.stopping.set()
        self._agent.lose_instance(machine.instance_id)
        self._machines.terminate(machine.instance_id)

    def _consul_restarted(self, machine: Ec2Instance) -> None:
        if machine.role == "ecs-instance":
            self._agent.consul_is_back(machine)

    # doors

    def _services_changed(self) -> None:
        """A door for each fixed host port that an active service asks for."""
        definitions = [s.primary.task_definition for s in self._ecs.services() if s.status == "ACTIVE"]
        wanted = {port for definition in definitions for port in fixed_ports(definition)}
        if wanted != set(self._doors.ports()):
            self._doors.open_at(wanted)
            self._publish()

    def _behind_door(self, port: int) -> list[tuple[str, int]]:
        """Where the tasks of a host port really listen, passing ones first, then the newest."""
        with self._ecs.lock:
            tasks = [task for task in self._ecs.tasks() if task.last_status == RUNNING]
            tasks.sort(key=lambda task: (not task.passing, -task.created_at))
            return [endpoint for task in tasks for endpoint in self._endpoints(task, port)]

    def _endpoints(self, task: Task, port: int) -> list[tuple[str, int]]:
        address = self._ecs.instance_address(task.instance_id)
        bindings = [binding for container in task.containers for binding in container.bindings]
        return [(address, binding.host_port) for binding in bindings if binding.outside_port == port]


def _world(spec: RegionSpec, home: LabDir) -> Runtime:
    """The one place where a region is of one runtime or the other."""
    if spec.runtime == DOCKER:
        from .runtimes.docker.runtime import DockerRuntime

        return DockerRuntime(home, spec.engine, spec.agent_image, spec.consul_binary)
    return ProcessRuntime(home, spec.consul_binary, shared_address=spec.shared_address)


def _quiet_handler() -> type:
    """werkzeug's request handler as moto has it, without a line for each request."""
    from moto.moto_server.werkzeug_app import MotoRequestHandler

    class Handler(MotoRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, type: str, message: str, *args: object) -> None:
            log.debug(message, *args)

    return Handler


def _listening() -> socket.socket:
    """At the API's own port, or at a free one where that is taken."""
    try:
        return socket.create_server((HOME, API_PORT), backlog=BACKLOG)
    except OSError:
        return socket.create_server((HOME, 0), backlog=BACKLOG)


def _on_terminate(shut_down: object) -> None:
    """SIGTERM ends the server from another thread: its own would wait for itself."""
    assert callable(shut_down)

    def handle(number: int, frame: FrameType | None) -> None:
        threading.Thread(target=shut_down, daemon=True).start()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _take_lock(home: LabDir) -> IO[str]:
    """The lab's lock; someone who only looks may hold it for a moment. Raises BlockingIOError."""
    end = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            return home.lock_region()
        except BlockingIOError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def main() -> int:
    """Read the specification, run the region, and clear up after it."""
    spec = RegionSpec(**json.load(sys.stdin))
    home = LabDir(spec.lab)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(threadName)s %(message)s")
    logging.getLogger("botocore").setLevel(logging.WARNING)
    try:
        lock = _take_lock(home)
    except BlockingIOError:
        log.warning("another region of this lab is running")
        return 1
    with lock:
        processes.end_survivors(home.root)
        home.clear_remains()
        home.rotate_logs()
        Region(spec, home).run(sys.stdout)
        processes.end_survivors(home.root)
        home.clear_remains()
    return 0


if __name__ == "__main__":
    sys.exit(main())
