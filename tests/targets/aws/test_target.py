"""The AWS target as a whole, in moto's account."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from ecsconsul.aws_tags import LAB_TAG
from ecsconsul.config.aws_settings import LoadBalancerSpec
from ecsconsul.config.container_spec import Check
from ecsconsul.config.lab import Lab, ServiceSpec
from ecsconsul.config.scalars import CONSUL_VERSION
from ecsconsul.consul.lab_secrets import MANAGEMENT, MONITORING, rotated
from ecsconsul.deploy.template import parameter_names, stack_template
from ecsconsul.errors import LabError, TargetAbsent
from ecsconsul.targets.aws import consul_secrets
from ecsconsul.targets.aws import ec2 as instances
from ecsconsul.targets.aws.consul_access import ConsulServer
from ecsconsul.targets.aws.target import AwsTarget
from ecsconsul.targets.base import ConsulAddress
from tests.deploy.world import REGION, RecordingReport
from tests.targets.aws.conftest import ACCOUNT, lab_of
from tests.targets.aws.test_amis import both, published
from tests.targets.aws.test_preflight import Engine, Network, make_stack

Account = Callable[[str], Any]


@pytest.fixture
def target(account: Account, lab: Lab) -> AwsTarget:
    return AwsTarget(lab)


def test_prerequisites_are_created_kept_and_deleted(target: AwsTarget, lab: Lab, report: RecordingReport) -> None:
    assert target.prerequisites() is None
    told = f"account {ACCOUNT}, region {REGION}"
    assert target.bootstrap(report.say) == told
    assert target.prerequisites() == told
    target.teardown(report.say)
    target.teardown(report.say)
    assert target.prerequisites() is None
    assert len(report.texts) == 2


@pytest.fixture
def report() -> RecordingReport:
    return RecordingReport()


def test_bootstrap_repeats_the_warnings(account: Account, tmp_path: Path, report: RecordingReport) -> None:
    lab = lab_of(tmp_path, ssh_cidr="0.0.0.0/0", consul_access="direct")
    target = AwsTarget(lab)
    target.diagnostics()
    target.bootstrap(report.say)
    assert [text.partition(":")[0] for text in report.texts[:-1]] == ["ssh range", "permissions boundary"]
    assert report.texts[0].startswith("ssh range: the whole internet may use SSH; ")


def test_stack_parameters(account: Account, target: AwsTarget, lab: Lab) -> None:
    found = target.stack_parameters()
    subnets = account("ec2").describe_subnets()["Subnets"]
    # one of its zones has no t3.small
    assert set(found.pop("SubnetIds").split(",")) == {
        one["SubnetId"] for one in subnets if one["AvailabilityZone"] != "us-east-1e"
    }
    assert found == {
        "VpcId": subnets[0]["VpcId"],
        "AmazonDnsIp": "172.31.0.2",
        **both(published(account)),
    }


def test_ssh_range_is_a_stack_parameter(account: Account, tmp_path: Path) -> None:
    lab = lab_of(tmp_path, ssh_cidr="203.0.113.0/24", instance_type="t4g.small")
    found = AwsTarget(lab).stack_parameters()
    assert found["SshCidr"] == "203.0.113.0/24"
    assert found["InstanceAmi"] == published(account, "arm64")


def test_private_subnets_open_the_portal_to_the_vpc_only(account: Account, tmp_path: Path) -> None:
    network = Network(account("ec2"))
    target = AwsTarget(lab_of(tmp_path, subnets=network.subnets))
    found = target.stack_parameters()
    assert (found["PublicPort"], found["VpcCidr"]) == ("0", "10.7.0.0/16")
    assert "no public IPv4 address" in str(target.confirmation())


def test_load_balancer_has_a_part_of_the_template(account: Account, tmp_path: Path) -> None:
    spec = LoadBalancerSpec(certificate=f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/1", internal=True)
    target = AwsTarget(lab_of(tmp_path, load_balancer=spec))
    assert target.template_parts == ("alarms", "load-balancer")
    found = target.stack_parameters()
    assert (found["PublicPort"], found["LoadBalancerCidr"]) == ("0", "172.31.0.0/16")
    assert set(found["LoadBalancerSubnetIds"].split(",")) <= set(found["SubnetIds"].split(","))
    assert found.keys() <= parameter_names(stack_template(target.template_parts))
    assert [target.target_group(name) for name in ("portal", "weather")] == ["PortalTargetGroup", None]
    assert AwsTarget(lab_of(tmp_path)).target_group("portal") is None


def test_portal_is_at_the_load_balancers_name(account: Account, tmp_path: Path) -> None:
    spec = LoadBalancerSpec(certificate=f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/1")
    target = AwsTarget(lab_of(tmp_path, load_balancer=spec))
    assert target.portal_url() is None
    outputs = "Outputs:\n  LoadBalancerDns:\n    Value: lb.example\n"
    account("cloudformation").create_stack(
        StackName="blue",
        TemplateBody=f"Resources:\n  T:\n    Type: AWS::SNS::Topic\n{outputs}",
        Tags=[{"Key": LAB_TAG, "Value": "blue"}],
    )
    assert target.portal_url() == "https://lb.example/"


def test_image_of_the_stack_keeps_its_digest(account: Account, target: AwsTarget, lab: Lab) -> None:
    """With the registry it would get another one, so it can't have been asked."""
    has = f"{lab.consul_image}@sha256:{'0' * 64}"
    make_stack(account, lab.name, ConsulImage=has)
    said: list[str] = []
    assert target.pinned_image(lab.consul_image, said.append) == has
    assert said == []


def test_new_image_is_said_with_its_licence(account: Account, target: AwsTarget, lab: Lab) -> None:
    make_stack(account, lab.name, ConsulImage="hashicorp/consul:1.20")
    image = f"registry.example/consul:1@sha256:{'0' * 64}"
    said: list[str] = []
    assert target.pinned_image(image, said.append) == image
    assert said == [f"Consul {CONSUL_VERSION} (BUSL-1.1: https://www.hashicorp.com/bsl) runs from the image {image}"]


def test_template_has_all_stack_parameters(target: AwsTarget, lab: Lab) -> None:
    from ecsconsul.paths import templates_dir

    template = (templates_dir() / "consul-lab.yaml").read_text()
    for name in (*target.stack_parameters(), "SshCidr"):
        assert f"\n  {name}:\n" in template, name


def test_blockers_are_the_failed_diagnostics(account: Account, tmp_path: Path) -> None:
    lab = lab_of(tmp_path, vpc="vpc-0123456789abcdef0")
    target = AwsTarget(lab, images=Engine())
    assert [error.what for error in target.blockers()] == ["There is no VPC vpc-0123456789abcdef0 in this region"]


def test_lock_is_held_per_account_and_region(account: Account, lab: Lab) -> None:
    with AwsTarget(lab).lock():
        with pytest.raises(LabError, match="Another command is changing this lab"), AwsTarget(lab).lock():
            pass
        with AwsTarget(lab, region="eu-west-1").lock():
            pass


def test_confirmation_is_asked_only_for_a_new_lab(account: Account, target: AwsTarget, lab: Lab) -> None:
    assert f"in AWS account {ACCOUNT}, region {REGION}" in str(target.confirmation())
    make_stack(account, "blue", InstanceCount="2", ConsulServers="1", InstanceType="t3.small")
    assert target.confirmation() is None


def test_what_is_replaced_is_asked_only_of_a_stack_that_lives(account: Account, target: AwsTarget) -> None:
    asked: list[str] = []

    def replaced() -> list[str]:
        asked.append("replaced")
        return ["EcsInstances: 2 instances are replaced one by one"]

    assert "replaced one by one" not in str(target.confirmation(replaced))
    assert asked == []
    make_stack(account, "blue", InstanceCount="2", ConsulServers="1", InstanceType="t3.small")
    assert str(target.confirmation(replaced)).endswith("EcsInstances: 2 instances are replaced one by one")


def test_instances_of_groups_are_counted(account: Account, target: AwsTarget) -> None:
    account("autoscaling").create_launch_configuration(
        LaunchConfigurationName="c", ImageId="ami-12c6146b", InstanceType="t3.small"
    )
    for name, size in (("one", 1), ("two", 2), ("none", 0)):
        account("autoscaling").create_auto_scaling_group(
            AutoScalingGroupName=name, LaunchConfigurationName="c", MinSize=size, MaxSize=size,
            AvailabilityZones=["us-east-1a"],
        )  # fmt: skip
    assert target.instances_of(["two", "none", "gone"]) == {"two": 2, "none": 0}
    assert target.instances_of([]) == {}


def test_environment_of_other_clients(
    target: AwsTarget, lab: Lab, moto_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION}
    assert target.environment() == {**told, "AWS_ENDPOINT_URL": moto_url}
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    assert AwsTarget(lab).environment() == told
    assert AwsTarget(lab, profile="me").environment() == {**told, "AWS_PROFILE": "me"}


def test_environment_has_a_reachable_consul(account: Account, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instances, "find_consul_server", lambda *_, **__: ConsulServer("i-1", "consul.example", ()))
    reached = AwsTarget(structs.replace(lab, aws=structs.replace(lab.aws, consul_access="direct")))
    reached.bootstrap(lambda text: None)
    found = reached.environment()
    assert found["CONSUL_HTTP_ADDR"] == "https://consul.example:8501"
    assert found["CONSUL_TLS_SERVER_NAME"] == "server.dc1.consul"
    assert "BEGIN CERTIFICATE" in Path(found["CONSUL_CACERT"]).read_text()
    assert found["CONSUL_HTTP_TOKEN"] == reached.consul_secrets().token(MANAGEMENT)
    assert found["CONSUL_MONITORING_TOKEN"] == reached.consul_secrets().token(MONITORING)
    assert "CONSUL_HTTP_ADDR" not in AwsTarget(lab).environment()


def test_no_stack_has_no_consul_and_no_portal(target: AwsTarget, lab: Lab) -> None:
    with pytest.raises(TargetAbsent, match="The lab blue has no Consul yet"), target.consul():
        pass
    assert target.portal_url() is None
    assert AwsTarget(structs.replace(lab, services=lab.services[:1])).portal_url() is None
    assert target.last_lines("weather", 5) == []
    assert target.boot_log("i-0123456789abcdef0", 5) == []
    assert target.leftovers() == []


@pytest.mark.parametrize("family", ["blue-weather", "weather", "blue-registrator", "registrator"])
def test_leftovers_of_new_and_old_families_are_found(account: Account, target: AwsTarget, family: str) -> None:
    tags = [{"key": LAB_TAG, "value": "blue"}]
    app = {"name": "app", "image": "i", "memory": 8}
    account("ecs").register_task_definition(family=family, containerDefinitions=[app], tags=tags)
    account("ecs").register_task_definition(family=family, containerDefinitions=[app])
    assert target.leftovers() == [f"task definition {family}:1: ACTIVE"]


def test_tasks_log_to_the_labs_group(target: AwsTarget, lab: Lab) -> None:
    told = target.log_configuration("weather")
    assert told is not None
    assert told["options"]["awslogs-group"] == "/ecsconsul/blue"
    assert target.system_services == ("registrator",)


def test_new_service_with_a_ttl_check_gets_its_token_from_the_running_consul(
    account: Account, lab: Lab, report: RecordingReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Servers that are running created those tokens only that they knew when they booted."""
    created: list[list[str]] = []
    monkeypatch.setattr(consul_secrets, "create_service_tokens", lambda address, secrets, names: created.append(names))
    monkeypatch.setattr(
        AwsTarget, "consul", lambda self: contextlib.nullcontext(ConsulAddress("10.0.0.1", 8500, "", 0))
    )
    AwsTarget(lab).bootstrap(report.say)
    ticker = ServiceSpec(name="ticker", path="/nowhere", check=Check(ttl="30s"))
    wider = structs.replace(lab, services=(*lab.services, ticker))
    make_stack(account, "blue", InstanceCount="2")
    assert AwsTarget(wider).prerequisites() is None
    AwsTarget(wider).bootstrap(report.say)
    assert created == [], "the stack is of a version without ACLs"
    assert AwsTarget(wider).prerequisites()
    account("ssm").delete_parameters(Names=["/ecsconsul/blue/servers/acl/services/ticker"])
    account("cloudformation").delete_stack(StackName="blue")
    make_stack(account, "blue", ConsulSecurity="enforced")
    AwsTarget(wider).bootstrap(report.say)
    assert created == [["ticker"]]


def test_new_secrets_are_for_what_starts_from_now_on(
    account: Account, target: AwsTarget, report: RecordingReport
) -> None:
    target.bootstrap(report.say)
    rotation = rotated(target.consul_secrets())
    target.keep_rotation(rotation)
    assert target.rotation() == rotation
    assert target.adopt_secrets(rotation.new, report.say) == {"SecretsGeneration": rotation.new.generation}
    assert target.consul_secrets() == rotation.new
    assert target.prerequisites()
    assert "replaces the 3 instances" in str(target.rotation_cost())
