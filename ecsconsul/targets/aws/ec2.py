"""The instances of the lab as EC2 tells of them: addresses, what they wrote while they booted, their SSH host keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...errors import TargetAbsent, Unreachable
from .consul_server import ConsulServer
from .stack_info import StackInfo

# by which Consul's members find the servers that they join (templates/boot.sh)
SERVER_TAG = "ecsconsul:consul-server-of"
# cloud-init writes them there: https://cloudinit.readthedocs.io/en/latest/reference/modules.html#ssh
_HOST_KEYS = re.compile(r"-----BEGIN SSH HOST KEY KEYS-----\r?\n(.*?)-----END SSH HOST KEY KEYS-----", re.DOTALL)
# terminals' colours, and what the kernel puts before its lines
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def find_consul_server(ec2: Any, stack: StackInfo | None, lab: str, *, keys: bool) -> ConsulServer:
    """The Consul server that runs longest, with its SSH host keys if these are wanted.

    Raises TargetAbsent when the stack is not there yet, Unreachable when none of its servers runs.
    """
    if not stack or not stack.outputs:
        why = f"its stack is in {stack.status}" if stack else "it has no stack"
        raise TargetAbsent(f"The lab {lab} has no Consul yet", why=why, hint="`ecsconsul up --target aws` makes it")
    alive = [
        {"Name": f"tag:{SERVER_TAG}", "Values": [lab]},
        {"Name": "instance-state-name", "Values": ["running"]},
    ]
    # so many that they come on more than one page belong to no lab
    servers = _instances(ec2.describe_instances(Filters=alive))
    if not servers:
        hint = "Auto Scaling starts another one within minutes; `ecsconsul status --target aws` tells when it is there"
        raise Unreachable(f"No Consul server of the lab {lab} runs", where=f"stack {lab}", why=stack.status, hint=hint)
    eldest = min(servers, key=lambda server: (server["LaunchTime"], server["InstanceId"]))
    instance = str(eldest["InstanceId"])
    return ConsulServer(instance, _name_of(eldest), host_keys(console(ec2, instance)) if keys else ())


def address_of(ec2: Any, instance: str) -> str:
    """The public name of an instance, or else its public address; empty when it has none, or is gone."""
    from botocore.exceptions import ClientError

    try:
        found = _instances(ec2.describe_instances(InstanceIds=[instance]))
    except ClientError:
        return ""
    return _name_of(found[0]) if found else ""


def _instances(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [instance for reservation in answer["Reservations"] for instance in reservation["Instances"]]


def _name_of(instance: Mapping[str, Any]) -> str:
    return str(instance.get("PublicDnsName") or instance.get("PublicIpAddress") or "")


def console(ec2: Any, instance: str) -> str:
    """What the instance wrote to its console; empty where that is not told."""
    from botocore.exceptions import ClientError

    for more in ({"Latest": True}, {}):
        try:
            # some instance types have only what was written at the last change of state
            found = ec2.get_console_output(InstanceId=instance, **more).get("Output") or ""
        except ClientError:
            continue
        if found:
            return str(found)
    return ""


def boot_lines(output: str, lines: int) -> list[str]:
    """The last lines of a console's output."""
    plain = _ESCAPES.sub("", output).replace("\r", "\n").splitlines()
    return [line for line in plain if line.strip()][-lines:] if lines else []


def host_keys(output: str) -> tuple[str, ...]:
    """The public host keys, each as in a known_hosts file without its host: `ssh-ed25519 AAAA...`."""
    found = _HOST_KEYS.findall(_ESCAPES.sub("", output))
    lines = [line.strip() for line in found[-1].splitlines()] if found else []
    return tuple(" ".join(line.split()[:2]) for line in lines if len(line.split()) >= 2)


def portal_address(ecs: Any, ec2: Any, cluster: str, service: str) -> str:
    """The public address of an instance that runs a task of a service; empty when none does."""
    from botocore.exceptions import ClientError

    try:
        arns = ecs.list_tasks(cluster=cluster, serviceName=service, desiredStatus="RUNNING")["taskArns"]
        tasks = ecs.describe_tasks(cluster=cluster, tasks=arns[:100])["tasks"] if arns else []
        running = [t for t in tasks if t.get("lastStatus") == "RUNNING" and t.get("containerInstanceArn")]
        if not running:
            return ""
        where = running[0]["containerInstanceArn"]
        found = ecs.describe_container_instances(cluster=cluster, containerInstances=[where])["containerInstances"]
    except ClientError:
        # where the portal is is only told, never needed
        return ""
    return address_of(ec2, found[0]["ec2InstanceId"]) if found and found[0].get("ec2InstanceId") else ""
