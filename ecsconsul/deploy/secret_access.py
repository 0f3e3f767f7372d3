"""What the stack's execution role may read to start the services' tasks: their secrets and their files in S3.

An inline policy of the role allows exactly these. It is no part of the stack, whose template has no room for long
lists, so `down` removes it before the stack: CloudFormation can't delete a role with a policy that it doesn't know.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_execution_IAM_role.html
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from ..config.lab import Lab
from ..errors import LabError
from ..targets.base import Target
from ..targets.client_errors import client_error, error_code
from .step import Actual, BaseStep, Report

SECRET_ACCESS = "secret-access"
POLICY = "ecsconsul-secrets"
# the parts of a secret's ARN before :JSON-KEY:VERSION-STAGE:VERSION-ID
_SECRET_ARN_PARTS = 7


def has_secrets(lab: Lab) -> bool:
    """Whether ECS reads anything for the lab's tasks besides what the stack allows already."""
    return bool(sources_of(lab))


def sources_of(lab: Lab) -> list[str]:
    """The `valueFrom` of each secret and the ARN of each file in S3, each once."""
    containers = [container for service in lab.services for container in service.all_containers]
    found = {source for one in containers for source in (*one.secrets.values(), *one.env_file)}
    return sorted(found)


def policy_of(sources: Iterable[str], partition: str, region: str, account: str) -> dict[str, Any]:
    """The policy that allows reading these sources and no others."""
    parameters, secrets, files = [], [], []
    for source in sources:
        service = source.split(":")[2] if source.startswith("arn:") else ""
        if service == "secretsmanager":
            secrets.append(":".join(source.split(":")[:_SECRET_ARN_PARTS]))
        elif service == "s3":
            files.append(source)
        else:
            parameters.append(source if service else _parameter_arn(source, partition, region, account))
    buckets = [file.partition("/")[0] for file in files]
    statements = [
        _allow("Parameters", "ssm:GetParameters", parameters),
        _allow("Secrets", "secretsmanager:GetSecretValue", secrets),
        _allow("Files", "s3:GetObject", files),
        _allow("Buckets", "s3:GetBucketLocation", buckets),
    ]
    return {"Version": "2012-10-17", "Statement": [one for one in statements if one["Resource"]]}


def _parameter_arn(name: str, partition: str, region: str, account: str) -> str:
    return f"arn:{partition}:ssm:{region}:{account}:parameter/{name.lstrip('/')}"


def _allow(sid: str, action: str, resources: Iterable[str]) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Action": action, "Resource": sorted(set(resources))}


class SecretAccessStep(BaseStep):
    """The inline policy of the execution role."""

    name = SECRET_ACCESS
    needs: tuple[str, ...] = ("stack",)

    def __init__(self, lab: Lab, target: Target) -> None:
        self._lab = lab
        self._target = target

    @cached_property
    def _desired(self) -> dict[str, Any]:
        return {"read": sources_of(self._lab)}

    def inspect(self) -> Actual | None:
        role = self._role()
        found = self._policy(role) if role else None
        if role is None or found is None:
            return None
        number = len(sources_of(self._lab))
        is_current = found == self._wanted(role)
        return Actual(self.fingerprint if is_current else None, True, f"{number} sources" if is_current else "")

    def apply(self, actual: Actual | None, report: Report) -> str:
        role = self._role()
        if role is None:
            raise LabError(
                "The stack has no execution role", where=f"stack {self._lab.name}", hint="run `ecsconsul up`"
            )
        policy = json.dumps(self._wanted(role))
        self._iam().put_role_policy(RoleName=_name(role), PolicyName=POLICY, PolicyDocument=policy)
        return f"{len(sources_of(self._lab))} sources"

    def destroy(self, report: Report) -> str:
        role, iam = self._role(), self._iam()
        try:
            if role:
                iam.delete_role_policy(RoleName=_name(role), PolicyName=POLICY)
                return "deleted"
        except iam.exceptions.NoSuchEntityException:
            pass
        return "absent"

    def _wanted(self, role: str) -> dict[str, Any]:
        _, partition, _, _, account, _ = role.split(":", 5)
        return policy_of(sources_of(self._lab), partition, self._target.client("ecs").meta.region_name, account)

    def _policy(self, role: str) -> Any:
        iam = self._iam()
        try:
            found = iam.get_role_policy(RoleName=_name(role), PolicyName=POLICY)
        except iam.exceptions.NoSuchEntityException:
            return None
        return found["PolicyDocument"]

    def _role(self) -> str | None:
        return self._target.execution_role()

    def _iam(self) -> Any:
        return self._target.client("iam")


class ObsoleteAccessStep(SecretAccessStep):
    """The same policy in a lab whose config has no secrets any more; it is deleted once no service needs it."""

    def __init__(self, lab: Lab, target: Target, users: Iterable[str]) -> None:
        """`users` are the steps of the services, whose earlier tasks may still read secrets."""
        super().__init__(lab, target)
        self.needs = ("stack", *users)

    def desired(self) -> None:  # type: ignore[override]
        return None

    def inspect(self) -> Actual | None:
        role = self._role()
        try:
            is_left = role is not None and self._policy(role) is not None
        except client_error() as error:
            if error_code(error) != "AccessDenied":
                raise
            # policies of earlier versions don't allow looking, and then there was never anything to find
            return None
        return Actual(None, True, "not in the config") if is_left else None


def access_steps(lab: Lab, target: Target) -> list[SecretAccessStep]:
    """The step that lets ECS read the lab's secrets, where it needs a role for that."""
    return [SecretAccessStep(lab, target)] if has_secrets(lab) and target.has_execution_role() else []


def obsolete_access(lab: Lab, target: Target, users: Iterable[str]) -> list[SecretAccessStep]:
    """The step that removes what an earlier config allowed, after the steps of its `users`."""
    if has_secrets(lab) or not target.has_execution_role():
        return []
    step = ObsoleteAccessStep(lab, target, users)
    return [step] if step.inspect() else []


def _name(role: str) -> str:
    return role.rpartition("/")[2]
