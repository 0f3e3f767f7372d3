"""The lab that the config wants: frozen, validated, without I/O. Reading YAML is config.py's work.

The constraints and descriptions here are the one source of the loader's checks, of the words in its error
messages (`patternErrorMessage`, which editors show too) and of the JSON Schema (config_schema.py).
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace


def _words(text: str) -> dict[str, object]:
    """What a pattern wants, in words; the key is the one that editors' JSON Schema support knows."""
    return {"patternErrorMessage": text}


Name = Annotated[
    str,
    Meta(
        pattern=r"^[a-z][a-z0-9-]{0,30}[a-z0-9]$",
        extra_json_schema=_words("2 to 32 lower-case letters, digits and hyphens, a letter first"),
    ),
]
Port = Annotated[int, Meta(ge=1, le=65535)]
# where each of the lab's own services listens
LAB_PORT = 4567
Duration = Annotated[
    str,
    # One number and one unit, and not zero: the common part of what Consul's checks accept.
    Meta(
        pattern=r"^0*[1-9][0-9]*(ms|s|m|h)$",
        extra_json_schema=_words("a duration above zero, as Consul writes it: 500ms, 10s, 1m"),
        examples=["10s"],
    ),
]
HttpPath = Annotated[
    str, Meta(pattern=r"^/\S*$", extra_json_schema=_words("a path that begins with /, such as /health"))
]
EnvName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$",
        extra_json_schema=_words("letters, digits, _ . and -, not a digit first"),
    ),
]
Tag = Annotated[str, Meta(pattern=r"\S", extra_json_schema=_words("a tag that is not empty"))]
TargetName = Literal["local", "aws"]
RuntimeName = Literal["auto", "processes", "docker"]
ImageName = Annotated[
    str, Meta(pattern=r"^[^\s$]+$", extra_json_schema=_words("the name of an image, such as python:3.12-slim"))
]

Registry = Annotated[
    str,
    # no scheme, and no slash at the end: it is the beginning of an image's name
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(:[0-9]{1,5})?(/[a-z0-9][a-z0-9._-]*)*$",
        extra_json_schema=_words("a Docker Hub namespace such as my_docker_hub_repo, or host[:port]/path"),
        examples=["my_docker_hub_repo", "registry.example:5000/lab"],
    ),
]
VpcId = Annotated[str, Meta(pattern=r"^vpc-[0-9A-Za-z-]+$", extra_json_schema=_words("the id of a VPC: vpc-..."))]
SubnetId = Annotated[
    str, Meta(pattern=r"^subnet-[0-9A-Za-z-]+$", extra_json_schema=_words("the id of a subnet: subnet-..."))
]
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
Word = Annotated[str, Meta(pattern=r"^[^\s-]\S*$", extra_json_schema=_words("a name without blanks"))]
Access = Literal["ssh", "ssm", "direct"]


class Check(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How Consul asks whether a task is well: exactly one of http, tcp and ttl."""

    http: Annotated[HttpPath | None, Meta(description="well when a GET of this path answers 2xx")] = None
    tcp: Annotated[bool, Meta(description="well when the port accepts a connection")] = False
    ttl: Annotated[Duration | None, Meta(description="well while the task itself reports this often")] = None
    interval: Annotated[Duration, Meta(description="time between two looks; not for ttl")] = "10s"
    timeout: Annotated[
        Duration | None,
        Meta(description="how long one look may take; Consul's own 10s when left out; not for ttl"),
    ] = None


class ServiceSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One service of the lab: a folder with a Dockerfile, and how it is to run. `path` is absolute here."""

    name: Name
    path: Annotated[
        str,
        Meta(
            description="folder that holds the Dockerfile: relative to this file, absolute,"
            " or lab:NAME for one of the lab's own that ship with ecsconsul",
            examples=["services/weather", "lab:weather"],
        ),
    ]
    port: Annotated[
        Port, Meta(description="port that the container listens on; one other than 4567 is told to it in PORT")
    ] = LAB_PORT
    host_port: Annotated[
        Port | None,
        Meta(description="fixed port on the instance; left out, each task gets a free one (dynamic)"),
    ] = None
    count: Annotated[int, Meta(ge=0, le=1000, description="how many tasks run")] = 1
    # 196608 CPU units (192 vCPUs) are ECS's most for a task, 4 MiB its least for a container.
    cpu: Annotated[int, Meta(ge=1, le=196608, description="CPU units of a task; 1024 are one vCPU")] = 100
    memory: Annotated[int, Meta(ge=4, description="hard memory limit of a task in MiB")] = 200
    environment: Annotated[
        dict[str, str],
        Meta(description="environment variables of the container; numbers and booleans become text"),
    ] = {}
    tags: Annotated[tuple[Tag, ...], Meta(description="Consul tags: a list, or one tag")] = ()
    check: Annotated[
        Check | None,
        Meta(description='health check; "/health" is short for {http: /health}; none when left out'),
    ] = None


class ConsulSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The Consul servers of the lab."""

    servers: Annotated[
        Literal[1, 3, 5],
        Meta(description="how many servers keep the catalog; 3 survive the loss of one, 5 of two"),
    ] = 1


class RegistratorSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The Registrator that runs on each instance in AWS."""

    image: Annotated[
        ImageName | None,
        Meta(description="another image than the project's own, which is built and pushed beside the services'"),
    ] = None


class SshSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How SSH reaches the Consul server. `key` is absolute here."""

    user: Annotated[Word, Meta(description="user to log in as")] = "ec2-user"
    port: Annotated[Port, Meta(description="port of the SSH server")] = 22
    key: Annotated[
        str | None,
        Meta(description="private key file: relative to this file, absolute or ~/...; ssh's own choice when left out"),
    ] = None
    host: Annotated[
        Word | None,
        Meta(description="another name that leads to the server than its public one, such as an alias of ssh_config"),
    ] = None


class AwsSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What only an AWS account needs to know."""

    vpc: Annotated[VpcId | None, Meta(description="the VPC; the region's default one when left out")] = None
    subnets: Annotated[
        tuple[SubnetId, ...],
        Meta(description="public subnets of the VPC: a list, or one; all of them when left out"),
    ] = ()
    instance_type: Annotated[
        InstanceType,
        Meta(description="of the Consul servers and the ECS instances; x86 or arm, the images are built for it"),
    ] = "t3.small"
    key_name: Annotated[KeyName | None, Meta(description="an EC2 key pair for SSH; none when left out")] = None
    ssh_cidr: Annotated[
        Cidr | None,
        Meta(description="the range that may open SSH; with a key_name, your own address when left out"),
    ] = None
    consul_access: Annotated[
        Access,
        Meta(description="how status and dig reach Consul: through ssh, Session Manager (ssm), or directly"),
    ] = "ssh"
    ssh: Annotated[SshSpec, Meta(description="how SSH reaches the Consul server")] = SshSpec()
    consul_image: Annotated[ImageName, Meta(description="the image of Consul's servers and agents")] = (
        "hashicorp/consul:1.20"
    )


class Lab(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"name": "lab"}):
    """Everything that the config wants; `services` are in the config's order."""

    name: Annotated[Name, Meta(description="name of the lab; every resource that is made carries it")] = "consul-lab"
    target: Annotated[
        TargetName,
        Meta(description="where: local is this machine, aws your AWS account; --target overrides it"),
    ] = "local"
    runtime: Annotated[
        RuntimeName,
        Meta(
            description="how tasks run on this machine: in containers (docker), as processes, or as there is a Docker"
            " engine and the base images are on it (auto); --runtime overrides it"
        ),
    ] = "auto"
    base_image: Annotated[
        ImageName | None,
        Meta(description="image to build upon instead of the Dockerfiles' own: the build argument BASE"),
    ] = None
    instances: Annotated[int, Meta(ge=1, le=20, description="ECS instances that run the tasks")] = 2
    consul: Annotated[ConsulSpec, Meta(description="the Consul servers")] = ConsulSpec()
    registry: Annotated[
        Registry | None,
        Meta(
            description="where images are pushed in AWS: a Docker Hub namespace or host[:port]/path; ECR when left out"
        ),
    ] = None
    registrator: Annotated[RegistratorSpec, Meta(description="the Registrator that runs on each instance in AWS")] = (
        RegistratorSpec()
    )
    aws: Annotated[AwsSpec, Meta(description="what only an AWS account needs to know")] = AwsSpec()
    services: Annotated[tuple[ServiceSpec, ...], Meta(description="the services by name")] = ()

    def service(self, name: str) -> ServiceSpec | None:
        """The service of that name, or None."""
        return next((service for service in self.services if service.name == name), None)

    @property
    def portal(self) -> ServiceSpec | None:
        """The service that a browser opens: of those with a fixed host port the one called portal, or the first."""
        fixed = [service for service in self.services if service.host_port]
        return next((service for service in fixed if service.name == "portal"), fixed[0] if fixed else None)

    def with_counts(self, counts: dict[str, int]) -> Lab:
        """The same lab with other counts for some of its services."""
        services = tuple(replace(service, count=counts.get(service.name, service.count)) for service in self.services)
        return replace(self, services=services)
