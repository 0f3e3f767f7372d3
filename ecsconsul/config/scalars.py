"""The kinds of text and numbers that a config may hold, each with its constraint.

The constraints feed the loader's validation, its error messages (`patternErrorMessage`, which editors show too) and the
JSON Schema (json_schema.py).
"""

# without `from __future__ import annotations`: msgspec would have to evaluate them as text at every start

from typing import Annotated, Literal

from msgspec import Meta


def words(text: str) -> dict[str, object]:
    """Describes a pattern in words, under the key that editors with JSON Schema support show."""
    return {"patternErrorMessage": text}


Name = Annotated[
    str,
    Meta(
        pattern=r"^[a-z][a-z0-9-]{0,30}[a-z0-9]$",
        extra_json_schema=words("2 to 32 lower-case letters, digits and hyphens, starting with a letter"),
    ),
]
Port = Annotated[int, Meta(ge=1, le=65535)]
# the port of each service that ships with ecsconsul
LAB_PORT = 4567
MAX_TASKS = 1000  # of one service
MAX_INSTANCES = 20
InstanceCount = Annotated[int, Meta(ge=1, le=MAX_INSTANCES)]
Duration = Annotated[
    str,
    # One number and one unit, above zero: what all of Consul's checks accept.
    Meta(
        pattern=r"^0*[1-9][0-9]*(ms|s|m|h)$",
        extra_json_schema=words("a duration above zero, as Consul writes it: 500ms, 10s, 1m"),
        examples=["10s"],
    ),
]
# of a duration, in seconds
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds_of(duration: Duration) -> float:
    """A duration of the config in seconds."""
    number = duration.rstrip("msh")
    return int(number) * UNITS[duration[len(number) :]]


HttpPath = Annotated[
    str, Meta(pattern=r"^/\S*$", extra_json_schema=words("a path that starts with /, such as /health"))
]
EnvName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$",
        extra_json_schema=words("letters, digits, _ . and -, not starting with a digit"),
    ),
]
Tag = Annotated[str, Meta(pattern=r"\S", extra_json_schema=words("a non-empty tag"))]
TargetName = Literal["local", "aws"]
RuntimeName = Literal["auto", "processes", "docker"]
ImageName = Annotated[
    str, Meta(pattern=r"^[^\s$]+$", extra_json_schema=words("an image name, such as python:3.12-slim"))
]

# what laptops download and AWS runs unless the config says otherwise: the newest patch of a release that is supported.
# The only place with it; the next one of the same minor version needs no more than this line and a run of the tests.
CONSUL_VERSION = "1.22.7"
CONSUL_REPOSITORY = "hashicorp/consul"
ConsulVersion = Annotated[
    str,
    Meta(
        pattern=r"^(1\.([89]|[1-9][0-9]+)|([2-9]|[1-9][0-9]+)\.(0|[1-9][0-9]*))\.(0|[1-9][0-9]*)$",
        extra_json_schema=words(f"a full version X.Y.Z of Consul from 1.8.0 on, such as {CONSUL_VERSION}"),
        examples=[CONSUL_VERSION],
    ),
]

Registry = Annotated[
    str,
    # no scheme and no trailing slash: it's the prefix of image names
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(:[0-9]{1,5})?(/[a-z0-9][a-z0-9._-]*)*$",
        extra_json_schema=words("a Docker Hub namespace such as my_docker_hub_repo, or host[:port]/path"),
        examples=["my_docker_hub_repo", "registry.example:5000/lab"],
    ),
]
VpcId = Annotated[str, Meta(pattern=r"^vpc-[0-9A-Za-z-]+$", extra_json_schema=words("a VPC ID: vpc-..."))]
SubnetId = Annotated[str, Meta(pattern=r"^subnet-[0-9A-Za-z-]+$", extra_json_schema=words("a subnet ID: subnet-..."))]
InstanceType = Annotated[
    str,
    Meta(
        pattern=r"^[a-z][a-z0-9-]*\.[a-z0-9-]+$",
        extra_json_schema=words("an EC2 instance type, such as t3.small or t4g.small"),
        examples=["t3.small"],
    ),
]
KeyName = Annotated[str, Meta(pattern=r"^\S(.*\S)?$", extra_json_schema=words("the name of an EC2 key pair"))]
_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
Cidr = Annotated[
    str,
    Meta(
        pattern=rf"^({_OCTET}\.){{3}}{_OCTET}/(3[0-2]|[12]?[0-9])$",
        extra_json_schema=words("an IPv4 range, such as 203.0.113.7/32"),
        examples=["203.0.113.7/32"],
    ),
]
PolicyArn = Annotated[
    str,
    Meta(
        pattern=r"^arn:[a-z-]+:iam::(aws|[0-9]{12}):policy/[A-Za-z0-9/+=,.@_-]+$",
        extra_json_schema=words("the ARN of an IAM policy: arn:aws:iam::123456789012:policy/..."),
        examples=["arn:aws:iam::123456789012:policy/ecsconsul/consul-lab-boundary"],
    ),
]
Word = Annotated[str, Meta(pattern=r"^[^\s-]\S*$", extra_json_schema=words("a name without spaces"))]
Access = Literal["ssh", "ssm", "direct"]
Bridge = Annotated[
    str,
    # Docker gives the bridge the address itself, so it's an address of a range and not the range; a /30 would hold one
    # container
    Meta(
        pattern=rf"^({_OCTET}\.){{3}}{_OCTET}/(2[0-8]|1[0-9]|[89])$",
        extra_json_schema=words("the bridge's own address with its range, such as 172.17.0.1/16"),
        examples=["172.17.0.1/16"],
    ),
]
CertificateArn = Annotated[
    str,
    Meta(
        pattern=r"^arn:[a-z-]+:acm:[a-z0-9-]+:[0-9]{12}:certificate/[A-Za-z0-9-]+$",
        extra_json_schema=words("the ARN of a certificate in ACM: arn:aws:acm:REGION:ACCOUNT:certificate/..."),
        examples=["arn:aws:acm:eu-central-1:123456789012:certificate/12345678-1234-1234-1234-123456789012"],
    ),
]
TopicArn = Annotated[
    str,
    Meta(
        pattern=r"^arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}$",
        extra_json_schema=words("the ARN of an SNS topic: arn:aws:sns:REGION:ACCOUNT:NAME"),
        examples=["arn:aws:sns:eu-central-1:123456789012:on-call"],
    ),
]
KmsKeyArn = Annotated[
    str,
    Meta(
        pattern=r"^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$",
        extra_json_schema=words("the ARN of a KMS key: arn:aws:kms:REGION:ACCOUNT:key/..."),
        examples=["arn:aws:kms:eu-central-1:123456789012:key/12345678-1234-1234-1234-123456789012"],
    ),
]
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html, without dots, which break TLS names
Bucket = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$",
        extra_json_schema=words("the name of an S3 bucket: 3 to 63 lower-case letters, digits and hyphens"),
        examples=["my-backups"],
    ),
]
# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
RetentionDays = Literal[
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653
]
# of those that ECS knows for EC2: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_LogConfiguration.html
# (awsfirelens needs a container of its own in the task)
LogDriver = Literal["awslogs", "fluentd", "gelf", "journald", "json-file", "splunk", "syslog"]
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters.html for all that follow
Protocol = Literal["tcp", "udp"]
Condition = Literal["START", "COMPLETE", "SUCCESS", "HEALTHY"]
Schedule = Literal["replica", "daemon"]
AbsolutePath = Annotated[
    str, Meta(pattern=r"^/[^:]*$", extra_json_schema=words("an absolute path without a colon, such as /data"))
]
UserName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?$",
        extra_json_schema=words("a user: a name or an ID, with :GROUP or not"),
        examples=["app", "1000:1000"],
    ),
]
VolumeName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_-]{1,255}$",
        extra_json_schema=words("the name of a volume: up to 255 letters, digits, hyphens and underscores"),
    ),
]
FileSystemId = Annotated[
    str, Meta(pattern=r"^fs-[0-9a-f]{8,40}$", extra_json_schema=words("the ID of an EFS file system: fs-..."))
]
AccessPointId = Annotated[
    str, Meta(pattern=r"^fsap-[0-9a-f]{8,40}$", extra_json_schema=words("the ID of an EFS access point: fsap-..."))
]
LinkText = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_-]+(:[A-Za-z0-9_.-]+)?$",
        extra_json_schema=words("a container's name, with :ALIAS or not"),
        examples=["cache", "cache:redis"],
    ),
]
# the first form is a parameter of SSM, the last one a secret with :JSON-KEY:VERSION-STAGE:VERSION-ID or not:
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Secret.html
SecretSource = Annotated[
    str,
    Meta(
        pattern=r"^(/?[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*"
        r"|arn:[a-z-]+:ssm:[a-z0-9-]+:[0-9]{12}:parameter/[A-Za-z0-9_./-]+"
        r"|arn:[a-z-]+:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[A-Za-z0-9/_+=.@!-]+(:[^:]*:[^:]*:[^:]*)?)$",
        extra_json_schema=words(
            "the name or ARN of an SSM parameter, or the ARN of a secret in Secrets Manager with :KEY:STAGE:ID or not"
        ),
        examples=[
            "/lab/db-password",
            "arn:aws:secretsmanager:eu-central-1:123456789012:secret:lab-db-AbCdEf:password::",
        ],
    ),
]
S3_FILE_PATTERN = r"^arn:[a-z-]+:s3:::[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.+\.env$"
S3File = Annotated[
    str,
    Meta(
        pattern=S3_FILE_PATTERN,
        extra_json_schema=words("the ARN of an object in S3 whose name ends with .env: arn:aws:s3:::BUCKET/NAME.env"),
        examples=["arn:aws:s3:::my-bucket/web.env"],
    ),
]
UlimitName = Literal[
    "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio",
    "rttime", "sigpending", "stack",
]  # fmt: skip
UlimitValue = Annotated[int, Meta(ge=-1, le=2147483647)]
LabelName = Annotated[str, Meta(pattern=r"^\S+$", extra_json_schema=words("a label's name without spaces"))]
Role = Annotated[
    str,
    Meta(
        pattern=r"^(arn:[a-z-]+:iam::[0-9]{12}:role/[A-Za-z0-9/+=,.@_-]+|[A-Za-z0-9+=,.@_-]{1,64})$",
        extra_json_schema=words("the name or ARN of an IAM role"),
        examples=["arn:aws:iam::123456789012:role/web"],
    ),
]
