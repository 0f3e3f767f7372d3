"""The secrets of a lab's Consul as SSM parameters, each where only who needs it may read it.

    operator/lock       which command is changing the lab: account_lock.py
    operator/secrets    all of it (LabSecrets), for who runs ecsconsul; the others follow from it
    ca                  the certificate of the lab's authority, which is no secret
    servers/…           a Consul server's configuration, certificate, management token, and the requests for the ACLs
    servers/snapshots   when the servers make snapshots and where, which they read before each one; absent without a
                        bucket: SECONDS-BETWEEN SECONDS-TO-KEEP BUCKET LIFE, as templates/server-snapshots.sh reads it
    agents/…            an ECS instance's configuration, with the agents' token
    monitoring/token    the token with which Prometheus reads metrics, for whom the operator lets read it
    tasks/SERVICE       the token of one service's tasks, which ECS puts into their environment

They never appear in a stack parameter, in user data, on a command line or in a log.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from ...config.lab import Lab, SnapshotSpec
from ...config.scalars import seconds_of
from ...consul.acl import AclRequest, acl_requests, service_requests
from ...consul.agent_config import security_config
from ...consul.lab_secrets import (
    MANAGEMENT,
    MONITORING,
    REGISTRATOR,
    LabSecrets,
    Rotation,
    new_secrets,
    service_holder,
)
from ...consul.snapshot_file import life_of
from ...errors import TargetAbsent
from ...paths import state_folder, write_private
from ..base import NO_SECRETS, ConsulAddress, TaskSecrets
from ..client_errors import items_of
from .account_lock import LOCK
from .lock import FOLDER
from .ssm_parameter import LabParameter, folder_of

OPERATOR, CA = "operator/secrets", "ca"
# While secrets are rotated: the old and the new gossip key and token seed. All else stays the same.
ROTATION = "operator/rotation"
# An earlier version's only secret. Running agents use it, and so do instances that Auto Scaling launches for its stack.
GOSSIP_KEY = "gossip-key"
SNAPSHOTS = "servers/snapshots"
# As Consul sees it in its container: templates/boot.sh mounts it.
FILES = "/consul/config"
# SSM's limit: https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_DeleteParameters.html
DELETED_AT_ONCE = 10
ENFORCED, TRANSITION = "enforced", "transition"

_BegunRotation = tuple[tuple[str, str], tuple[str, str]]


def services_with_ttl(lab: Lab) -> list[str]:
    """The services whose tasks report to Consul themselves."""
    return [service.name for service in lab.services if service.reports_itself]


def task_token(service: str) -> str:
    """The leaf of the parameter with a service's token."""
    return f"tasks/{service}"


def values(
    lab_secrets: LabSecrets, version: str, services: Iterable[str], snapshots: SnapshotSpec | None = None
) -> dict[str, str]:
    """The value of each parameter by its leaf, except for the operator's."""
    services = list(services)
    return {
        CA: lab_secrets.ca_certificate,
        **_configurations(lab_secrets, version),
        "servers/certificate": lab_secrets.server_certificate,
        "servers/key": lab_secrets.server_key,
        "servers/management-token": lab_secrets.token(MANAGEMENT),
        **_snapshots(lab_secrets, snapshots),
        "servers/acl/lab": _lines(acl_requests(lab_secrets)),
        **{_service_acl(one): _lines(service_requests(lab_secrets, [one])) for one in services},
        "monitoring/token": lab_secrets.token(MONITORING),
        task_token(REGISTRATOR): lab_secrets.token(REGISTRATOR),
        **{task_token(one): lab_secrets.token(service_holder(one)) for one in services},
    }


def _snapshots(lab_secrets: LabSecrets, spec: SnapshotSpec | None) -> dict[str, str]:
    if spec is None or spec.bucket is None:
        return {}
    every, keep = (max(1, round(seconds_of(each))) for each in (spec.every, spec.keep))
    return {SNAPSHOTS: f"{every} {keep} {spec.bucket} {life_of(lab_secrets)}"}


def _configurations(lab_secrets: LabSecrets, version: str) -> dict[str, str]:
    """Consul's configuration in each phase: an instance reads that of the phase its launch template is for."""
    return {
        f"{folder}/consul-{phase}": json.dumps(_configuration(lab_secrets, version, folder == "servers", phase))
        for folder in ("servers", "agents")
        for phase in (ENFORCED, TRANSITION)
    }


def _configuration(lab_secrets: LabSecrets, version: str, server: bool, phase: str) -> dict[str, Any]:
    transition = phase == TRANSITION
    found = security_config(lab_secrets, server=server, files=FILES, version=version, transition=transition)
    if transition and not server:
        # An earlier version's Registrator has no token. When the servers begin to demand one, before the instance is
        # replaced, its agent still has to report how the services are that were registered so.
        found["acl"]["tokens"]["default"] = lab_secrets.token(REGISTRATOR)
    return found


def _service_acl(service: str) -> str:
    return f"servers/acl/services/{service}"


def _lines(requests: Iterable[AclRequest]) -> str:
    """`PATH BODY` in each line, as templates/consul-server.sh reads it."""
    return "".join(f"{request.path} {json.dumps(request.body)}\n" for request in requests)


def task_secrets(lab: Lab, service: str, system_services: Iterable[str]) -> TaskSecrets:
    """A system service finds Consul by itself; a service with a `ttl` check also learns where its agent listens."""
    token = {"CONSUL_HTTP_TOKEN": f"{folder_of(lab.name)}/{task_token(service)}"}
    if service in system_services:
        return TaskSecrets(token, {})
    return TaskSecrets(token, agent_variables(lab)) if service in services_with_ttl(lab) else NO_SECRETS


def agent_variables(lab: Lab) -> dict[str, str]:
    """How a task reaches its agent: at Docker's bridge, an address that is in no agent's certificate.

    Not to verify it is right here: the connection doesn't leave the instance, so nobody can come between.
    """
    bridge = lab.aws.docker_bridge.partition("/")[0]
    return {"CONSUL_HTTP_ADDR": f"https://{bridge}:8501", "CONSUL_HTTP_SSL_VERIFY": "false"}


def create_service_tokens(address: ConsulAddress, lab_secrets: LabSecrets, services: Iterable[str]) -> None:
    """Create the tokens of services in a running Consul, unless they exist. Raises Unreachable, Refused."""
    from ...consul.rotation import create_tokens

    create_tokens(address.client(lab_secrets.token(MANAGEMENT)), service_requests(lab_secrets, services))


def authority_file(ssm: Any, lab: str) -> Path:
    """A file on this machine with the certificate of the lab's authority. Raises LabError if there is none."""
    try:
        certificate = ssm.get_parameter(Name=f"{folder_of(lab)}/{CA}")["Parameter"]["Value"]
    except ssm.exceptions.ParameterNotFound as error:
        raise TargetAbsent(
            f"The lab {lab} has no certificates yet", why=str(error), hint="run `ecsconsul up`"
        ) from error
    # labs of one name in two regions have different ones
    path = _authority_files() / f"{lab}.ca-{hashlib.sha256(certificate.encode()).hexdigest()[:12]}.pem"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_private(path, certificate.encode())
    return path


def forget_authority(lab: str) -> None:
    """Remove the lab's files of `authority_file`."""
    for path in _authority_files().glob(f"{lab}.ca-*.pem"):
        path.unlink(missing_ok=True)


def _authority_files() -> Path:
    return state_folder() / FOLDER


class ConsulSecrets:
    """The parameters of one lab. Every method raises LabError for a parameter that this lab did not make."""

    def __init__(self, ssm: Any, lab: Lab) -> None:
        self._ssm = ssm
        self._lab = lab

    def are_written(self) -> bool:
        """Whether all parameters are there, with their values."""
        lab_secrets = self._existing()
        return lab_secrets is not None and not self._changes(lab_secrets) and SNAPSHOTS not in self._stale()

    def make(self) -> LabSecrets:
        """The lab's secrets, created if there are none; other parameters are left to `write`."""
        found = self._existing()
        if found:
            return found
        if GOSSIP_KEY in self._found:
            self._parameter(GOSSIP_KEY).require_ownership()
        made = new_secrets(self._lab.name, self._found.get(GOSSIP_KEY, ""))
        self._parameter(OPERATOR).make(msgspec.json.encode(made).decode())
        # Another `up` may have been first.
        return self.read()

    def read(self) -> LabSecrets:
        """The lab's secrets. Raises TargetAbsent if there are none."""
        text = self._value(OPERATOR)
        if text is None:
            raise TargetAbsent(f"The lab {self._lab.name} has no secrets yet", hint="`ecsconsul up` creates them")
        return msgspec.json.decode(text, type=LabSecrets)

    def rotation(self) -> Rotation | None:
        """The rotation that has begun and not ended."""
        text = self._value(ROTATION)
        if text is None:
            return None
        known, begun = self.read(), msgspec.json.decode(text, type=_BegunRotation)
        old, new = (msgspec.structs.replace(known, gossip_key=key, token_seed=seed) for key, seed in begun)
        return Rotation(old, new)

    def keep_rotation(self, rotation: Rotation | None) -> None:
        """Keep a rotation that begins, or forget one that has ended."""
        parameter = self._parameter(ROTATION)
        if rotation is None:
            parameter.delete()
            return
        begun = [(one.gossip_key, one.token_seed) for one in (rotation.old, rotation.new)]
        text = msgspec.json.encode(begun).decode()
        (parameter.replace if parameter.exists() else parameter.make)(text)

    def replace(self, lab_secrets: LabSecrets) -> None:
        """Give the lab other secrets."""
        self._parameter(OPERATOR).replace(msgspec.json.encode(lab_secrets).decode())
        self.write(lab_secrets)

    def new_services(self) -> list[str]:
        """The services with a `ttl` check that the parameters don't know yet."""
        return [service for service in services_with_ttl(self._lab) if _service_acl(service) not in self._found]

    def write(self, lab_secrets: LabSecrets) -> None:
        """Write each parameter that is missing or has another value, and delete those of services that have gone.

        A new Consul server would create the tokens of all that it finds, whatever generation they are of.
        """
        for parameter in map(self._parameter, self._stale()):
            if parameter.is_ours():
                parameter.delete()
        for leaf, value in self._changes(lab_secrets).items():
            parameter = self._parameter(leaf)
            (parameter.replace if leaf in self._found else parameter.make)(value)

    def delete(self) -> int:
        """Delete all of the lab's parameters, also those of services that it no longer has; returns how many."""
        own = [parameter.name for parameter in map(self._parameter, self._found) if parameter.is_ours()]
        for start in range(0, len(own), DELETED_AT_ONCE):
            self._ssm.delete_parameters(Names=own[start : start + DELETED_AT_ONCE])
        return len(own)

    @cached_property
    def _found(self) -> dict[str, str]:
        """The values of all parameters of the lab by their leaf."""
        folder = folder_of(self._lab.name)
        request = {"Path": folder, "Recursive": True, "WithDecryption": True}
        found = items_of(self._ssm, "get_parameters_by_path", "Parameters", **request)
        leaves = {one["Name"].removeprefix(f"{folder}/"): one["Value"] for one in found}
        # not a secret; whoever holds the lock gives it back
        leaves.pop(LOCK, None)
        return leaves

    def _value(self, leaf: str) -> str | None:
        """A parameter's value now; None if there is none."""
        parameter = self._parameter(leaf)
        try:
            found = self._ssm.get_parameter(Name=parameter.name, WithDecryption=True)
        except self._ssm.exceptions.ParameterNotFound:
            return None
        parameter.require_ownership()
        return str(found["Parameter"]["Value"])

    def _existing(self) -> LabSecrets | None:
        if OPERATOR not in self._found:
            return None
        self._parameter(OPERATOR).require_ownership()
        return msgspec.json.decode(self._found[OPERATOR], type=LabSecrets)

    def _changes(self, lab_secrets: LabSecrets) -> Mapping[str, str]:
        consul = self._lab.consul
        desired = values(lab_secrets, consul.version, services_with_ttl(self._lab), consul.snapshots)
        return {leaf: value for leaf, value in desired.items() if self._found.get(leaf) != value}

    def _stale(self) -> list[str]:
        """The parameters of services that no longer have a token, and of snapshots that no longer have a bucket."""
        services = services_with_ttl(self._lab)
        wanted = {task_token(REGISTRATOR), *map(task_token, services), *map(_service_acl, services)}
        spec = self._lab.consul.snapshots
        wanted |= {SNAPSHOTS} if spec and spec.bucket else set()
        optional = (task_token(""), _service_acl(""), SNAPSHOTS)
        return [leaf for leaf in self._found if leaf.startswith(optional) and leaf not in wanted]

    def _parameter(self, leaf: str) -> LabParameter:
        kind = "String" if leaf == CA else "SecureString"
        return LabParameter(self._ssm, self._lab.name, leaf, "Secures the lab's Consul", kind=kind)
