"""moto's AWS API as a WSGI application, and the state that the region reads from it."""

from __future__ import annotations

import copy
import functools
import gc
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .auto_scaling import AutoScaling, Group, fix_groups
from .botocore_models import decode_models_quickly
from .resource_events import fix_stack_events

ACCOUNT = "123456789012"
# Loaded ahead, since each would delay its first request by up to a second.
_SERVICES = ("ecs", "ec2", "cloudformation", "iam", "autoscaling", "ssm", "logs", "sts")


@dataclass(frozen=True)
class MotoInstance:
    """An EC2 instance that runs according to moto. `cpu` is in ECS's units (1,024 per core), `memory` in MiB.

    `leaving`: its Auto Scaling group no longer wants it, and it waits for `terminate`.
    """

    id: str
    tags: dict[str, str]
    cpu: int
    memory: int
    zone: str = ""
    kind: str = ""
    leaving: bool = False
    ami: str = ""
    subnet: str = ""
    vpc: str = ""


class Moto:
    """moto in this process. It isn't thread-safe, so hold `lock` around every use."""

    account = ACCOUNT

    def __init__(self, region: str, next_instance_id: Callable[[], str]) -> None:
        """Import moto and the services that the lab uses; takes one to two seconds."""
        # The imports create millions of permanent objects; garbage collection would take a third of the time.
        gc.disable()
        decode_models_quickly()
        from moto.ec2.models import instances
        from moto.moto_server import werkzeug_app

        # moto calls this function of its module for the id of each new instance.
        instances.random_instance_id = next_instance_id  # type: ignore[attr-defined]
        fix_groups()
        fix_stack_events()
        self.region = region
        self.lock = threading.RLock()
        self._serves = functools.lru_cache(maxsize=256)(self._has_backend)
        # The region answers no web page; the request guard removes what services of moto add by themselves.
        werkzeug_app.DISABLE_GLOBAL_CORS = True  # type: ignore[attr-defined]
        self.application = werkzeug_app.DomainDispatcherApplication(werkzeug_app.create_backend_app)
        # Without a cache moto lists its folders for each request, which takes as long as most requests themselves.
        self.application.get_backend_for_host = functools.cache(  # type: ignore[method-assign]
            self.application.get_backend_for_host
        )
        for service in _SERVICES:
            self.application.get_application({"HTTP_AUTHORIZATION": _authorization(region, service), **_BARE})
        self._warm_up()
        gc.freeze()
        gc.enable()

    def serves(self, service: str) -> bool:
        """Whether moto knows the service with this name in a signature's scope."""
        return self._serves(service.lower())

    def _has_backend(self, service: str) -> bool:
        from moto.moto_server.werkzeug_app import SIGNING_ALIASES

        name = SIGNING_ALIASES.get(service, service)
        hosts = (f"{name}.{self.region}.amazonaws.com", f"{name}.amazonaws.com", f"{name}.{self.region}.api.aws")
        patterns = [pattern for _, pattern in self.application.backend_url_patterns]
        return any(pattern.match(f"http://{host}") for pattern in patterns for host in hosts)

    def _warm_up(self) -> None:
        """Load what the first stack would otherwise wait for."""
        import moto.cloudformation.parsing  # noqa: F401

        _backend("ec2", self.region)._create_default_encryption_key()

    def find(self, cluster: str, task_definition: str) -> tuple[bool, dict[str, Any] | None]:
        """Whether the cluster exists, and the task definition with this family, family:revision or ARN, if any."""
        with self.lock:
            found = _backend("ecs", self.region).clusters.get(cluster)
            definition = self.task_definition(task_definition) if task_definition else None
            return found is not None and found.status == "ACTIVE", copy.deepcopy(definition[0]) if definition else None

    def providers_of(self, cluster: str) -> tuple[list[str], list[dict[str, Any]]]:
        """The names of a cluster's capacity providers, and its default strategy."""
        with self.lock:
            found = _backend("ecs", self.region).clusters.get(cluster)
            names = [name.rpartition("/")[2] for name in getattr(found, "capacity_providers", None) or ()]
            return names, list(getattr(found, "default_capacity_provider_strategy", None) or ())

    def clusters_with_provider(self, provider: str) -> list[str]:
        """The names of the clusters that use a capacity provider."""
        with self.lock:
            clusters = _backend("ecs", self.region).clusters.values()
            active = [one.name for one in clusters if one.status == "ACTIVE"]
            return [name for name in active if provider in self.providers_of(name)[0]]

    def has_group(self, name_or_arn: str) -> bool:
        """Whether there is such an Auto Scaling group."""
        return self.group(name_or_arn) is not None

    def task_definition(self, name: str) -> tuple[dict[str, Any], list[dict[str, str]]] | None:
        """A task definition as the API describes it, and its tags; None when there is none.

        Read from moto's state, not through its API: a lab of many services describes many of them.
        """
        from moto.ecs.exceptions import TaskDefinitionNotFoundException

        with self.lock:
            try:
                found = _backend("ecs", self.region).describe_task_definition(name)
            except (TaskDefinitionNotFoundException, ValueError):
                # ValueError: the revision isn't a number.
                return None
            shown = {key: getattr(found, attribute, None) for key, attribute in _definition_fields().items()}
            return {key: value for key, value in shown.items() if value is not None}, list(found.tags)

    def parameter(self, name_or_arn: str) -> str | None:
        """The value of an SSM parameter, decrypted; None when there is none."""
        from moto.ssm.exceptions import ParameterVersionNotFound

        name = name_or_arn.partition(":parameter/")[2] or name_or_arn
        with self.lock:
            parameters = _backend("ssm", self.region)
            try:
                # an ARN doesn't say whether the name begins with a slash
                found = parameters.get_parameter(name) or parameters.get_parameter(f"/{name}")
            except ParameterVersionNotFound:
                return None
            return str(found.response_object(True)["Value"]) if found else None

    def secret(self, arn: str, stage: str, version: str) -> str | None:
        """The text of a secret of Secrets Manager; "" for the current stage or any version. None when there is none."""
        from moto.core.exceptions import JsonRESTError

        with self.lock:
            secrets = _backend("secretsmanager", self.region)
            try:
                # "" isn't None there
                found = secrets.get_secret_value(arn, version or None, stage or None)
            except JsonRESTError:
                return None
            return str(found["SecretString"]) if "SecretString" in found else None

    def has_log_group(self, name: str) -> bool:
        """Whether there is such a log group in CloudWatch."""
        with self.lock:
            return name in _backend("logs", self.region).groups

    def validation_errors(self, operation: str, request: dict[str, Any], service: str = "ecs") -> str:
        """What is missing, unknown or of the wrong type in a request, one error per line; "" for a valid request.

        Uses the service model of AWS's SDK for Python.
        """
        from botocore.validate import ParamValidator
        from moto.core.utils import get_service_model

        shape = get_service_model(service).operation_model(operation).input_shape
        return str(ParamValidator().validate(request, shape).generate_report())

    def instances(self) -> list[MotoInstance]:
        """The running instances."""
        with self.lock:
            leaving = self._groups().leaving()
            return [self._instance(one, leaving) for one in _backend("ec2", self.region).all_running_instances()]

    def hold_leaving(self) -> None:
        """From now on, let ECS instances that leave an Auto Scaling group wait until `terminate`."""
        with self.lock:
            self._groups().hold_leaving()

    def terminate(self, instance_id: str) -> None:
        """Terminate an instance that is leaving its Auto Scaling group; nothing if it is gone."""
        with self.lock:
            self._groups().terminate(instance_id)

    def group(self, name_or_arn: str) -> Group | None:
        """An Auto Scaling group, if it exists."""
        with self.lock:
            return self._groups().group(name_or_arn)

    def grow(self, group: str, desired: int) -> None:
        """Launch instances of an Auto Scaling group, unless it wants as many already."""
        with self.lock:
            found = self._groups().group(group)
            if found and found.desired < desired <= found.maximum:
                self._groups().set_desired(group, desired)

    def remove_from_group(self, instance_id: str) -> None:
        """Let an instance leave its Auto Scaling group, which gets smaller."""
        with self.lock:
            self._groups().remove(instance_id)

    def _groups(self) -> AutoScaling:
        return AutoScaling(_backend("autoscaling", self.region))

    def default_network(self) -> tuple[str, tuple[str, ...]]:
        """The ids of the default VPC and of its subnets."""
        with self.lock:
            vpcs = _backend("ec2", self.region).describe_vpcs()
            vpc = next(one for one in vpcs if one.is_default in ("true", True))
            subnets = [s.id for s in _backend("ec2", self.region).describe_subnets() if s.vpc_id == vpc.id]
            return vpc.id, tuple(subnets)

    def set_address(self, instance_id: str, address: str) -> None:
        """Make the EC2 API return the instance's real address."""
        with self.lock:
            for one in _backend("ec2", self.region).all_running_instances():
                if one.id == instance_id:
                    for interface in one.nics.values():
                        interface.private_ip_address = address

    def _instance(self, one: Any, leaving: set[str]) -> MotoInstance:
        from moto.ec2.models.instance_types import INSTANCE_TYPES

        kind = INSTANCE_TYPES[one.instance_type]
        # The ECS agent reserves 32 MiB or more of an instance's memory for the system.
        memory = int(kind["MemoryInfo"]["SizeInMiB"]) * 95 // 100
        tags = {tag["key"]: tag["value"] for tag in one.get_tags()}
        cpu = int(kind["VCpuInfo"]["DefaultVCpus"]) * 1024
        place = {"ami": one.image_id or "", "subnet": one.subnet_id or "", "vpc": one.vpc_id or ""}
        zone, kind = one.placement.zone, one.instance_type
        return MotoInstance(one.id, tags, cpu, memory, zone, kind, one.id in leaving, **place)


_BARE = {
    "HTTP_HOST": "127.0.0.1",
    "PATH_INFO": "/",
    "REQUEST_METHOD": "POST",
    "SERVER_NAME": "127.0.0.1",
    "SERVER_PORT": "80",
}


def _backend(service: str, region: str) -> Any:
    from moto import backends

    return backends.get_backend(service)[ACCOUNT][region]  # type: ignore[call-overload]


def _authorization(region: str, service: str) -> str:
    scope = f"local/20200101/{region}/{service}/aws4_request"
    return f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"


@functools.cache
def _definition_fields() -> dict[str, str]:
    """The fields of a task definition in AWS's model, and moto's attributes for them."""
    from botocore import xform_name
    from moto.core.utils import get_service_model

    fields = get_service_model("ecs").shape_for("TaskDefinition").members
    return {field: "arn" if field == "taskDefinitionArn" else xform_name(field) for field in fields}
