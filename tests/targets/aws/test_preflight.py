"""The checks before `up`, on an account that moto simulates."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from ecsconsul.config.aws_settings import LoadBalancerSpec, SshSpec
from ecsconsul.config.lab import Lab
from ecsconsul.errors import LabError
from ecsconsul.targets.aws.preflight import Preflight, missing_for_access, own_address
from ecsconsul.targets.aws.reachability import INTERFACES
from ecsconsul.targets.aws.session import Session
from ecsconsul.targets.commands import Finding
from tests.targets.aws.conftest import ACCOUNT, lab_of

Account = Callable[[str], Any]


class Engine:
    """A Docker engine and registry with these blockers."""

    def __init__(self, *blockers: LabError) -> None:
        self._blockers = list(blockers)

    def blockers(self) -> list[LabError]:
        return self._blockers


@pytest.fixture
def check_ip() -> Iterator[Callable[[bytes], str]]:
    """Starts servers that answer with a given body, as AWS's checkip service does."""
    servers = []

    def start(body: bytes) -> str:
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

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def check(lab: Lab, *blockers: LabError, check_ip: str = "http://127.0.0.1:9/") -> dict[str, Finding]:
    found = Preflight(Session(None, None), lab, Engine(*blockers), check_ip=check_ip).diagnostics()
    assert len({one.name for one in found}) == len(found)
    return {one.name: one for one in found}


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts only the named programs on PATH."""

    def put(*names: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        for name in names:
            (folder / name).write_text("#!/bin/sh\n")
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))

    return put


def test_fresh_account_passes(account: Account, lab: Lab, programs: Callable[..., None]) -> None:
    programs("ssh")
    found = check(lab)
    assert {name: one.state for name, one in found.items()} == {
        "identity": "ok", "vpc": "ok", "dns": "ok", "subnets": "ok", "instance type": "ok", "ami": "ok",
        "key pair": "ok", "ssh range": "ok", "permissions": "unknown", "permissions boundary": "warning",
        "docker": "ok", "docker bridge": "ok", "consul access": "warning",
    }  # fmt: skip
    assert found["identity"].detail.startswith(f"account {ACCOUNT}, region us-east-1, as arn:aws:")
    assert found["dns"].detail == "Amazon's at 172.31.0.2"
    assert "arm64" not in found["ami"].detail
    assert all(one.hint for one in found.values() if one.state != "ok")


def test_all_problems_are_reported_at_once(account: Account, tmp_path: Path) -> None:
    lab = lab_of(tmp_path, vpc="vpc-0123456789abcdef0", instance_type="t9.small", key_name="nobodys")
    found = check(lab, LabError("There is no Docker engine", hint="start it"))
    failed = {name: one.error for name, one in found.items() if one.state == "failed"}
    assert failed.keys() == {"network", "instance type", "key pair", "ssh range", "docker"}
    assert all(error is not None and error.hint for error in failed.values())
    assert failed["ssh range"].where == "http://127.0.0.1:9/"


def test_without_credentials_aws_is_not_asked_anything_else(
    account: Account, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    found = check(lab, LabError("There is no Docker engine"))
    assert found.keys() == {"identity", "docker", "consul access"}
    assert (found["identity"].state, found["docker"].state) == ("failed", "failed")


def test_key_pair_opens_ssh_for_the_users_address(
    account: Account, tmp_path: Path, check_ip: Callable[[bytes], str]
) -> None:
    account("ec2").create_key_pair(KeyName="mine")
    found = check(lab_of(tmp_path, key_name="mine"), check_ip=check_ip(b"203.0.113.7\n"))
    assert (found["key pair"].detail, found["ssh range"].detail) == ("mine", "203.0.113.7/32 may use SSH")


def test_missing_key_pair_is_reported_with_those_that_exist(account: Account, tmp_path: Path) -> None:
    account("ec2").create_key_pair(KeyName="mine")
    error = check(lab_of(tmp_path, key_name="yours", ssh_cidr="203.0.113.7/32"))["key pair"].error
    assert error is not None
    assert (error.what, error.why) == ("There is no EC2 key pair yours in this region", "the region has: mine")


def test_ssh_open_to_the_internet_is_a_warning(account: Account, tmp_path: Path) -> None:
    found = check(lab_of(tmp_path, ssh_cidr="0.0.0.0/0"))["ssh range"]
    assert (found.state, found.detail) == ("warning", "the whole internet may use SSH")


def test_missing_dns_support_fails(account: Account, tmp_path: Path) -> None:
    ec2 = account("ec2")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": False})
    assert check(lab_of(tmp_path))["dns"].state == "warning"
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsSupport={"Value": False})
    found = check(lab_of(tmp_path))["dns"]
    assert found.state == "failed"
    assert found.hint.startswith(f"run `aws ec2 modify-vpc-attribute --vpc-id {vpc}")


def test_subnets_without_public_addresses_are_a_warning(account: Account, tmp_path: Path) -> None:
    ec2 = account("ec2")
    subnets = [one["SubnetId"] for one in ec2.describe_subnets()["Subnets"]]
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    table = ec2.describe_route_tables()["RouteTables"][0]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    ec2.modify_subnet_attribute(SubnetId=subnets[0], MapPublicIpOnLaunch={"Value": False})
    found = check(lab_of(tmp_path, subnets=(subnets[0],)))["subnets"]
    assert (found.state, found.detail) == ("warning", f"{subnets[0]} assign no public addresses")


class Network:
    """A VPC with a subnet in each of two zones, without a route to the internet."""

    def __init__(self, ec2: Any, cidr: str = "10.7.0.0/16") -> None:
        self.ec2 = ec2
        self.vpc = ec2.create_vpc(CidrBlock=cidr)["Vpc"]["VpcId"]
        base = cidr.rpartition(".0.0/")[0]
        self.subnets = tuple(self._subnet(f"{base}.{number}.0/24", zone) for number, zone in enumerate("ab"))
        tables = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [self.vpc]}])["RouteTables"]
        self.table = tables[0]["RouteTableId"]

    def _subnet(self, cidr: str, zone: str) -> str:
        made = self.ec2.create_subnet(VpcId=self.vpc, CidrBlock=cidr, AvailabilityZone=f"us-east-1{zone}")
        return str(made["Subnet"]["SubnetId"])

    def add_nat(self) -> None:
        gateway = self.ec2.create_nat_gateway(SubnetId=self.subnets[0], ConnectivityType="private")["NatGateway"]
        route = {"DestinationCidrBlock": "0.0.0.0/0", "NatGatewayId": gateway["NatGatewayId"]}
        self.ec2.create_route(RouteTableId=self.table, **route)

    def add_endpoints(self, *services: str) -> None:
        for service in services:
            name = f"com.amazonaws.us-east-1.{service}"
            if service == "s3":
                self.ec2.create_vpc_endpoint(
                    VpcId=self.vpc, ServiceName=name, VpcEndpointType="Gateway", RouteTableIds=[self.table]
                )
            else:
                request = {"VpcEndpointType": "Interface", "PrivateDnsEnabled": True, "SubnetIds": [self.subnets[0]]}
                self.ec2.create_vpc_endpoint(VpcId=self.vpc, ServiceName=name, **request)


def test_private_subnets_behind_a_nat_gateway_pass(account: Account, tmp_path: Path) -> None:
    network = Network(account("ec2"))
    network.add_nat()
    found = check(lab_of(tmp_path, subnets=network.subnets, consul_access="ssm"))
    assert (found["subnets"].state, found["reach"].state) == ("ok", "ok")
    assert "private: instances have no public addresses" in found["subnets"].detail
    assert "ssh to servers" not in found
    assert "images" not in found


def test_private_subnets_need_a_way_out(account: Account, tmp_path: Path) -> None:
    network = Network(account("ec2"))
    lab = lab_of(tmp_path, subnets=network.subnets, key_name="mine")
    found = check(lab)
    assert (found["reach"].state, found["images"].state) == ("failed", "failed")
    assert found["ssh to servers"].state == "warning"
    assert "consul_access: ssm" in found["ssh to servers"].hint
    network.add_endpoints(*INTERFACES, "ssmmessages", "s3")
    image = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/blue/consul:1.22.7"
    closed = check(structs.replace(lab, aws=structs.replace(lab.aws, consul_image=image)))
    assert (closed["reach"].state, closed["consul image"].state) == ("ok", "ok")
    assert "images" not in closed


def test_vpc_in_the_range_of_dockers_bridge_fails(account: Account, tmp_path: Path) -> None:
    network = Network(account("ec2"), "172.17.0.0/16")
    network.add_nat()
    found = check(lab_of(tmp_path, subnets=network.subnets))["docker bridge"]
    assert found.state == "failed"
    assert "set aws.docker_bridge" in found.hint
    moved = check(lab_of(tmp_path, subnets=network.subnets, docker_bridge="10.255.255.1/24"))["docker bridge"]
    assert moved.state == "ok"


def test_load_balancer_is_checked(account: Account, tmp_path: Path) -> None:
    arn = account("acm").request_certificate(DomainName="lab.example")["CertificateArn"]
    lab = lab_of(tmp_path, load_balancer=LoadBalancerSpec(certificate=arn))
    found = check(lab)
    assert found["load balancer"].state == "ok"
    assert found["load balancer"].detail.startswith("public, in subnet-")
    assert found["certificate"].state in ("ok", "failed"), "moto issues it after a while"
    without = check(structs.replace(lab, services=lab.services[:1]))
    assert without["portal"].state == "failed"
    network = Network(account("ec2"))
    network.add_nat()
    private = check(structs.replace(lab, aws=structs.replace(lab.aws, subnets=network.subnets)))
    assert private["load balancer"].error is not None
    assert private["load balancer"].error.what == f"The VPC {network.vpc} has no public subnet"


def test_arm_instances_get_their_ami(account: Account, tmp_path: Path) -> None:
    found = check(lab_of(tmp_path, instance_type="t4g.small"))
    assert "t4g.small, arm64, in us-east-1" in found["instance type"].detail
    assert "/arm64/recommended/image_id" in found["ami"].detail


def test_servers_with_a_type_of_their_own_are_checked_too(account: Account, tmp_path: Path) -> None:
    found = check(lab_of(tmp_path, server_instance_type="t4g.small"))
    assert "t4g.small, arm64, in us-east-1" in found["server instance type"].detail
    assert "/arm64/recommended/image_id" in found["server ami"].detail
    assert "arm64" not in found["ami"].detail
    error = check(lab_of(tmp_path, server_instance_type="t9.small"))["instance type"].error
    assert error is not None
    assert error.where == "config, aws.server_instance_type"


# --- an existing stack


def make_stack(account: Account, lab: str, **parameters: str) -> None:
    names = "".join(f"  {name}: {{Type: String}}\n" for name in parameters)
    account("cloudformation").create_stack(
        StackName=lab,
        TemplateBody=f"Parameters:\n{names}Resources:\n  T:\n    Type: AWS::SNS::Topic\n",
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
        Tags=[{"Key": "ecsconsul:lab", "Value": lab}],
    )


@pytest.mark.parametrize("form", ["{}", "['{}']"])
def test_network_of_an_existing_stack_is_kept(account: Account, tmp_path: Path, form: str) -> None:
    """A new public subnet that sorts before the stack's would move the instances."""
    ec2 = account("ec2")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    second, first = (one["SubnetId"] for one in ec2.describe_subnets()["Subnets"][1::-1])
    make_stack(account, "blue", VpcId=vpc, SubnetIds=form.format(second))
    assert [one.id for one in Preflight(Session(None, None), lab_of(tmp_path), Engine()).subnets] == [second]
    named = Preflight(Session(None, None), lab_of(tmp_path, subnets=(first,)), Engine())
    assert [one.id for one in named.subnets] == [first]


def test_changed_address_of_the_user_is_a_warning(
    account: Account, tmp_path: Path, check_ip: Callable[[bytes], str]
) -> None:
    account("ec2").create_key_pair(KeyName="mine")
    make_stack(account, "blue", SshCidr="203.0.113.7/32")
    here = check_ip(b"203.0.113.8")
    found = check(lab_of(tmp_path, key_name="mine"), check_ip=here)["ssh range"]
    assert (found.state, found.detail) == (
        "warning",
        "the stack allows 203.0.113.7/32, but your address is 203.0.113.8/32",
    )
    assert "ssh_cidr: 203.0.113.8/32" in found.hint
    configured = lab_of(tmp_path, key_name="mine", ssh_cidr="203.0.113.8/32")
    assert check(configured, check_ip=here)["ssh range"].state == "ok"


# --- single checks


@pytest.mark.parametrize("body", [b"", b"<html>", b"2001:db8::1", b"999.1.1.1"])
def test_invalid_answer_of_checkip_is_an_error(check_ip: Callable[[bytes], str], body: bytes) -> None:
    with pytest.raises(LabError, match="Your public address can't be determined") as raised:
        own_address(check_ip(body))
    assert "ssh_cidr" in raised.value.hint


@pytest.mark.parametrize(
    ("aws", "installed", "missing"),
    [
        ({"consul_access": "direct"}, (), None),
        ({"consul_access": "ssm"}, (), "there is no session-manager-plugin on PATH"),
        ({"consul_access": "ssm"}, ("session-manager-plugin",), None),
        ({}, (), "there is no ssh on PATH"),
        ({}, ("ssh",), "no key pair is set, so `status` and `dig` can't reach Consul"),
        ({"key_name": "k"}, ("ssh",), None),
        ({"ssh": SshSpec(host="bastion")}, ("ssh",), None),
        ({"key_name": "k", "ssh": SshSpec(key="/nowhere/k.pem")}, ("ssh",), "there is no private key /nowhere/k.pem"),
    ],
)
def test_missing_requirement_of_consul_access(
    programs: Callable[..., None], tmp_path: Path, aws: dict[str, Any], installed: tuple[str, ...], missing: str | None
) -> None:
    programs(*installed)
    found = missing_for_access(lab_of(tmp_path, **aws))
    assert (found and found[0]) == missing
    assert found is None or found[1]


def test_registry_in_the_config_is_named(account: Account, lab: Lab) -> None:
    found = check(structs.replace(lab, aws=structs.replace(lab.aws, registry="my_docker_hub_repo")))["docker"]
    assert found.detail == "can build, and push to my_docker_hub_repo"
