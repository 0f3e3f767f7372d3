"""The local target: a tiny AWS region on this machine, started when a lab needs it."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...config.lab import Lab
from ...errors import LabError, TargetAbsent
from ...polling import PollingPolicy
from ...region.runtimes.lab_dir import PROCESSES, AccessKey, LabDir, RegionInfo
from ..base import NO_SECRETS, ConsulAddress, LogLine, Say, TaskSecrets, no_detection
from ..commands import Alarm, AmiInfo, Finding, RuntimeInfo, directly, findings
from ..machine import Machine
from . import machines, other_labs, region_state, snapshots, tasks
from .clients import consul_of, load_ahead, new_client
from .host_ports import taken_ports
from .lab_images import LabImages
from .liveness import why_closed, why_useless
from .service_secrets import ServiceSecrets

if TYPE_CHECKING:
    from ...consul.lab_secrets import LabSecrets, Rotation
    from ...consul.snapshot_file import SnapshotStore
    from ...observe.states import Container, EcsState, Task
    from ...observe.usage import Usage
    from ...region.task_output import TaskLog
    from .runtime_selection import RuntimeSelection

DEFAULT_REGION = "us-east-1"
NO_AMI = "ami-00000000000000000"  # no instance boots here


class LocalTarget:
    """One lab on this machine."""

    name = "local"
    polling = PollingPolicy(delay=0.05, attempts=1200)
    # each ECS instance has a Registrator inside the region
    system_services = ()
    is_here = records_itself = True
    template_parts: tuple[str, ...] = ()
    stack_drift = staticmethod(no_detection)
    reach = staticmethod(directly)

    def __init__(self, lab: Lab, *, region: str | None = None, runtime: str | None = None) -> None:
        self._lab = lab
        self._home = LabDir(lab.name)
        self._clients: dict[str, Any] = {}
        self._clients_lock = threading.Lock()
        # checked once per command, and again after the region was started or stopped
        self._region_lock = threading.Lock()
        self._usable: RegionInfo | None = None
        self._absent = ""
        self._requested_region = region or DEFAULT_REGION
        self._requested_runtime = runtime
        self._selection: RuntimeSelection | None = None
        self._secrets = ServiceSecrets(lab, self.client)
        self.images = LabImages(lab.name, self._home, runtime)

    @property
    def region(self) -> str:
        info = self._info()
        return info.region if info else self._requested_region

    @property
    def endpoint(self) -> str | None:
        info = self._info()
        return info.endpoint if info else None

    @property
    def runtime_info(self) -> RuntimeInfo | None:
        info = self._info()
        return RuntimeInfo(info.runtime, info.runtime_why) if info else None

    def client(self, service: str) -> Any:
        info = self._running()
        with self._clients_lock:
            if service not in self._clients:
                self._clients[service] = new_client(service, info.endpoint, info.region, self._access_key())
            return self._clients[service]

    def log_configuration(self, service: str) -> dict[str, Any] | None:
        return None

    def boot_log(self, instance_id: str, lines: int) -> list[str]:
        return []

    def stack_parameters(self) -> dict[str, str]:
        info, amis = self._running(), dict.fromkeys(("InstanceAmi", "ServerAmi"), NO_AMI)
        return {"VpcId": info.vpc_id, "SubnetIds": ",".join(info.subnet_ids), **amis}

    def renewed_parameters(self) -> dict[str, str]:
        return {}

    def instances_of(self, groups: Sequence[str]) -> dict[str, int]:
        # the region only adds and removes instances
        return {}

    def pinned_image(self, image: str, say: Say) -> str:
        return image  # nothing is pulled: the region runs a binary

    def amis(self) -> list[AmiInfo]:
        return []

    def confirmation(self, replaced: Callable[[], Sequence[str]] = tuple) -> str | None:
        return None

    def diagnostics(self) -> list[Finding]:
        binary, consul = self._consul_binary()
        errors = {
            "runtime": self._runtime_errors(),
            "consul": consul,
            "host ports": taken_ports(self._lab, self._home.info()),
        }
        ports = [str(port.host_port) for service in self._lab.services for port in service.host_ports]
        selection = None if errors["runtime"] else self.runtime_info or self._select_runtime()
        ok = {
            "runtime": f"{selection.runtime}: {selection.why}" if selection else "",
            "consul": binary,
            "host ports": f"free: {', '.join(ports)}" if ports else "no service has a fixed host port",
        }
        return [one for name, found in errors.items() for one in findings(name, found, ok[name])]

    def blockers(self) -> list[LabError]:
        if sys.platform == "win32":
            return [LabError("Windows is not supported", hint="use WSL 2, which is a Linux")]
        from ...consul.install import BINARY_VARIABLE

        # running a binary takes time, and only one that the user chose can be wrong
        consul = self._consul_binary()[1] if os.environ.get(BINARY_VARIABLE) else []
        consul += self._secrets.errors(absent=self._is_absent())
        return [*self._runtime_errors(), *consul, *taken_ports(self._lab, self._home.info())]

    def _consul_binary(self) -> tuple[str, list[LabError]]:
        """The consul binary that a new region would use, and its errors; a region that runs already has one."""
        from .runtime_selection import consul_binary

        return consul_binary(self._lab) if self._is_absent() else ("the one that the lab runs", [])

    def _runtime_errors(self) -> list[LabError]:
        """What prevents tasks from running: the runtime itself, or what can't run as a process."""
        from .runtime_selection import process_errors

        try:
            runtime = self._running().runtime
        except TargetAbsent:
            try:
                runtime = self._select_runtime().runtime
            except LabError as error:
                return [error]
        return process_errors(self._lab) if runtime == PROCESSES else []

    def _select_runtime(self) -> RuntimeSelection:
        """What a new region would run tasks as. Raises LabError."""
        from .runtime_selection import select_runtime

        self._selection = self._selection or select_runtime(self._lab)
        return self._selection

    def estimate(self) -> None:
        return None

    @contextlib.contextmanager
    def lock(self, command: str = "") -> Iterator[None]:
        try:
            lock = self._home.lock_changes()
        except BlockingIOError as error:
            raise LabError(
                "Another command is changing this lab",
                where=f"lab {self._lab.name}",
                hint="wait until the `up`, `scale`, `deploy` or other command that does has finished",
            ) from error
        with lock:
            yield

    # the region

    def prerequisites(self) -> str | None:
        try:
            found = _described(self._running())
        except TargetAbsent:
            return None
        return found if snapshots.are_scheduled(self._lab, self._home) and self._secrets.are_stored() else None

    def bootstrap(self, say: Say) -> str:
        from ...consul.install import find
        from .region_process import clear_engine
        from .runtime_selection import with_agent_image

        if snapshots.schedule(self._lab, self._home) and not self._is_absent():
            say("changed when snapshots are made")
        if not self._is_absent():
            self._secrets.store(say)
            return _described(self._running())
        selection = self._select_runtime()
        binary = find(say, self._lab.consul.version)
        # everything that can fail comes first, while the old region still works
        selection, image = with_agent_image(self._lab, selection, binary, self._home.root, say)
        self._stop_region(say)
        clear_engine(self._home, say, images=False)
        self._home.make_consul_secrets()
        say(f"starting the region; tasks run as {selection.name}: {selection.why}")
        self._start_region(binary, selection, image)
        self._secrets.store(say)
        return _described(self._running())

    def teardown(self, say: Say) -> None:
        from ...region.runtimes.lab_processes import kill_leftovers
        from .region_process import clear_engine

        self._stop_region(say)
        for name in kill_leftovers(self._home.root):
            say(f"stopped {name}, left over from a crash")
        clear_engine(self._home, say, images=True)
        self._home.clear()

    def _stop_region(self, say: Say) -> None:
        from .region_process import stop_region

        stop_region(self._home, say)
        self._clients.clear()
        self._usable, self._absent = None, ""

    def _start_region(self, binary: str, selection: RuntimeSelection, image: str) -> None:
        from .region_process import start_region
        from .runtime_selection import region_spec

        spec = region_spec(self._lab, self._requested_region, selection, binary, image)
        # boto3 loads while the region starts, which takes longer
        start_region(self._home, spec, lambda: load_ahead(self._requested_region))

    def _info(self) -> RegionInfo | None:
        """What is known of the region, whether or not it can be used."""
        return self._usable or self._home.info()

    def _running(self) -> RegionInfo:
        """The region, if it is alive, answers, and has this version. Raises TargetAbsent."""
        with self._region_lock:
            if self._usable is None and not self._absent:
                info = self._home.info()
                self._absent = self._why_absent(info)
                self._usable = None if self._absent else info
        if self._usable is None:
            what = f"The lab {self._lab.name} is not running on this machine"
            raise TargetAbsent(what, why=self._absent, hint="`ecsconsul up` starts it")
        return self._usable

    def _is_absent(self) -> bool:
        try:
            self._running()
        except TargetAbsent:
            return True
        return False

    def _why_absent(self, info: RegionInfo | None) -> str:
        if info is None:
            return "its region is not running"
        return why_useless(info, self._requested_runtime) or why_closed(info, self._home)

    def _access_key(self) -> AccessKey:
        """The key that signs requests to the region. Raises TargetAbsent."""
        key = self._home.access_key()
        if key is None:
            raise TargetAbsent(f"The lab {self._lab.name} has no access key", hint="`ecsconsul up` makes one")
        return key

    # Consul

    @contextlib.contextmanager
    def consul(self) -> Iterator[ConsulAddress]:
        # Consul works even when the region does not answer
        info = self._info() or self._running()
        if not info.runs(self._requested_runtime):
            info = self._running()
        yield consul_of(info)

    def consul_secrets(self) -> LabSecrets:
        self._running()
        return self._home.consul_secrets()

    def rotation(self) -> Rotation | None:
        return self._home.rotation()

    def keep_rotation(self, rotation: Rotation | None) -> None:
        self._home.write_rotation(rotation)

    def rotation_cost(self) -> str | None:
        return None

    def adopt_secrets(self, lab_secrets: LabSecrets, say: Say) -> dict[str, str]:
        from .region_process import reload_secrets

        self._running()
        self._home.write_consul_secrets(lab_secrets)
        say("handing the new tokens to the agents")
        reload_secrets(self._home, lab_secrets.generation)
        return {}

    def snapshots(self) -> SnapshotStore:
        return snapshots.folder_of(self._lab, self._home)

    def after_restore(self, say: Say) -> None:
        from .region_process import restart_servers

        say("restarting Consul's servers")
        restart_servers(self._home)

    # tasks

    def task_secrets(self, service: str) -> TaskSecrets:
        # the region gives a task its token when it starts it
        return NO_SECRETS

    def execution_role(self) -> str | None:
        return None

    def has_execution_role(self) -> bool:
        return False

    def target_group(self, service: str) -> str | None:
        return None

    def stack_output(self, name: str) -> str | None:
        return None

    def last_lines(
        self, service: str, lines: int, task: str | None = None, since: float | None = None
    ) -> list[LogLine]:
        from ...region import task_logs

        return [LogLine(*line) for line in task_logs.last_lines(self._home, service, lines, task, since)]

    def follow(self, service: str, lines: int, since: float | None = None) -> Iterator[LogLine]:
        from ...region import task_logs

        return (LogLine(*line) for line in task_logs.follow(self._home, service, lines, since))

    def task_output(self, task: str, definition: Mapping[str, Any], container: str) -> TaskLog:
        return tasks.output(self._home, task, definition, container)

    def execute(self, service: str, argv: Sequence[str], *, task: str | None) -> int:
        info = self._running()
        return tasks.execute(self.client("ecs"), self._lab.name, info, service, argv, task)

    # for the commands

    def ecs_state(self, since: int, wait: float) -> tuple[EcsState, float]:
        info = self._running()
        return region_state.region_state(info.endpoint, info.region, self._access_key(), since, wait), 0.0

    def usage(self, containers: Sequence[tuple[Task, Container]], seconds: float) -> list[Usage]:
        return tasks.usage(self._running(), containers, seconds)

    def labs_with(self, service: str) -> list[str]:
        return other_labs.labs_with(service, self._lab.name)

    def journals(self) -> list[Path]:
        return self._home.journals

    def machine(self) -> Machine | None:
        return machines.machine_of(self._home, self._running())

    def portal_url(self) -> str | None:
        from ...region.runtimes.addresses import LOOPBACK

        return f"http://{LOOPBACK}:{self._lab.portal.host_port}/" if self._lab.portal else None

    def alarms(self) -> list[Alarm]:
        return []

    def environment(self) -> Mapping[str, str]:
        from .environment import variables

        info = self._running()
        return variables(info, self._access_key(), self._home.consul_secrets() if info.consul_http else None)

    def leftovers(self) -> list[str]:
        from .leftovers import leftovers

        return leftovers(self._lab, self._home)

    def retained(self) -> list[str]:
        from .leftovers import retained

        return retained(self._lab, self._home)


def _described(info: RegionInfo) -> str:
    return f"region {info.region} at {info.endpoint}"
