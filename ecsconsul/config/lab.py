"""The model of a lab: frozen types that hold what config.yaml describes.

The constraints and descriptions here feed the loader's validation, its error messages (`patternErrorMessage`, which
editors show too) and the JSON Schema (json_schema.py).
"""

# without `from __future__ import annotations`: msgspec would have to evaluate them as text at every start

from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace


def _words(text: str) -> dict[str, object]:
    """Describes a pattern in words, under the key that editors with JSON Schema support show."""
    return {"patternErrorMessage": text}


Name = Annotated[
    str,
    Meta(
        pattern=r"^[a-z][a-z0-9-]{0,30}[a-z0-9]$",
        extra_json_schema=_words("2 to 32 lower-case letters, digits and hyphens, starting with a letter"),
    ),
]
Port = Annotated[int, Meta(ge=1, le=65535)]
# the port of each service that ships with ecsconsul
LAB_PORT = 4567
MAX_TASKS = 1000  # of one service
Duration = Annotated[
    str,
    # One number and one unit, above zero: what all of Consul's checks accept.
    Meta(
        pattern=r"^0*[1-9][0-9]*(ms|s|m|h)$",
        extra_json_schema=_words("a duration above zero, as Consul writes it: 500ms, 10s, 1m"),
        examples=["10s"],
    ),
]
HttpPath = Annotated[
    str, Meta(pattern=r"^/\S*$", extra_json_schema=_words("a path that starts with /, such as /health"))
]
EnvName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$",
        extra_json_schema=_words("letters, digits, _ . and -, not starting with a digit"),
    ),
]
Tag = Annotated[str, Meta(pattern=r"\S", extra_json_schema=_words("a non-empty tag"))]
TargetName = Literal["local", "aws"]
RuntimeName = Literal["auto", "processes", "docker"]
ImageName = Annotated[
    str, Meta(pattern=r"^[^\s$]+$", extra_json_schema=_words("an image name, such as python:3.12-slim"))
]

# what laptops download and AWS runs unless the config says otherwise: the newest patch of a release that is supported.
# The only place with it; the next one of the same minor version needs no more than this line and a run of the tests.
CONSUL_VERSION = "1.22.7"
CONSUL_REPOSITORY = "hashicorp/consul"
ConsulVersion = Annotated[
    str,
    Meta(
        pattern=r"^(1\.([89]|[1-9][0-9]+)|([2-9]|[1-9][0-9]+)\.(0|[1-9][0-9]*))\.(0|[1-9][0-9]*)$",
        extra_json_schema=_words(f"a full version X.Y.Z of Consul from 1.8.0 on, such as {CONSUL_VERSION}"),
        examples=[CONSUL_VERSION],
    ),
]

Registry = Annotated[
    str,
    # no scheme and no trailing slash: it's the prefix of image names
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(:[0-9]{1,5})?(/[a-z0-9][a-z0-9._-]*)*$",
        extra_json_schema=_words("a Docker Hub namespace such as my_docker_hub_repo, or host[:port]/path"),
        examples=["my_docker_hub_repo", "registry.example:5000/lab"],
    ),
]
VpcId = Annotated[str, Meta(pattern=r"^vpc-[0-9A-Za-z-]+$", extra_json_schema=_words("a VPC ID: vpc-..."))]
SubnetId = Annotated[str, Meta(pattern=r"^subnet-[0-9A-Za-z-]+$", extra_json_schema=_words("a subnet ID: subnet-..."))]
InstanceType = Annotated[
    str,
    Meta(
        pattern=r"^[a-z][a-z0-9-]*\.[a-z0-9-]+$",
        extra_json_schema=_words("an EC2 instance type, such as t3.small or t4g.small"),
        examples=["t3.small"],
    ),
]
KeyName = Annotated[str, Meta(pattern=r"^\S(.*\S)?$", extra_json_schema=_words("the name of an EC2 key pair"))]
_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
Cidr = Annotated[
    str,
    Meta(
        pattern=rf"^({_OCTET}\.){{3}}{_OCTET}/(3[0-2]|[12]?[0-9])$",
        extra_json_schema=_words("an IPv4 range, such as 203.0.113.7/32"),
        examples=["203.0.113.7/32"],
    ),
]
PolicyArn = Annotated[
    str,
    Meta(
        pattern=r"^arn:[a-z-]+:iam::(aws|[0-9]{12}):policy/[A-Za-z0-9/+=,.@_-]+$",
        extra_json_schema=_words("the ARN of an IAM policy: arn:aws:iam::123456789012:policy/..."),
        examples=["arn:aws:iam::123456789012:policy/ecsconsul/consul-lab-boundary"],
    ),
]
Word = Annotated[str, Meta(pattern=r"^[^\s-]\S*$", extra_json_schema=_words("a name without spaces"))]
Access = Literal["ssh", "ssm", "direct"]


class Check(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Consul health check: exactly one of http, tcp and ttl."""

    http: Annotated[HttpPath | None, Meta(description="passes when a GET of this path returns 2xx")] = None
    tcp: Annotated[bool, Meta(description="passes when the port accepts a connection")] = False
    ttl: Annotated[Duration | None, Meta(description="passes while the task reports at least this often")] = None
    interval: Annotated[Duration, Meta(description="time between two checks; not for ttl")] = "10s"
    timeout: Annotated[
        Duration | None, Meta(description="time limit of one check, by default Consul's 10s; not for ttl")
    ] = None


class ServiceSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One service of the lab: a folder with a Dockerfile, and how to run it. The loader makes `path` absolute."""

    name: Name
    path: Annotated[
        str,
        Meta(
            description="folder with the Dockerfile: relative to this file, absolute,"
            " or lab:NAME for a service that ships with ecsconsul",
            examples=["services/weather", "lab:weather"],
        ),
    ]
    port: Annotated[Port, Meta(description="port that the container listens on; passed in PORT unless it's 4567")] = (
        LAB_PORT
    )
    host_port: Annotated[
        Port | None, Meta(description="fixed port on the instance; by default each task gets a free one (dynamic)")
    ] = None
    count: Annotated[int, Meta(ge=0, le=MAX_TASKS, description="number of tasks")] = 1
    # ECS's maximum for a task is 196608 CPU units (192 vCPUs), its minimum for a container 4 MiB
    cpu: Annotated[int, Meta(ge=1, le=196608, description="CPU units per task; 1024 units are one vCPU")] = 100
    memory: Annotated[int, Meta(ge=4, description="hard memory limit per task in MiB")] = 200
    environment: Annotated[
        dict[str, str], Meta(description="environment variables of the container; numbers and booleans become text")
    ] = {}
    tags: Annotated[tuple[Tag, ...], Meta(description="Consul tags: a list, or one tag")] = ()
    check: Annotated[
        Check | None, Meta(description='health check, by default none; "/health" is short for {http: /health}')
    ] = None


class ConsulSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The Consul servers of the lab, and the version that its servers and agents run."""

    servers: Annotated[
        Literal[1, 3, 5], Meta(description="number of servers; 3 survive the loss of one, 5 the loss of two")
    ] = 1
    version: Annotated[
        ConsulVersion,
        Meta(description="version of Consul, on this machine and in AWS; under the free licence MPL up to 1.16.6"),
    ] = CONSUL_VERSION


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


class Lab(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"name": "lab"}):
    """Everything the config describes; `services` keep the config's order."""

    name: Annotated[Name, Meta(description="name of the lab, which every resource carries")] = "consul-lab"
    target: Annotated[
        TargetName,
        Meta(description="where the lab runs: local (this machine) or aws (your account); --target overrides it"),
    ] = "local"
    runtime: Annotated[
        RuntimeName,
        Meta(
            description="how tasks run on this machine: docker (containers), processes, or auto (containers when a"
            " Docker engine answers and has the base images); --runtime overrides it"
        ),
    ] = "auto"
    base_image: Annotated[
        ImageName | None, Meta(description="base image that replaces the Dockerfiles' own: the build argument BASE")
    ] = None
    instances: Annotated[int, Meta(ge=1, le=20, description="ECS instances that run the tasks")] = 2
    consul: Annotated[ConsulSpec, Meta(description="the Consul servers")] = ConsulSpec()
    aws: Annotated[AwsSpec, Meta(description="settings of the AWS target")] = AwsSpec()
    services: Annotated[tuple[ServiceSpec, ...], Meta(description="the services by name")] = ()

    def service(self, name: str) -> ServiceSpec | None:
        """The service of that name, or None."""
        return next((service for service in self.services if service.name == name), None)

    @property
    def consul_image(self) -> str:
        """The image of Consul's servers and agents in AWS."""
        return self.aws.consul_image or f"{CONSUL_REPOSITORY}:{self.consul.version}"

    @property
    def portal(self) -> ServiceSpec | None:
        """The service to open in a browser: with a fixed host port, and called portal or else the first one."""
        fixed = [service for service in self.services if service.host_port]
        return next((service for service in fixed if service.name == "portal"), fixed[0] if fixed else None)

    def family(self, service: str) -> str:
        """The family of a service's task definitions. Families are the account's, so it bears the lab's name too.

        Both names have the characters that ECS allows, and at most 32 of its 255.
        """
        return f"{self.name}-{service}"

    def with_counts(self, counts: dict[str, int]) -> "Lab":
        """The lab with the task counts of some services replaced."""
        services = tuple(replace(service, count=counts.get(service.name, service.count)) for service in self.services)
        return replace(self, services=services)
