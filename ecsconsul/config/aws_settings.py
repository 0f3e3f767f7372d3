"""The settings of the AWS target: what stands below `aws:` in config.yaml."""

# without `from __future__ import annotations`: msgspec would have to evaluate them as text at every start

from typing import Annotated

from msgspec import Meta, Struct

from .scalars import Access, Cidr, ImageName, InstanceType, KeyName, PolicyArn, Port, Registry, SubnetId, VpcId, Word


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


class AwsSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the AWS target."""

    vpc: Annotated[VpcId | None, Meta(description="VPC, by default the region's default VPC")] = None
    subnets: Annotated[
        tuple[SubnetId, ...], Meta(description="public subnets of the VPC, a list or just one; by default all of them")
    ] = ()
    instance_type: Annotated[
        InstanceType,
        Meta(description="type of the Consul servers and ECS instances, x86 or Arm; images are built to match"),
    ] = "t3.small"
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
