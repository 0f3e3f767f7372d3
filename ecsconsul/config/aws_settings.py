"""The settings of the AWS target: what stands below `aws:` in config.yaml."""

# without `from __future__ import annotations`: msgspec would have to evaluate them as text at every start

from typing import Annotated

from msgspec import Meta, Struct

from .scalars import (
    Access,
    Bridge,
    CertificateArn,
    Cidr,
    ImageName,
    InstanceType,
    KeyName,
    KmsKeyArn,
    LogDriver,
    PolicyArn,
    Port,
    Registry,
    RetentionDays,
    SubnetId,
    TopicArn,
    VpcId,
    Word,
)


class RegistratorSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The Registrator that runs on each instance in AWS."""

    image: Annotated[
        ImageName | None,
        Meta(description="image to run; by default ecsconsul builds its own and pushes it beside the services'"),
    ] = None


class SshSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How SSH reaches the Consul server. The loader makes `key` absolute."""

    user: Annotated[Word, Meta(description="user to log in as")] = "ec2-user"
    port: Annotated[Port, Meta(description="port of the SSH server")] = 22
    key: Annotated[
        str | None,
        Meta(description="private key file: relative to this file, absolute or ~/...; by default ssh chooses"),
    ] = None
    host: Annotated[
        Word | None, Meta(description="host to connect to instead of the public name, such as an alias in ssh_config")
    ] = None


class LoadBalancerSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The Application Load Balancer in front of the portal."""

    certificate: Annotated[CertificateArn, Meta(description="certificate in ACM for HTTPS at port 443")]
    subnets: Annotated[
        tuple[SubnetId, ...],
        Meta(description="the load balancer's subnets, in at least two zones; by default all public ones of the VPC"),
    ] = ()
    internal: Annotated[bool, Meta(description="whether only the VPC reaches it, in the subnets of the instances")] = (
        False
    )


class AlarmsSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The CloudWatch alarms of the lab."""

    topic: Annotated[TopicArn | None, Meta(description="SNS topic that alarms notify, by default none")] = None


class LogsSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the tasks' logs go, and how long the lab's log group keeps what it gets."""

    retention_days: Annotated[RetentionDays, Meta(description="days that the lab's log group keeps logs")] = 7
    kms_key: Annotated[
        KmsKeyArn | None, Meta(description="KMS key that encrypts the log group, by default CloudWatch's own")
    ] = None
    driver: Annotated[
        LogDriver, Meta(description="log driver of the tasks; `logs` can only read what awslogs writes")
    ] = "awslogs"
    options: Annotated[dict[str, str], Meta(description="options of the log driver; they override the defaults")] = {}


class AwsSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the AWS target."""

    vpc: Annotated[VpcId | None, Meta(description="VPC, by default the region's default VPC")] = None
    subnets: Annotated[
        tuple[SubnetId, ...],
        Meta(description="subnets of the instances, all public or all private; by default all public ones of the VPC"),
    ] = ()
    instance_type: Annotated[
        InstanceType,
        Meta(description="type of the ECS instances, x86 or Arm; images are built to match"),
    ] = "t3.small"
    server_instance_type: Annotated[
        InstanceType | None, Meta(description="type of the Consul servers, x86 or Arm; by default instance_type")
    ] = None
    docker_bridge: Annotated[
        Bridge, Meta(description="address and range of Docker's bridge on ECS instances; must not overlap the VPC")
    ] = "172.17.0.1/16"
    key_name: Annotated[KeyName | None, Meta(description="EC2 key pair for SSH, by default none")] = None
    ssh_cidr: Annotated[
        Cidr | None, Meta(description="range that may connect by SSH; with a key_name, by default your own address")
    ] = None
    consul_access: Annotated[
        Access, Meta(description="how status and dig reach Consul: through ssh, Session Manager (ssm), or directly")
    ] = "ssh"
    ssh: Annotated[SshSpec, Meta(description="how SSH reaches the Consul server")] = SshSpec()
    consul_image: Annotated[
        ImageName | None,
        Meta(
            description="image of the Consul servers and agents, by default the vendor's of consul.version; another one"
            " must run that version and have the official image's entrypoint"
        ),
    ] = None
    registry: Annotated[
        Registry | None,
        Meta(description="where images are pushed: a Docker Hub namespace or host[:port]/path; by default ECR"),
    ] = None
    registrator: Annotated[RegistratorSpec, Meta(description="the Registrator on each ECS instance")] = (
        RegistratorSpec()
    )
    permissions_boundary: Annotated[
        PolicyArn | None, Meta(description="policy that limits the stack's IAM roles, by default none; see docs/aws.md")
    ] = None
    load_balancer: Annotated[
        LoadBalancerSpec | None,
        Meta(description="load balancer with a certificate in front of the portal, by default none"),
    ] = None
    alarms: Annotated[AlarmsSpec, Meta(description="the CloudWatch alarms of the lab")] = AlarmsSpec()
    logs: Annotated[LogsSpec, Meta(description="where logs go, and for how long")] = LogsSpec()

    @property
    def server_type(self) -> str:
        """The instance type of the Consul servers."""
        return self.server_instance_type or self.instance_type
