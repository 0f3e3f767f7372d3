"""The looks before anything is made, at an account that moto plays."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from ecsconsul.config.lab import Lab, SshSpec
from ecsconsul.errors import LabError
from ecsconsul.targets.aws.preflight import Preflight, access_lacks, own_address
from ecsconsul.targets.aws.session import Session
from ecsconsul.targets.base import Finding
from tests.targets.aws.conftest import ACCOUNT, lab_of

Account = Callable[[str], Any]


class Engine:
    """A Docker engine that is well, or against which these speak."""

    def __init__(self, *against: LabError) -> None:
        self._against = list(against)

    def blockers(self) -> list[LabError]:
        return self._against


@pytest.fixture
def check_ip() -> Iterator[Callable[[bytes], str]]:
    """A server that tells who asks its address; it says what it is told to."""
    servers = []

    def told(body: bytes) -> str:
        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/"

    yield told
    for server in servers:
        server.shutdown()
        server.server_close()


def look(lab: Lab, *against: LabError, check_ip: str = "http://127.0.0.1:9/") -> dict[str, Finding]:
    found = Preflight(Session(None, None), lab, Engine(*against), check_ip=check_ip).diagnostics()
    assert len({one.name for one in found}) == len(found)
    return {one.name: one for one in found}


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets only these programs be on PATH."""

    def there_are(*names: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        for name in names:
            (folder / name).write_text("#!/bin/sh\n")
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))

    return there_are


def test_a_fresh_account_is_well(account: Account, lab: Lab, programs: Callable[..., None]) -> None:
    programs("ssh")
    found = look(lab)
    assert {name: one.state for name, one in found.items()} == {
        "identity": "ok", "vpc": "ok", "dns": "ok", "subnets": "ok", "instance type": "ok", "ami": "ok",
        "key pair": "ok", "ssh range": "ok", "permissions": "unknown", "docker": "ok", "consul access": "warning",
    }  # fmt: skip
    assert found["identity"].detail.startswith(f"account {ACCOUNT}, region us-east-1, as arn:aws:")
    assert found["dns"].detail == "Amazon's at 172.31.0.2"
    assert "arm64" not in found["ami"].detail
    assert all(one.hint for one in found.values() if one.state != "ok")


def test_all_that_is_wrong_is_found_at_once(account: Account, tmp_path: Path) -> None:
    lab = lab_of(tmp_path, vpc="vpc-0123456789abcdef0", instance_type="t9.small", key_name="nobodys")
    found = look(lab, LabError("There is no Docker engine", hint="start it"))
    failed = {name: one.error for name, one in found.items() if one.state == "failed"}
    assert failed.keys() == {"network", "instance type", "key pair", "ssh range", "docker"}
    assert all(error is not None and error.hint for error in failed.values())
    assert failed["ssh range"].where == "http://127.0.0.1:9/"


def test_without_credentials_nothing_else_is_asked_of_aws(
    account: Account, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    found = look(lab, LabError("There is no Docker engine"))
    assert found.keys() == {"identity", "docker", "consul access"}
    assert (found["identity"].state, found["docker"].state) == ("failed", "failed")


def test_a_key_pair_opens_ssh_for_ones_own_address(
    account: Account, tmp_path: Path, check_ip: Callable[[bytes], str]
) -> None:
    account("ec2").create_key_pair(KeyName="mine")
    found = look(lab_of(tmp_path, key_name="mine"), check_ip=check_ip(b"203.0.113.7\n"))
    assert (found["key pair"].detail, found["ssh range"].detail) == ("mine", "203.0.113.7/32 may open SSH")


def test_a_key_pair_that_is_not_there_is_told_with_those_that_are(account: Account, tmp_path: Path) -> None:
    account("ec2").create_key_pair(KeyName="mine")
    error = look(lab_of(tmp_path, key_name="yours", ssh_cidr="203.0.113.7/32"))["key pair"].error
    assert error is not None
    assert (error.what, error.why) == ("There is no EC2 key pair yours in this region", "there are: mine")


def test_ssh_for_the_whole_internet_is_warned_of(account: Account, tmp_path: Path) -> None:
    found = look(lab_of(tmp_path, ssh_cidr="0.0.0.0/0"))["ssh range"]
    assert (found.state, found.detail) == ("warning", "the whole internet may open SSH")


def test_dns_support_that_is_off_is_in_the_way(account: Account, tmp_path: Path) -> None:
    ec2 = account("ec2")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": False})
    assert look(lab_of(tmp_path))["dns"].state == "warning"
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsSupport={"Value": False})
    found = look(lab_of(tmp_path))["dns"]
    assert found.state == "failed"
    assert found.hint.startswith(f"aws ec2 modify-vpc-attribute --vpc-id {vpc}")


def test_subnets_that_give_no_public_addresses_are_warned_of(account: Account, tmp_path: Path) -> None:
    ec2 = account("ec2")
    subnets = [one["SubnetId"] for one in ec2.describe_subnets()["Subnets"]]
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    out = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=out, VpcId=vpc)
    table = ec2.describe_route_tables()["RouteTables"][0]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=out)
    ec2.modify_subnet_attribute(SubnetId=subnets[0], MapPublicIpOnLaunch={"Value": False})
    found = look(lab_of(tmp_path, subnets=(subnets[0],)))["subnets"]
    assert (found.state, found.detail) == ("warning", f"{subnets[0]} give no public addresses to instances")


def test_arm_instances_get_their_ami(account: Account, tmp_path: Path) -> None:
    found = look(lab_of(tmp_path, instance_type="t4g.small"))
    assert "t4g.small, arm64, in us-east-1" in found["instance type"].detail
    assert "/arm64/recommended/image_id" in found["ami"].detail


# --- the stack that is there


def make_stack(account: Account, lab: str, **parameters: str) -> None:
    names = "".join(f"  {name}: {{Type: String}}\n" for name in parameters)
    account("cloudformation").create_stack(
        StackName=lab,
        TemplateBody=f"Parameters:\n{names}Resources:\n  T:\n    Type: AWS::SNS::Topic\n",
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
        Tags=[{"Key": "ecsconsul:lab", "Value": lab}],
    )


@pytest.mark.parametrize("form", ["{}", "['{}']"])
def test_the_network_of_a_stack_that_is_there_stays(account: Account, tmp_path: Path, form: str) -> None:
    """A new public subnet that comes before it would move the instances."""
    ec2 = account("ec2")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    second, first = (one["SubnetId"] for one in ec2.describe_subnets()["Subnets"][1::-1])
    make_stack(account, "blue", VpcId=vpc, SubnetIds=form.format(second))
    assert [one.id for one in Preflight(Session(None, None), lab_of(tmp_path), Engine()).subnets] == [second]
    named = Preflight(Session(None, None), lab_of(tmp_path, subnets=(first,)), Engine())
    assert [one.id for one in named.subnets] == [first]


def test_who_has_moved_since_is_told_how_to_be_let_in(
    account: Account, tmp_path: Path, check_ip: Callable[[bytes], str]
) -> None:
    account("ec2").create_key_pair(KeyName="mine")
    make_stack(account, "blue", SshCidr="203.0.113.7/32")
    here = check_ip(b"203.0.113.8")
    found = look(lab_of(tmp_path, key_name="mine"), check_ip=here)["ssh range"]
    assert (found.state, found.detail) == (
        "warning",
        "the stack lets 203.0.113.7/32 in, and you are at 203.0.113.8/32",
    )
    assert "ssh_cidr: 203.0.113.8/32" in found.hint
    told = lab_of(tmp_path, key_name="mine", ssh_cidr="203.0.113.8/32")
    assert look(told, check_ip=here)["ssh range"].state == "ok"


# --- parts


@pytest.mark.parametrize("body", [b"", b"<html>", b"2001:db8::1", b"999.1.1.1"])
def test_an_answer_that_is_no_address_is_an_error(check_ip: Callable[[bytes], str], body: bytes) -> None:
    with pytest.raises(LabError, match="Your own address is not known") as raised:
        own_address(check_ip(body))
    assert "ssh_cidr" in raised.value.hint


@pytest.mark.parametrize(
    ("aws", "there", "lacking"),
    [
        ({"consul_access": "direct"}, (), None),
        ({"consul_access": "ssm"}, (), "there is no session-manager-plugin on PATH"),
        ({"consul_access": "ssm"}, ("session-manager-plugin",), None),
        ({}, (), "there is no ssh on PATH"),
        ({}, ("ssh",), "no key pair is named, so status and dig cannot reach Consul"),
        ({"key_name": "k"}, ("ssh",), None),
        ({"ssh": SshSpec(host="bastion")}, ("ssh",), None),
        ({"key_name": "k", "ssh": SshSpec(key="/nowhere/k.pem")}, ("ssh",), "there is no private key /nowhere/k.pem"),
    ],
)
def test_what_the_way_to_consul_lacks(
    programs: Callable[..., None], tmp_path: Path, aws: dict[str, Any], there: tuple[str, ...], lacking: str | None
) -> None:
    programs(*there)
    found = access_lacks(lab_of(tmp_path, **aws))
    assert (found and found[0]) == lacking
    assert found is None or found[1]


def test_a_registry_is_told(account: Account, lab: Lab) -> None:
    found = look(structs.replace(lab, aws=structs.replace(lab.aws, registry="my_docker_hub_repo")))["docker"]
    assert found.detail == "can build and push to my_docker_hub_repo"
