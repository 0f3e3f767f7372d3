"""The local target: a tiny AWS region on this machine, started when it is needed."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...config.lab import Lab
from ...errors import LabError, TargetAbsent
from ...region import task_logs as log_files
from ...region.runtimes.lab_dir import DOCKER, PROCESSES, LabDir, RegionInfo, RegionSpec
from ..base import ConsulAddress, Finding, LogLine, PollingPolicy, RuntimeInfo, Say, findings
from .clients import CREDENTIALS, load_ahead, new_client
from .lab_images import LabImages
from .liveness import why_silent, why_useless

if TYPE_CHECKING:
    from .runtime_selection import RuntimeSelection

DEFAULT_REGION = "us-east-1"
START_PATIENCE = 60.0
STOP_PATIENCE = 60.0


class LocalTarget:
    """One lab on this machine."""

    name = "local"
    patience = PollingPolicy(delay=0.05, attempts=1200)

    def __init__(self, lab: str, *, region: str | None = None, runtime: str | None = None) -> None:
        self._lab = lab
        self._home = LabDir(lab)
        self._clients: dict[str, Any] = {}
        self._clients_lock = threading.Lock()
        # asked once in the life of a command, and again when the region was made or ended
        self._facts_lock = threading.Lock()
        self._answering: RegionInfo | None = None
        self._absent = ""
        self._wanted_region = region or DEFAULT_REGION
        self._wanted_runtime = runtime
        self._choice: RuntimeSelection | None = None
        self.images = LabImages(lab, self._home, runtime)

    @property
    def region(self) -> str:
        facts = self._answering or self._home.facts()
        return facts.region if facts else self._wanted_region

    @property
    def endpoint(self) -> str | None:
        facts = self._answering or self._home.facts()
        return facts.endpoint if facts else None

    @property
    def runtime_info(self) -> RuntimeInfo | None:
        facts = self._answering or self._home.facts()
        return RuntimeInfo(facts.runtime, facts.runtime_why) if facts else None

    def client(self, service: str) -> Any:
        facts = self._facts()
        with self._clients_lock:
            if service not in self._clients:
                self._clients[service] = new_client(service, facts.endpoint, facts.region)
            return self._clients[service]

    # tasks and machines

    # the region's agent plays the Registrator, and keeps what tasks write in files
    registers_itself = True
    system_services: tuple[str, ...] = ()

    def log_configuration(self, lab: Lab, service_name: str) -> dict[str, Any] | None:
        return None

    def boot_log(self, instance_id: str, lines: int) -> list[str]:
        return []

    # ground

    def confirmation(self, lab: Lab) -> str | None:
        return None

    def diagnostics(self, lab: Lab) -> list[Finding]:
        binary, consul = self._consul_binary()
        looks = {"runtime": self._unrunnable(lab), "consul": consul, "host ports": self._taken_ports(lab)}
        ports = [str(service.host_port) for service in lab.services if service.host_port]
        choice = None if looks["runtime"] else self.runtime_info or self._chosen(lab)
        well = {
            "runtime": f"{choice.runtime}: {choice.why}" if choice else "",
            "consul": binary or "none is at hand; `up` fetches one",
            "host ports": f"free: {', '.join(ports)}" if ports else "none is fixed",
        }
        return [one for name, errors in looks.items() for one in findings(name, errors, well[name])]

    def blockers(self, lab: Lab) -> list[LabError]:
        if sys.platform == "win32":
            return [LabError("Windows is not supported", hint="use WSL 2, which is a Linux")]
        from ...consul.install import BINARY_VARIABLE

        # only one that was told can be wrong, and each look takes its time
        consul = self._consul_binary()[1] if os.environ.get(BINARY_VARIABLE) else []
        return [*self._unrunnable(lab), *consul, *self._taken_ports(lab)]

    def _consul_binary(self) -> tuple[str, list[LabError]]:
        """The consul binary that is at hand for a region, and what speaks against it; one that runs has its own."""
        from ...consul.install import at_hand

        try:
            self._facts()
        except TargetAbsent:
            try:
                return at_hand(), []
            except LabError as error:
                return "", [error]
        return "the lab's own, which runs", []

    def _unrunnable(self, lab: Lab) -> list[LabError]:
        """What speaks against the runtime, or in a Dockerfile against running it as a process."""
        from ...docker.build_context import read_dockerfile

        try:
            runtime = self._facts().runtime
        except TargetAbsent:
            try:
                runtime = self._chosen(lab).runtime
            except LabError as error:
                return [error]
        found = []
        for service in lab.services if runtime == PROCESSES else ():
            try:
                read_dockerfile(Path(service.path))
            except LabError as error:
                found.append(error)
        return found

    def _chosen(self, lab: Lab) -> RuntimeSelection:
        """What a region that is to be made would run tasks as. Raises LabError."""
        from .runtime_selection import select_runtime

        self._choice = self._choice or select_runtime(lab)
        return self._choice

    def _taken_ports(self, lab: Lab) -> list[LabError]:
        from ...region.runtimes.addresses import HOME, holder, is_free

        facts = self._home.facts()
        own = facts.doors if facts else ()
        return [
            LabError(
                f"Port {service.host_port} is taken",
                where=f"service {service.name}, host_port {service.host_port}",
                why=holder(service.host_port),
                hint="stop what listens there, or give the service another host_port in the config",
            )
            for service in lab.services
            if service.host_port and service.host_port not in own and not is_free(HOME, service.host_port)
        ]

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        try:
            lock = self._home.lock_walk()
        except BlockingIOError as error:
            raise LabError(
                "Another command is changing this lab",
                where=f"lab {self._lab}",
                hint="wait until that `up`, `scale` or `down` has ended",
            ) from error
        with lock:
            yield

    def ground(self) -> str | None:
        try:
            return _described(self._facts())
        except TargetAbsent:
            return None

    def prepare(self, lab: Lab, say: Say) -> str:
        from ...consul.install import find
        from .runtime_selection import with_agent_image

        choice = self._chosen(lab)
        binary = find(say)
        # first whatever can fail, while the region that is there still serves
        choice, image = with_agent_image(lab, choice, binary, self._home.root, say)
        self._end_region(say)
        self._clear_engine(say, images=False)
        say(f"starting the region; tasks run as {choice.name}: {choice.why}")
        self._start_region(lab, binary, choice, image)
        return _described(self._facts())

    def _clear_engine(self, say: Say, *, images: bool) -> None:
        """Take away what a region that crashed, or one of another runtime, has left on the Docker engine."""
        from ...docker.engine import engine_url
        from ...region.runtimes.docker.agent_image import clear_left

        clear_left(engine_url(), self._lab, self._home.root, say, images=images)

    def _end_region(self, say: Say) -> None:
        """End the region that is there, if any; one that hangs is not waited for."""
        from ...region.runtimes.lab_processes import end_process

        facts = self._home.facts()
        if facts:
            hangs = bool(why_silent(facts))
            say("ending the region, which does not answer" if hangs else "ending the region")
            end_process(facts.pid, 0.0 if hangs else STOP_PATIENCE)
        self._clients.clear()
        self._answering, self._absent = None, ""

    def release(self, say: Say) -> None:
        from ...region.runtimes.lab_processes import end_survivors

        self._end_region(say)
        killed = end_survivors(self._home.root)
        for name in killed:
            say(f"ended {name}, which a crash had left")
        self._clear_engine(say, images=True)
        self._home.clear()

    def _start_region(self, lab: Lab, binary: str, choice: RuntimeSelection, image: str) -> None:
        from ...region.runtimes.addresses import one_address_only
        from ...region.runtimes.lab_processes import await_line, tell

        spec = RegionSpec(
            lab.name,
            self._wanted_region,
            binary,
            lab.consul.servers,
            one_address_only(),
            ecs_instances=lab.instances,
            runtime=choice.runtime,
            runtime_why=choice.why,
            engine=choice.engine,
            agent_image=image,
        )
        self._home.logs.mkdir(parents=True, exist_ok=True)
        log = self._home.region_log
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "ecsconsul.region.region"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=_region_environment(self._home),
                cwd="/",
                start_new_session=True,
            )
        tell(process, json.dumps(asdict(spec)))
        # the region takes longer to load than what will be asked of it
        load_ahead(self._wanted_region)
        await_line(process, START_PATIENCE)
        if not (self._home.facts() or self._await_other()):
            raise LabError(
                "The local region does not start",
                where=str(log),
                why="\n".join(log_files.tail(log, 8)) or f"no answer within {START_PATIENCE:.0f} s",
                hint="`ecsconsul down` clears what is left; then try again",
            )

    def _await_other(self) -> bool:
        """Another `up` was faster (or was killed while its region was starting): wait for that region."""
        end = time.monotonic() + START_PATIENCE
        while time.monotonic() < end and self._home.is_alive():
            if self._home.facts():
                return True
            time.sleep(0.05)
        return False

    def _facts(self) -> RegionInfo:
        """What the region says of itself, if it is alive, answers, and is of this version. Raises TargetAbsent."""
        with self._facts_lock:
            if self._answering is None and not self._absent:
                facts = self._home.facts()
                self._absent = why_useless(facts, self._wanted_runtime) if facts else "there is no region of it"
                self._answering = None if self._absent else facts
        if self._answering is None:
            what = f"The lab {self._lab} is not running on this machine"
            raise TargetAbsent(what, why=self._absent, hint="`ecsconsul up` starts it")
        return self._answering

    def stack_parameters(self, lab: Lab) -> dict[str, str]:
        facts = self._facts()
        return {"VpcId": facts.vpc_id, "SubnetIds": ",".join(facts.subnet_ids)}

    # Consul

    @contextlib.contextmanager
    def consul(self) -> Iterator[ConsulAddress]:
        # it is Consul that is asked: whether the region answers does not matter
        facts = self._answering or self._home.facts() or self._facts()
        if not facts.runs(self._wanted_runtime):
            facts = self._facts()
        if not facts.consul_http:
            raise TargetAbsent(f"The lab {self._lab} has no Consul yet", hint="`ecsconsul up` goes on and makes it")
        http_host, _, http_port = facts.consul_http.rpartition(":")
        dns_host, _, dns_port = facts.consul_dns.rpartition(":")
        yield ConsulAddress(http_host, int(http_port), dns_host, int(dns_port))

    # logs

    def last_lines(self, service: str, lines: int, task: str | None = None) -> list[LogLine]:
        return [LogLine(*line) for line in log_files.last_lines(self._home, service, lines, task)]

    def follow(self, service: str, lines: int) -> Iterator[LogLine]:
        return (LogLine(*line) for line in log_files.follow(self._home, service, lines))

    # the rest

    def execute(self, service: str, argv: Sequence[str], *, task: str | None) -> int:
        from ...region.runtimes.processes.task_command import become, run_in_container
        from ..running_container import running_container

        facts = self._facts()
        runtime_id = running_container(self.client("ecs"), self._lab, service, task).runtime_id
        if facts.runtime == DOCKER:
            return run_in_container(facts.engine, runtime_id, argv)
        become(int(runtime_id), argv)

    def portal_url(self, lab: Lab) -> str | None:
        from ...region.runtimes.addresses import HOME

        return f"http://{HOME}:{lab.portal.host_port}/" if lab.portal else None

    def environment(self) -> Mapping[str, str]:
        facts = self._facts()
        return {
            "AWS_ENDPOINT_URL": facts.endpoint,
            "AWS_REGION": facts.region,
            "AWS_DEFAULT_REGION": facts.region,
            **CREDENTIALS,
            **({"CONSUL_HTTP_ADDR": f"http://{facts.consul_http}"} if facts.consul_http else {}),
        }

    def leftovers(self, lab: Lab) -> list[str]:
        from ...docker.engine import Engine, engine_url
        from ...region.runtimes.lab_processes import survivors

        processes = [f"process {p.pid}" for p in survivors(self._home.root)]
        engine = Engine(engine_url())
        left = engine.left(self._lab, self._home.root).lines() if engine.is_there() else []
        return [*processes, *left, *(str(path) for path in self._home.leftovers())]

    def kept(self) -> list[str]:
        from ...consul.install import cached

        logs = [f"logs: {self._home.logs}"] if self._home.logs.is_dir() else []
        binary = cached()
        return [*logs, *([f"the downloaded Consul: {binary}"] if binary else [])]


def _described(facts: RegionInfo) -> str:
    return f"region {facts.region} at {facts.endpoint}"


def _region_environment(home: LabDir) -> dict[str, str]:
    from ...region.runtimes.addresses import SHARED_ADDRESS_VARIABLE
    from ...region.runtimes.lab_dir import HOME_VARIABLE, base_folder
    from ...region.runtimes.lab_processes import environment

    told = {HOME_VARIABLE: str(base_folder())}
    if SHARED_ADDRESS_VARIABLE in os.environ:
        told[SHARED_ADDRESS_VARIABLE] = os.environ[SHARED_ADDRESS_VARIABLE]
    return environment(home.root, told)
