"""Reads the lab's instances from EC2: addresses, console output, and SSH host keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...errors import TargetAbsent, Unreachable
from ..client_errors import client_error
from .consul_server import ConsulServer
from .stack_info import StackInfo

# Consul agents find the servers to join by this tag (templates/boot.sh)
SERVER_TAG = "ecsconsul:consul-server-of"
# cloud-init prints them on the console: https://cloudinit.readthedocs.io/en/latest/reference/modules.html#ssh
_HOST_KEYS = re.compile(r"-----BEGIN SSH HOST KEY KEYS-----\r?\n(.*?)-----END SSH HOST KEY KEYS-----", re.DOTALL)
# terminal colours
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def find_consul_server(ec2: Any, stack: StackInfo | None, lab: str, *, keys: bool) -> ConsulServer:
    """The Consul server that has run longest, with its SSH host keys if `keys` is set.

    Raises TargetAbsent if the stack doesn't exist yet, Unreachable if no server is running.
    """
    if not stack or not stack.outputs:
        why = f"its stack is in {stack.status}" if stack else "it has no stack"
        hint = "create it with `ecsconsul up --target aws`"
        raise TargetAbsent(f"The lab {lab} has no Consul yet", where=f"stack {lab}", why=why, hint=hint)
    alive = [{"Name": f"tag:{SERVER_TAG}", "Values": [lab]}, {"Name": "instance-state-name", "Values": ["running"]}]
    # a lab never has more servers than fit on one page
    servers = _instances(ec2.describe_instances(Filters=alive))
    if not servers:
        why = f"EC2 has no running instance with the tag {SERVER_TAG}={lab}; the stack is in {stack.status}"
        hint = "wait a few minutes for Auto Scaling to replace it; `ecsconsul status --target aws` shows the progress"
        raise Unreachable(f"No Consul server of the lab {lab} is running", where=f"stack {lab}", why=why, hint=hint)
    oldest = min(servers, key=lambda server: (server["LaunchTime"], server["InstanceId"]))
    instance = str(oldest["InstanceId"])
    return ConsulServer(instance, _name_of(oldest), host_keys(console(ec2, instance)) if keys else ())


def address_of(ec2: Any, instance: str) -> str:
    """An instance's public DNS name or address, else its private address; empty if it is gone."""
    try:
        found = _instances(ec2.describe_instances(InstanceIds=[instance]))
    except client_error():
        return ""
    return _name_of(found[0]) if found else ""


def _instances(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [instance for reservation in answer["Reservations"] for instance in reservation["Instances"]]


def _name_of(instance: Mapping[str, Any]) -> str:
    names = (instance.get(key) for key in ("PublicDnsName", "PublicIpAddress", "PrivateIpAddress"))
    return str(next((name for name in names if name), ""))


def console(ec2: Any, instance: str) -> str:
    """An instance's console output; empty if EC2 has none."""
    for options in ({"Latest": True}, {}):
        try:
            # some instance types only have the output up to their last change of state
            found = ec2.get_console_output(InstanceId=instance, **options).get("Output") or ""
        except client_error():
            continue
        if found:
            return str(found)
    return ""


def boot_lines(output: str, lines: int) -> list[str]:
    """The last lines of console output."""
    plain = _ESCAPES.sub("", output).replace("\r", "\n").splitlines()
    return [line for line in plain if line.strip()][-lines:] if lines else []


def host_keys(output: str) -> tuple[str, ...]:
    """The public host keys in console output, each as `ssh-ed25519 AAAA...`."""
    found = _HOST_KEYS.findall(_ESCAPES.sub("", output))
    lines = [line.strip() for line in found[-1].splitlines()] if found else []
    return tuple(" ".join(line.split()[:2]) for line in lines if len(line.split()) >= 2)


def portal_address(ecs: Any, ec2: Any, cluster: str, service: str) -> str:
    """The address of an instance that runs a task of the service, private if it has no public one; else empty."""
    try:
        arns = ecs.list_tasks(cluster=cluster, serviceName=service, desiredStatus="RUNNING")["taskArns"]
        tasks = ecs.describe_tasks(cluster=cluster, tasks=arns[:100])["tasks"] if arns else []
        running = [t for t in tasks if t.get("lastStatus") == "RUNNING" and t.get("containerInstanceArn")]
        if not running:
            return ""
        arn = running[0]["containerInstanceArn"]
        found = ecs.describe_container_instances(cluster=cluster, containerInstances=[arn])["containerInstances"]
    except client_error():
        # the portal's address is only shown, never needed
        return ""
    return address_of(ec2, found[0]["ec2InstanceId"]) if found and found[0].get("ec2InstanceId") else ""
