"""Reading the lab's instances from EC2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ecsconsul.errors import TargetAbsent, Unreachable
from ecsconsul.targets.aws import ec2 as instances
from ecsconsul.targets.aws.consul_server import ConsulServer
from ecsconsul.targets.aws.stack_info import StackInfo

Account = Callable[[str], Any]

CONSOLE = """\
[    0.000000] Linux version 6.1\r
\x1b[32m[  OK  ]\x1b[0m Started something\r
-----BEGIN SSH HOST KEY FINGERPRINTS-----\r
256 SHA256:abc root@ip-10-0-0-1 (ED25519)\r
-----END SSH HOST KEY FINGERPRINTS-----\r
-----BEGIN SSH HOST KEY KEYS-----\r
ecdsa-sha2-nistp256 AAAAE2Vj root@ip-10-0-0-1.ec2.internal\r
ssh-ed25519 AAAAC3Nz root@ip-10-0-0-1.ec2.internal\r
-----END SSH HOST KEY KEYS-----\r
\r
Cloud-init v. 22.2.2 finished\r
"""


class FakeEc2:
    """One instance and its console output: the latest, and that of its last change of state."""

    def __init__(self, latest: str | None = None, last: str | None = None, **instance: str) -> None:
        self._output = {True: latest, False: last}
        self._instance = instance

    def get_console_output(self, *, InstanceId: str, Latest: bool = False) -> dict[str, str]:
        output = self._output[Latest]
        if output is None:
            raise ClientError({"Error": {"Code": "UnsupportedOperation"}}, "GetConsoleOutput")
        return {"Output": output} if output else {}

    def describe_instances(self, *, InstanceIds: list[str]) -> Any:
        return {"Reservations": [{"Instances": [{"InstanceId": InstanceIds[0], **self._instance}]}]}


def test_host_keys_are_read_from_the_console() -> None:
    assert instances.host_keys(CONSOLE) == ("ecdsa-sha2-nistp256 AAAAE2Vj", "ssh-ed25519 AAAAC3Nz")
    assert instances.host_keys("") == ()
    assert instances.host_keys(CONSOLE.split("-----END SSH HOST KEY KEYS")[0]) == ()


def test_host_keys_of_the_last_boot_count() -> None:
    again = CONSOLE.replace("AAAAC3Nz", "AAAANEW")
    assert instances.host_keys(CONSOLE + again)[1] == "ssh-ed25519 AAAANEW"


def test_boot_lines_are_the_last_ones() -> None:
    assert instances.boot_lines(CONSOLE, 2) == ["-----END SSH HOST KEY KEYS-----", "Cloud-init v. 22.2.2 finished"]
    assert "[  OK  ] Started something" in instances.boot_lines(CONSOLE, 100)
    assert instances.boot_lines(CONSOLE, 0) == []
    assert instances.boot_lines("", 5) == []


@pytest.mark.parametrize(
    ("latest", "last", "expected"),
    [("now", "then", "now"), (None, "then", "then"), ("", "then", "then"), ("", "", ""), (None, None, "")],
)
def test_latest_console_output_is_preferred(latest: str | None, last: str | None, expected: str) -> None:
    assert instances.console(FakeEc2(latest, last), "i-1") == expected


COMPLETE = StackInfo("CREATE_COMPLETE", {}, {"ConsulServer": "a group"})


class Servers(FakeEc2):
    """The running instances with a lab's tag, by launch time."""

    def __init__(self, **launched: int) -> None:
        super().__init__(CONSOLE)
        self._launched = launched

    def describe_instances(self, *, Filters: list[dict[str, Any]]) -> Any:  # type: ignore[override]
        filters = {one["Name"]: one["Values"] for one in Filters}
        assert filters == {"tag:ecsconsul:consul-server-of": ["blue"], "instance-state-name": ["running"]}
        return {
            "Reservations": [
                {
                    "Instances": [
                        {
                            "InstanceId": name,
                            "LaunchTime": moment,
                            "PublicDnsName": "" if name == "numbered" else f"{name}.example",
                            "PublicIpAddress": "203.0.113.9",
                        }
                    ]
                }
                for name, moment in self._launched.items()
            ]
        }


def test_oldest_running_server_is_found() -> None:
    assert instances.find_consul_server(Servers(i2=7, i1=5, i3=9), COMPLETE, "blue", keys=False) == ConsulServer(
        "i1", "i1.example", ()
    )


def test_host_keys_are_read_on_request() -> None:
    assert len(instances.find_consul_server(Servers(i1=5), COMPLETE, "blue", keys=True).host_keys) == 2


def test_server_without_public_name_has_its_address() -> None:
    assert instances.find_consul_server(Servers(numbered=5), COMPLETE, "blue", keys=False).public_name == "203.0.113.9"


def test_private_instance_has_its_private_address() -> None:
    assert instances.address_of(FakeEc2(PublicDnsName="", PrivateIpAddress="10.0.0.5"), "i-1") == "10.0.0.5"
    both = FakeEc2(PublicDnsName="", PublicIpAddress="203.0.113.9", PrivateIpAddress="10.0.0.5")
    assert instances.address_of(both, "i-1") == "203.0.113.9"


def test_lab_without_running_server_is_unreachable() -> None:
    with pytest.raises(Unreachable, match="No Consul server of the lab blue is running"):
        instances.find_consul_server(Servers(), COMPLETE, "blue", keys=True)


@pytest.mark.parametrize(
    ("stack", "why"),
    [(None, "it has no stack"), (StackInfo("CREATE_IN_PROGRESS", {}, {}), "its stack is in CREATE_IN_PROGRESS")],
)
def test_lab_without_stack_outputs_is_absent(stack: StackInfo | None, why: str) -> None:
    with pytest.raises(TargetAbsent, match="The lab blue has no Consul yet") as raised:
        instances.find_consul_server(FakeEc2(), stack, "blue", keys=True)
    assert raised.value.why == why


class FakeEcs:
    """A service whose tasks run on one container instance."""

    def __init__(self, *statuses: str) -> None:
        self._statuses = statuses

    def list_tasks(self, **request: str) -> dict[str, list[str]]:
        assert request == {"cluster": "blue", "serviceName": "portal", "desiredStatus": "RUNNING"}
        return {"taskArns": list(self._statuses)}

    def describe_tasks(self, *, cluster: str, tasks: list[str]) -> dict[str, Any]:
        return {"tasks": [{"lastStatus": one, "containerInstanceArn": "arn:c"} for one in tasks]}

    def describe_container_instances(self, *, cluster: str, containerInstances: list[str]) -> dict[str, Any]:
        assert containerInstances == ["arn:c"]
        return {"containerInstances": [{"ec2InstanceId": "i-1"}]}


def test_portal_address_is_that_of_a_running_task() -> None:
    ec2 = FakeEc2(PublicDnsName="ec2-1.example")
    assert instances.portal_address(FakeEcs("PENDING", "RUNNING"), ec2, "blue", "portal") == "ec2-1.example"
    assert instances.portal_address(FakeEcs("PENDING"), ec2, "blue", "portal") == ""
    assert instances.portal_address(FakeEcs(), ec2, "blue", "portal") == ""


def test_missing_cluster_has_no_portal(account: Account) -> None:
    assert instances.portal_address(account("ecs"), account("ec2"), "blue", "portal") == ""
    assert instances.address_of(account("ec2"), "i-0123456789abcdef0") == ""
