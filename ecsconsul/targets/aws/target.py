"""The AWS target; each of its parts is a module beside this one."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ...config.lab import Lab
from ...consul.lab_secrets import MANAGEMENT, MONITORING, LabSecrets, Rotation
from ...consul.snapshot_file import SnapshotStore
from ...errors import LabError
from ...observe.states import Container, EcsState, Task
from ...observe.usage import Usage
from ...polling import PollingPolicy
from ..base import ConsulAddress, LogLine, ResourceDrift, Say, TaskSecrets
from ..commands import Alarm, AmiInfo, Estimate, Finding, Reach, RuntimeInfo
from . import cloudwatch_logs, consul_secrets, ec2, host_keys, load_balancer, snapshots
from .consul_access import open_access
from .consul_secrets import ConsulSecrets
from .consul_server import ConsulServer
from .preflight import Preflight
from .registry import RegistryImages
from .session import Session
from .stack_info import GENERATION_PARAMETER, StackInfo, stack_info


class AwsTarget:
    """One lab in an AWS account and region."""

    name = "aws"
    # half an hour: Consul servers and instances boot within five minutes, but a rollback takes longer
    polling = PollingPolicy(delay=2.0, attempts=900)
    system_services = ("registrator",)
    runtime_info: RuntimeInfo | None = None

    def __init__(
        self,
        lab: Lab,
        *,
        region: str | None = None,
        profile: str | None = None,
        update_ami: bool = False,
        images: RegistryImages | None = None,
    ) -> None:
        self._lab = lab
        self._session = Session(region, profile)
        self.images = images or RegistryImages(lab, lab.aws.registry, self.client, lambda: self._preflight.architecture)
        self._preflight = Preflight(self._session, lab, self.images, update_ami=update_ami)
        self._warnings: list[Finding] = []
        self._is_gone = False
        self._execution_role: str | None = None

    @property
    def region(self) -> str:
        return self._session.region

    @property
    def endpoint(self) -> str | None:
        return self._session.endpoint()

    def client(self, service: str) -> Any:
        return self._session.client(service)

    # checks

    def blockers(self) -> list[LabError]:
        return [finding.error for finding in self.diagnostics() if finding.error]

    def diagnostics(self) -> list[Finding]:
        found = self._preflight.diagnostics()
        self._warnings = [finding for finding in found if finding.state == "warning"]
        return found

    def amis(self) -> list[AmiInfo]:
        return self._preflight.amis.in_use()

    def confirmation(self, replaced: Callable[[], Sequence[str]] = tuple) -> str | None:
        from .confirmation import confirmation

        stack, private = self._stack(), self._preflight.is_private
        lines = replaced() if stack and stack.lives else ()
        text = confirmation(self._lab, stack, self._session.identity(), self.region, lines, private=private)
        return text and f"{text}{self._cost()}"

    def estimate(self) -> Estimate:
        from .prices import estimate

        return estimate(self._session, self._lab, lambda: any(one.gives_addresses for one in self._preflight.subnets))

    def _cost(self) -> str:
        """A line for the confirmation; nothing where there is no price list."""
        try:
            found = self.estimate()
        except LabError:
            return ""
        return f"\n{found.summary}" if found.lines else ""

    @contextlib.contextmanager
    def lock(self, command: str = "") -> Iterator[None]:
        from . import lease
        from .account_lock import AccountLock
        from .lock import held, lock_path

        identity = self._session.identity()
        ssm = self._session.impatient_client("ssm", read_timeout=10.0, attempts=2)
        path = lock_path(identity.account, self.region, self._lab.name)
        with held(path, self._lab.name) as local:
            lock = AccountLock(ssm, self._lab.name, lease.owner(identity.arn, command), dead=local.dead)
            local.remember(lock.holder)
            with lease.kept(lock):
                self._session.guard = lock.check
                yield
                # Only after a success: threads of a run that failed may still be busy, and mustn't go on.
                self._session.guard = None
                lock.lab_is_gone = self._is_gone

    # prerequisites

    def prerequisites(self) -> str | None:
        return self._described() if self._secrets().are_written() else None

    def bootstrap(self, say: Say) -> str:
        for finding in self._warnings:
            say(f"{finding.name}: {finding.detail}; {finding.hint}")
        say("writing Consul's certificates, gossip key and tokens to SSM")
        parameters = self._secrets()
        lab_secrets = parameters.make()
        stack = self._stack()
        if stack and stack.has_acls and (services := parameters.new_services()):
            # Servers that boot later create these tokens themselves.
            say(f"creating Consul's tokens for {', '.join(services)}")
            with self.consul() as address:
                consul_secrets.create_service_tokens(address, lab_secrets, services)
        parameters.write(lab_secrets)
        return self._described()

    def teardown(self, say: Say) -> None:
        if self._secrets().delete():
            say("deleted the lab's parameters in SSM")
        self._is_gone = True
        consul_secrets.forget_authority(self._lab.name)
        host_keys.forget(self._lab.name)

    def _secrets(self) -> ConsulSecrets:
        return ConsulSecrets(self.client("ssm"), self._lab)

    def _described(self) -> str:
        return f"account {self._session.identity().account}, region {self.region}"

    # the secrets of Consul

    def consul_secrets(self) -> LabSecrets:
        return self._secrets().read()

    def rotation(self) -> Rotation | None:
        return self._secrets().rotation()

    def keep_rotation(self, rotation: Rotation | None) -> None:
        self._secrets().keep_rotation(rotation)

    def rotation_cost(self) -> str | None:
        number = self._lab.consul.servers + self._lab.min_instances
        return (
            f"`rotate` replaces the {number} instances of the lab {self._lab.name} one by one, which takes minutes for "
            "each. Their tasks move to the other instances meanwhile."
        )

    def adopt_secrets(self, lab_secrets: LabSecrets, say: Say) -> dict[str, str]:
        say("writing the new secrets to SSM, for instances and tasks that start from now on")
        self._secrets().replace(lab_secrets)
        return {GENERATION_PARAMETER: lab_secrets.generation}

    def snapshots(self) -> SnapshotStore:
        return snapshots.store(self._lab, self.client)

    def after_restore(self, say: Say) -> None:
        """Nothing to do: `rotate` has replaced the servers, so that each is configured with the token of now."""

    # the stack

    @property
    def template_parts(self) -> tuple[str, ...]:
        containers = [one for service in self._lab.services for one in service.all_containers]
        udp = any(port.protocol == "udp" for one in containers for port in one.ports or ())
        return ("alarms", *((load_balancer.PART,) if self._lab.aws.load_balancer else ()), *(("udp",) if udp else ()))

    def stack_parameters(self) -> dict[str, str]:
        found = self._preflight
        parameters = {
            "VpcId": found.vpc.id,
            "SubnetIds": ",".join(subnet.id for subnet in found.subnets),
            "AmazonDnsIp": found.vpc.dns_ip,
            **found.amis.parameters(),
            **found.access_parameters(),
        }
        return {**parameters, "SshCidr": found.ssh_cidr} if found.ssh_cidr else parameters

    def renewed_parameters(self) -> dict[str, str]:
        return self._preflight.amis.renewed()

    def instances_of(self, groups: Sequence[str]) -> dict[str, int]:
        if not groups:
            # without names, AWS would describe all
            return {}
        found = self.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=list(groups))
        return {group["AutoScalingGroupName"]: len(group["Instances"]) for group in found["AutoScalingGroups"]}

    def pinned_image(self, image: str, say: Say) -> str:
        from ...consul.licence import named
        from .image_digest import pinned

        stack = self._stack()
        current = stack.parameters.get("ConsulImage", "") if stack and stack.lives else ""
        found = pinned(image, current, say)
        if found != current:
            say(f"{named(self._lab.consul.version)} runs from the image {found}")
        return found

    def _stack(self) -> StackInfo | None:
        return stack_info(self.client("cloudformation"), self._lab.name)

    def stack_drift(self, stack: str) -> list[ResourceDrift]:
        from .stack_drift_detection import detect

        return detect(self.client("cloudformation"), stack, time.sleep)

    # instances

    def boot_log(self, instance_id: str, lines: int) -> list[str]:
        return ec2.boot_lines(ec2.console(self.client("ec2"), instance_id), lines)

    def consul(self) -> AbstractContextManager[ConsulAddress]:
        return open_access(self._lab, self._consul_server(), self.client, profile=self._session.profile or "")

    def reach(self) -> AbstractContextManager[Reach]:
        from .service_tunnels import reach_through_server

        return reach_through_server(self._lab, self._consul_server, self.client, self._session.profile or "")

    def _consul_server(self) -> ConsulServer:
        keys = self._lab.aws.consul_access == "ssh"
        return ec2.find_consul_server(self.client("ec2"), self._stack(), self._lab.name, keys=keys)

    def machine(self) -> None:
        return None

    def portal_url(self) -> str | None:
        portal = self._lab.portal
        if portal is None:
            return None
        if self._lab.aws.load_balancer:
            name = self.stack_output(load_balancer.DNS_NAME)
            return f"https://{name}/" if name else None
        host = ec2.portal_address(self.client("ecs"), self.client("ec2"), self._lab.name, portal.name)
        port = "" if portal.host_port == 80 else f":{portal.host_port}"
        return f"http://{host}{port}/" if host else None

    # tasks

    def task_secrets(self, service: str) -> TaskSecrets:
        return consul_secrets.task_secrets(self._lab, service, self.system_services)

    def execution_role(self) -> str | None:
        # asked for by each task definition; it stays as long as the stack
        self._execution_role = self._execution_role or self.stack_output("TaskExecutionRole")
        return self._execution_role

    def has_execution_role(self) -> bool:
        return True

    def target_group(self, service: str) -> str | None:
        portal = self._lab.portal
        is_behind = self._lab.aws.load_balancer and portal and portal.name == service
        return load_balancer.TARGET_GROUP if is_behind else None

    def stack_output(self, name: str) -> str | None:
        stack = self._stack()
        return stack.outputs.get(name) if stack else None

    def log_configuration(self, service: str) -> dict[str, Any] | None:
        return cloudwatch_logs.configuration(self._lab.name, self.region, service, self._lab.aws.logs)

    def last_lines(
        self, service: str, lines: int, task: str | None = None, since: float | None = None
    ) -> list[LogLine]:
        cloudwatch_logs.require_readable(self._lab.aws.logs)
        return cloudwatch_logs.last_lines(self.client("logs"), self._lab.name, service, lines, task, since)

    def follow(self, service: str, lines: int, since: float | None = None) -> Iterator[LogLine]:
        cloudwatch_logs.require_readable(self._lab.aws.logs)
        return cloudwatch_logs.follow(self.client("logs"), self._lab.name, service, lines, since)

    def task_output(
        self, task: str, definition: Mapping[str, Any], container: str
    ) -> cloudwatch_logs.StreamReader | None:
        return cloudwatch_logs.reader(self.client("logs"), task, definition, container)

    def execute(self, service: str, argv: Sequence[str], *, task: str | None) -> int:
        from ..running_container import running_container
        from .ecs_exec import execute

        running = running_container(self.client("ecs"), self._lab.name, service, task)
        return execute(self.client, self._lab.name, running, argv, self._session.profile or "")

    # what happens

    # nothing in the account records its events
    is_here = records_itself = False

    def ecs_state(self, since: int, wait: float) -> tuple[EcsState, float]:
        from .ecs_state import ecs_state

        return ecs_state(self.client("ecs"), self._lab.name, since)

    def usage(self, containers: Sequence[tuple[Task, Container]], seconds: float) -> list[Usage]:
        raise LabError(
            "AWS doesn't tell what a single task uses",
            where=f"cluster {self._lab.name}",
            why="CloudWatch has figures for each task only with Container Insights, which costs extra per metric",
            hint="CloudWatch's CPUUtilization and MemoryUtilization in AWS/ECS are those of a whole service",
        )

    def labs_with(self, service: str) -> list[str]:
        # another lab's Consul is in a network of its own
        return []

    def journals(self) -> list[Path]:
        from .lock import journal_path

        return [journal_path(self._session.identity().account, self.region, self._lab.name)]

    # for the commands

    def alarms(self) -> list[Alarm] | None:
        from .alarms import in_alarm

        return in_alarm(self.client, self._lab.name)

    def environment(self) -> Mapping[str, str]:
        variables = {
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_PROFILE": self._session.profile,
        }
        if self._lab.aws.consul_access == "direct":
            with self.consul() as address:
                variables |= self._consul_environment(address)
        return {name: value for name, value in variables.items() if value}

    def _consul_environment(self, address: ConsulAddress) -> dict[str, str]:
        """Who may read the lab's secrets owns the lab, and may do everything in its Consul."""
        known = self._secrets().read()
        return {
            "CONSUL_HTTP_ADDR": address.http,
            "CONSUL_CACERT": address.ca_file,
            "CONSUL_TLS_SERVER_NAME": address.server_name,
            "CONSUL_HTTP_TOKEN": known.token(MANAGEMENT),
            "CONSUL_MONITORING_TOKEN": known.token(MONITORING),
        }

    def leftovers(self) -> list[str]:
        from .leftovers import leftovers

        services = [*(service.name for service in self._lab.services), *self.system_services]
        # earlier versions named a family like its service
        families = dict.fromkeys([*map(self._lab.family, services), *services])
        return leftovers(self.client, self._lab.name, families)

    def retained(self) -> list[str]:
        return [*self.images.kept(), *snapshots.kept(self._lab)]
