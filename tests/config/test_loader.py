"""The loader accepts every documented form, and reports each mistake with its line and what was probably meant."""

import os
import re
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecsconsul import paths
from ecsconsul.config import loader as config
from ecsconsul.config.container_spec import Check
from ecsconsul.config.lab import Lab
from ecsconsul.config.scalars import CONSUL_VERSION
from ecsconsul.config.warnings import another_version
from ecsconsul.errors import ConfigInvalid, ExitCode

KEYWORDS = (
    *("lab", "target", "runtime", "base_image", "instances", "consul", "servers", "services"),
    *("path", "port", "host_port", "count", "cpu", "memory", "environment", "tags", "check"),
    *("http", "tcp", "ttl", "interval", "timeout"),
)
TOP_KEYS = "lab, target, runtime, base_image, instances, keep, consul, local, aws, services"
EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one service in it, `web`."""
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "Dockerfile").write_text("FROM scratch\n")
    return tmp_path


def read(folder: Path, text: str | bytes) -> Lab:
    path = folder / "config.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return config.load(path)


def mistakes(folder: Path, text: str | bytes) -> list[str]:
    """The mistakes, as `line: path: message`."""
    with pytest.raises(config.ConfigMistakes) as caught:
        read(folder, text)
    return [f"{m.line}: {m.path}: {m.message}" for m in caught.value.mistakes]


def only(folder: Path, text: str | bytes) -> str:
    found = mistakes(folder, text)
    assert len(found) == 1, found
    return found[0]


def web(fields: str) -> str:
    """A config with one service, whose fields start at line 4."""
    return "services:\n  web:\n    path: web\n" + "".join(f"    {line}\n" for line in fields.splitlines())


# --- valid configs


def test_built_in_lab():
    lab = config.load(None)
    assert (lab.name, lab.target, lab.instances, lab.consul.servers) == ("consul-lab", "local", 2, 1)
    assert [service.name for service in lab.services] == ["stock-price", "weather", "portal"]
    for service in lab.services:
        assert (service.port, service.cpu, service.memory, service.count) == (4567, 100, 200, 1)
        assert service.tags == ("http",)
        assert service.check == Check(http="/health", interval="10s")
        assert service.path == str(paths.services_dir() / service.name)
    assert [service.host_port for service in lab.services] == [None, None, 8080]
    assert lab.services[0].environment == {"PROVIDER": "auto"}
    assert lab.services[1].environment == {"PROVIDER": "auto", "TEMP_SCALE": "C"}


@pytest.mark.parametrize("runtime", ["auto", "processes", "docker"])
def test_runtime_and_base_image(folder, runtime):
    lab = read(folder, f"runtime: {runtime}\nbase_image: registry.example:5000/python:3.12\n" + web(""))
    assert (lab.runtime, lab.base_image) == (runtime, "registry.example:5000/python:3.12")
    lab = read(folder, web(""))
    assert (lab.runtime, lab.base_image) == ("auto", None)


def test_invalid_runtime_or_base_image_is_rejected(folder):
    assert only(folder, "runtime: dokcer\n" + web("")).startswith("1: runtime: expected one of auto, docker, processes")
    for name in ("python 3.12", "${BASE}", "''"):
        assert "an image name, such as python:3.12-slim" in only(folder, f"base_image: {name}\n" + web(""))


def test_aws_defaults(folder):
    lab = read(folder, web(""))
    assert (lab.aws.registry, lab.aws.registrator.image) == (None, None)
    assert (lab.aws.vpc, lab.aws.subnets, lab.aws.key_name, lab.aws.ssh_cidr) == (None, (), None, None)
    assert (lab.aws.instance_type, lab.aws.consul_access, lab.aws.consul_image) == (
        "t3.small", "ssh", None,
    )  # fmt: skip
    assert (lab.aws.ssh.user, lab.aws.ssh.port, lab.aws.ssh.key, lab.aws.ssh.host) == ("ec2-user", 22, None, None)
    assert lab.aws.permissions_boundary is None


def test_aws_settings(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder / "home"))
    aws = "aws: {registry: registry.example:5000/lab, registrator: {image: r:1}"
    aws += ", vpc: vpc-1, subnets: [subnet-1, subnet-2], instance_type: t4g.small, key_name: my key"
    aws += ", ssh_cidr: 203.0.113.7/32, consul_access: ssm, ssh: {user: me, port: 2222, host: bastion, key: ~/k.pem}}\n"
    lab = read(folder, aws + web(""))
    assert (lab.aws.registry, lab.aws.registrator.image, lab.aws.subnets) == (
        "registry.example:5000/lab", "r:1", ("subnet-1", "subnet-2"),
    )  # fmt: skip
    assert (lab.aws.key_name, lab.aws.ssh_cidr, lab.aws.consul_access) == ("my key", "203.0.113.7/32", "ssm")
    assert lab.aws.ssh.key == str(folder / "home" / "k.pem")
    one = read(folder, "aws: {registry: my_docker_hub_repo, subnets: subnet-1, ssh: {key: k.pem}}\n" + web(""))
    assert (one.aws.registry, one.aws.subnets) == ("my_docker_hub_repo", ("subnet-1",))
    boundary = "arn:aws-cn:iam::123456789012:policy/ecsconsul/x-boundary"
    assert read(folder, f"aws: {{permissions_boundary: '{boundary}'}}\n" + web("")).aws.permissions_boundary == boundary
    assert one.aws.ssh.key == str(folder / "k.pem")


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (
            "aws: {registry: https://r.example/x}",
            "1: aws.registry: expected a Docker Hub namespace such as my_docker_hub_repo",
        ),
        ("registry: r.example/x/", "1: registry: expected a Docker Hub namespace"),
        ("aws: {vpc: default}", "1: aws.vpc: expected a VPC ID: vpc-..., got the text"),
        ("aws: {subnets: [subnet-1, subnet-1]}", "1: aws.subnets[1]: the subnet subnet-1 is given twice"),
        ("aws: {subnets: 'subnet-1,subnet-2'}", "1: aws.subnets: expected a subnet ID"),
        ("aws: {instance_type: small}", "1: aws.instance_type: expected an EC2 instance type, such as t3.small"),
        ("aws: {ssh_cidr: 300.0.0.1/32}", "1: aws.ssh_cidr: expected an IPv4 range, such as 203.0.113.7/32"),
        ("aws: {ssh_cidr: 203.0.113.7}", "1: aws.ssh_cidr: expected an IPv4 range"),
        ("aws: {consul_access: shh}", "1: aws.consul_access: expected one of direct, ssh, ssm, got the text"),
        ("aws: {ssh: {user: -oProxyCommand}}", "1: aws.ssh.user: expected a name without spaces"),
        ("aws: {ssh: {hots: x}}", "1: aws.ssh.hots: unknown key; did you mean host?"),
        ("aws: {permissions_boundary: mine}", "1: aws.permissions_boundary: expected the ARN of an IAM policy"),
        (
            "aws: {permissions_boundary: 'arn:aws:iam::123456789012:role/x'}",
            "1: aws.permissions_boundary: expected the ARN of an IAM policy",
        ),
        ("aws: {keyname: x}", "1: aws.keyname: unknown key; did you mean key_name?"),
    ],
)
def test_aws_mistakes(folder, text, mistake):
    assert only(folder, text + "\n" + web("")).startswith(mistake)


@pytest.mark.parametrize("aws", ["", "aws: {vpc: vpc-1}\n"])
def test_deprecated_registry_and_registrator_still_work(folder, aws):
    warnings: list[str] = []
    (folder / "config.yaml").write_text("lab: x1\nregistrator: {image: r:1}\nregistry: repo\n" + aws + web(""))
    lab = config.load(folder / "config.yaml", warn=warnings.append)
    assert (lab.aws.registry, lab.aws.registrator.image) == ("repo", "r:1")
    moves = "move registry to aws.registry, registrator to aws.registrator"
    assert warnings == [f"{folder / 'config.yaml'}:2: deprecated: {moves}"]


# --- the version of Consul


def test_one_version_drives_the_download_and_the_image(folder):
    lab = read(folder, web(""))
    assert (lab.consul.version, lab.consul_image) == (CONSUL_VERSION, f"hashicorp/consul:{CONSUL_VERSION}")
    lab = read(folder, "consul: {version: 1.16.6}\n" + web(""))
    assert (lab.consul.version, lab.consul_image) == ("1.16.6", "hashicorp/consul:1.16.6")
    lab = read(folder, "aws: {consul_image: mirror.example/consul:1}\n" + web(""))
    assert (lab.consul.version, lab.consul_image) == (CONSUL_VERSION, "mirror.example/consul:1")


def test_version_is_pinned_in_one_place():
    """A new patch release must not have to be looked for in the code."""
    package = Path(config.__file__).parents[1]
    folders = (package, package.parent / "templates", package.parent / "services")
    files = [path for one in folders for path in one.rglob("*.*") if path.suffix in (".py", ".yaml", ".sh", ".json")]
    found = {path.name for path in files if CONSUL_VERSION in path.read_text()}
    # the schema is generated
    assert found == {"scalars.py", "config.schema.json"}
    assert f"| `consul.version` | {CONSUL_VERSION} |" in (package.parent / "docs" / "config.md").read_text()


@pytest.mark.parametrize("version", ["1.8.0", "1.8.7", "1.9.17", "1.10.0", "1.22.7", "1.100.0", "2.0.1", "10.0.0"])
def test_versions_from_1_8_on(folder, version):
    assert read(folder, f"consul: {{version: {version}}}\n" + web("")).consul.version == version
    assert read(folder, f"consul: {{version: '{version}'}}\n" + web("")).consul.version == version


@pytest.mark.parametrize(
    "version",
    [
        "1.7.14",
        "0.9.0",
        "1.22",
        "1",
        "1.22.x",
        "v1.22.7",
        "1.22.7+ent",
        "1.22.0-rc1",
        "latest",
        "1.08.0",
        "1.8.07",
        "''",
    ],
)
def test_other_versions_are_mistakes_with_their_line(folder, version):
    mistake = only(folder, f"consul:\n  version: {version}\n" + web(""))
    assert mistake.startswith("2: consul.version: expected a full version X.Y.Z of Consul from 1.8.0 on, such as 1.")


@pytest.mark.parametrize(
    ("image", "tag"),
    [
        ("hashicorp/consul:1.20", "1.20"),
        ("hashicorp/consul:1.22.6", "1.22.6"),
        ("hashicorp/consul:1.22.70", "1.22.70"),
        ("hashicorp/consul:1.2", "1.2"),
        ("registry.example:5000/consul:v1.20.1-ubi", "v1.20.1-ubi"),
        ("hashicorp/consul:1.20@sha256:12ab", "1.20"),
        ("hashicorp/consul:1.22.7", ""),
        ("hashicorp/consul:1.22", ""),
        ("hashicorp/consul:1", ""),
        ("hashicorp/consul:v1.22.7-ubi", ""),
        ("hashicorp/consul:1.22.7@sha256:12ab", ""),
        ("hashicorp/consul:latest", ""),
        ("hashicorp/consul@sha256:12ab", ""),
        ("registry.example:5000/consul", ""),
    ],
)
def test_image_of_another_version_is_recognized(image, tag):
    assert another_version(image, "1.22.7") == tag


def test_image_of_another_version_causes_a_warning(folder):
    def warnings(text: str) -> list[str]:
        found: list[str] = []
        (folder / "config.yaml").write_text(text + web(""))
        config.load(folder / "config.yaml", warn=found.append)
        return found

    [warning] = warnings("lab: x1\naws: {consul_image: 'hashicorp/consul:1.20'}\nconsul: {version: 1.16.6}\n")
    assert warning.startswith(
        f"{folder / 'config.yaml'}:2: aws.consul_image has the tag 1.20, but consul.version is 1.16.6"
    )
    assert len(warnings("registry: repo\naws: {consul_image: 'hashicorp/consul:1.20'}\n")) == 2
    assert warnings("consul: {version: 1.16.6}\naws: {consul_image: 'mirror/consul:1.16.6'}\n") == []


def test_current_keys_cause_no_warning(folder):
    (folder / "config.yaml").write_text("aws: {registry: repo}\n" + web(""))
    warnings: list[str] = []
    config.load(folder / "config.yaml", warn=warnings.append)
    assert warnings == []


def test_old_and_new_place_must_agree(folder):
    assert read(folder, "registry: repo\naws: {registry: repo}\n" + web("")).aws.registry == "repo"
    found = only(folder, "registry: other\naws:\n  registry: repo\n" + web(""))
    assert found == "1: registry: differs from aws.registry on line 3; keep only aws.registry"
    assert len(mistakes(folder, "registry: repo/\naws: {registry: repo/}\n" + web(""))) == 2
    assert only(folder, "registry: repo\naws: 3\n" + web("")).startswith("2: aws: expected a mapping")


def test_init_lists_every_field_of_every_service(tmp_path):
    text = config.init_text(tmp_path)
    assert read(tmp_path, text) == config.load(None)
    services = yaml.safe_load(text)["services"]
    fields = {"path", "port", "count", "cpu", "memory", "environment", "tags", "check"}
    assert {name: set(values) - {"host_port"} for name, values in services.items()} == dict.fromkeys(services, fields)
    assert len(re.findall(r"^    (?:# )?host_port: ", text, re.MULTILINE)) == 3
    assert "\t" not in text
    assert all((len(line) - len(line.lstrip())) % 2 == 0 for line in text.splitlines() if line.strip())


def test_init_uses_services_next_to_the_config(tmp_path):
    (tmp_path / "services" / "weather").mkdir(parents=True)
    (tmp_path / "services" / "weather" / "Dockerfile").touch()
    services = yaml.safe_load(config.init_text(tmp_path))["services"]
    assert [service["path"] for service in services.values()] == [
        "lab:stock-price",
        "services/weather",
        "lab:portal",
    ]
    lab = read(tmp_path, config.init_text(tmp_path))
    assert lab.services[1].path == str((tmp_path / "services" / "weather").resolve())


def test_example_is_the_built_in_lab_and_names_every_key():
    assert config.load(EXAMPLE) == config.load(None)
    text = EXAMPLE.read_text()
    for key in KEYWORDS:
        assert re.search(rf"^ *(# *)?{key}: ?", text, re.MULTILINE), key


def test_commented_service_of_the_example_is_valid(tmp_path):
    own = EXAMPLE.read_text().split("and this:\n")[1]
    text = "services:\n" + "".join(line.replace("  # ", "  ", 1) + "\n" for line in own.splitlines()[1:])
    (tmp_path / "lab").mkdir()
    (tmp_path / "greeter").mkdir()
    (tmp_path / "greeter" / "Dockerfile").touch()
    (greeter,) = read(tmp_path / "lab", text).services
    assert (greeter.name, greeter.count, greeter.port, greeter.check) == (
        "greeter",
        2,
        8000,
        Check(http="/health"),
    )


def test_service_needs_only_a_path(folder):
    (service,) = read(folder, web("")).services
    assert (service.port, service.count, service.check, service.tags) == (4567, 1, None, ())
    assert service.path == str((folder / "web").resolve())


def test_relative_path_starts_at_the_config_file(folder, monkeypatch):
    (folder / "web" / "inner").mkdir()
    monkeypatch.chdir(folder / "web" / "inner")
    (folder / "config.yaml").write_text(web(""))
    assert config.load(Path("../../config.yaml")).services[0].path == str((folder / "web").resolve())


def test_path_may_start_with_a_tilde(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    assert read(folder, "services:\n  web: {path: ~/web}\n").services[0].path == str((folder / "web").resolve())


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("check: /health", Check(http="/health")),
        ("check: {http: /, timeout: 500ms, interval: 1m}", Check(http="/", timeout="500ms", interval="1m")),
        ("check: {tcp: yes}", Check(tcp=True)),
        ("check: {tcp: false, ttl: 30s}", Check(ttl="30s")),
    ],
)
def test_checks(folder, text, check):
    assert read(folder, web(text)).services[0].check == check


def test_environment_values_keep_their_text(folder):
    text = "environment: {A: 1.10, B: 007, C: yes, D: FALSE, E: 2024-01-31, F: '', G: 'no', H: 1:30, I: !!str 3}"
    assert read(folder, web(text)).services[0].environment == {
        "A": "1.10",
        "B": "007",
        "C": "true",
        "D": "false",
        "E": "2024-01-31",
        "F": "",
        "G": "no",
        "H": "1:30",
        "I": "3",
    }


def test_single_tag_needs_no_list(folder):
    assert read(folder, web("tags: http")).services[0].tags == ("http",)
    assert read(folder, web("tags: [b, a, 'x=y,z']")).services[0].tags == ("b", "a", "x=y,z")


def test_own_keys_override_merged_keys(folder):
    text = """
services:
  one: &base
    path: web
    count: 2
    environment: &env {A: a}
  two:
    <<: *base
    count: 1
    environment: {<<: [{A: first}, *env, {B: b}], C: c}
"""
    one, two = read(folder, text).services
    assert (one.count, two.count, two.path) == (2, 1, one.path)
    assert two.environment == {"A": "first", "B": "b", "C": "c"}


def test_byte_order_mark_and_windows_line_endings_are_accepted(folder):
    assert read(folder, b"\xef\xbb\xbf" + web("count: 3").replace("\n", "\r\n").encode()).services[0].count == 3


# --- mistakes


def test_all_mistakes_are_reported_sorted_by_line(folder):
    text = """lab: Big
services:
  web:
    path: wbe
    cuont: 3
    memory: 2
target: aw
"""
    with pytest.raises(ConfigInvalid) as caught:
        read(folder, text)
    error, name = caught.value, folder / "config.yaml"
    assert error.exit_code == ExitCode.CONFIG_INVALID
    assert (error.what, error.where) == ("the config has 5 mistakes", f"{name}:1")
    words = "2 to 32 lower-case letters, digits and hyphens, starting with a letter"
    assert error.why.splitlines() == [
        f'{name}:1: lab: expected {words}, got the text "Big"',
        f"{name}:4: services.web.path: there is no folder {folder.resolve() / 'wbe'}",
        f"{name}:5: services.web.cuont: unknown key; did you mean count?",
        f"{name}:6: services.web.memory: expected a whole number, 4 or more, got 2",
        f'{name}:7: target: expected one of aws, local, got the text "aw"; did you mean aws?',
    ]
    assert error.hint


def test_mistakes_have_line_column_and_path(folder):
    with pytest.raises(config.ConfigMistakes) as caught:
        read(folder, web("count: -1"))
    assert [(m.line, m.column, m.path) for m in caught.value.mistakes] == [(4, 5, "services.web.count")]


@pytest.mark.parametrize(
    ("fields", "mistake"),
    [
        (
            'count: "3"',
            '4: services.web.count: expected a whole number from 0 to 1000, got the text "3"; remove the q',
        ),
        ("count: 3.5", "4: services.web.count: expected a whole number from 0 to 1000, got 3.5"),
        ("count: true", "4: services.web.count: expected a whole number from 0 to 1000, got true"),
        ("count: 1001", "4: services.web.count: expected a whole number from 0 to 1000, got 1001"),
        ("count:", "4: services.web.count: the value is missing; add one, or remove the key"),
        ("count: [1]", "4: services.web.count: expected a whole number from 0 to 1000, got a list"),
        (
            "count: 010",
            "4: services.web.count: expected a whole number from 0 to 1000, got 010 (a number in YAML",
        ),
        (
            "count: !x 1",
            "4: services.web.count: expected a whole number from 0 to 1000, got a value with the tag !x",
        ),
        ("count: 1" + "0" * 5000, "4: services.web.count: expected a whole number from 0 to 1000, got 1000"),
        ("count: 1\ncount: 2", "5: services.web.count: given twice, first on line 4"),
        ("port: 0", "4: services.web.port: expected a whole number from 1 to 65535, got 0"),
        (
            "host_port: 8080:22",
            "4: services.web.host_port: expected a whole number from 1 to 65535, got 8080:22 (a n",
        ),
        (
            "host_port: '8080:80'",
            '4: services.web.host_port: expected a whole number from 1 to 65535, got the text "80',
        ),
        ("host_port: 22", "4: services.web.host_port: 22 is taken on every instance: ECS reserves it"),
        (
            "host_port: 8500",
            "4: services.web.host_port: 8500 is taken on every instance: the Consul agent uses it",
        ),
        (
            "host_port: 80\ncount: 3",
            "4: services.web.host_port: only one task per instance can use 80; count is 3, i",
        ),
        ("cpu: 0", "4: services.web.cpu: expected a whole number from 1 to 196608, got 0"),
        ("memory: 3", "4: services.web.memory: expected a whole number, 4 or more, got 3"),
        ("cuont: 1", "4: services.web.cuont: unknown key; did you mean count?"),
        ("Count: 1", "4: services.web.Count: unknown key; did you mean count?"),
        ("replicas: 1", "4: services.web.replicas: unknown key; did you mean count?"),
        (
            "zzz: 1",
            "4: services.web.zzz: unknown key; known keys: path, image, entry_point, command, ",
        ),
        ("1: 1", '4: services.web: a key must be text, got 1; write "1"'),
        (
            "environment: [A=b]",
            "4: services.web.environment: expected a mapping from names to values, got a list",
        ),
        (
            "environment: {1A: b}",
            "4: services.web.environment.1A: expected letters, digits, _ . and -, not startin",
        ),
        (
            "environment: {A: }",
            "4: services.web.environment.A: expected text, a number or true/false, got nothing; wr",
        ),
        (
            "environment: {A: {b: c}}",
            "4: services.web.environment.A: expected text, a number or true/false, got a map",
        ),
        (
            "environment: {NO: a}",
            "4: services.web.environment: a key must be text, got NO, which YAML reads as false;",
        ),
        (
            'environment: {A: "a\\0"}',
            "4: services.web.environment.A: contains a character that environment va",
        ),
        ("tags: {a: b}", "4: services.web.tags: expected a list of tags, got a mapping"),
        ("tags: http,v1", "4: services.web.tags: write several tags as a list: [http,v1]"),
        (
            "tags: [a, b, a]",
            "4: services.web.tags[2]: the tag a is given twice, first as services.web.tags[0]",
        ),
        ("tags:\n- a\n- ''", '6: services.web.tags[1]: expected a non-empty tag, got the text ""'),
        ("tags: [1]", '4: services.web.tags[0]: expected a non-empty tag, got 1; did you mean "1"?'),
        (
            "check: health",
            "4: services.web.check: expected a path that starts with /, such as /health, got the text",
        ),
        ("check: {}", "4: services.web.check: expected exactly one of http, tcp and ttl, got none"),
        (
            "check: []",
            "4: services.web.check: expected a mapping with http, tcp, ttl, interval, timeout, container, got a list",
        ),
        ("check: {tcp: false}", "4: services.web.check: expected exactly one of http, tcp and ttl, got none"),
        (
            "check: {http: /, ttl: 3s}",
            "4: services.web.check: expected exactly one of http, tcp and ttl, got http and",
        ),
        (
            "check:\n  ttl: 3s\n  interval: 1s",
            "6: services.web.check.interval: not allowed with ttl",
        ),
        (
            "check: {tcp: true, interval: 10}",
            "4: services.web.check.interval: expected a duration above zero, as Cons",
        ),
        (
            "check: {tcp: true, interval: 0s}",
            "4: services.web.check.interval: expected a duration above zero, as Cons",
        ),
        ('check: "/a\\n"', "4: services.web.check: an invisible or unprintable character in the text"),
    ],
)
def test_mistakes_of_a_service(folder, fields, mistake):
    assert only(folder, web(fields)).startswith(mistake)


def test_a_duration_without_unit_is_understood(folder):
    assert only(folder, web("check: {tcp: true, interval: 10}")).endswith('got 10; did you mean "10s"?')


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("", "1: : the file is empty"),
        ("# nothing\n", "1: : the file is empty"),
        ("- a\n", f"1: : expected a mapping with {TOP_KEYS}, got a list"),
        ("just text", f"1: : expected a mapping with {TOP_KEYS}, got the text"),
        ("lab: my-lab\n", "1: : services is missing: a lab needs at least one service"),
        ("services: {}\n", "1: services: is empty: a lab needs at least one service"),
        ("services:\n", "1: services: the value is missing; add one, or remove the key"),
        ("services: [web]\n", "1: services: expected a mapping from service names to services, got a list"),
        (
            "services:\n  web:\n",
            "2: services.web: expected a mapping with path, image, entry_point, command, ",
        ),
        ("services:\n  web: {}\n", "2: services.web: path is missing: the folder with the Dockerfile"),
        ("services:\n  web: {pth: web}\n", "2: services.web.pth: unknown key; did you mean path?"),
        (
            "services:\n  no: {path: web}\n",
            "2: services: a key must be text, got no, which YAML reads as false; qu",
        ),
        (
            "services:\n  Web: {path: web}\n",
            "2: services.Web: expected 2 to 32 lower-case letters, digits and hyph",
        ),
        (
            'services:\n  "web\\n": {path: web}\n',
            "2: services.web\\n: an invisible or unprintable character in the name",
        ),
        ("services:\n  consul: {path: web}\n", "2: services.consul: the name is taken by Consul's own service"),
        ("services:\n  [a]: {path: web}\n", "2: services: a key must be text, got a list"),
        ("services:\n  web:\n\tpath: web\n", "3: : a tab in the indentation; YAML indents with spaces"),
        ("services: {web: {path: web}\n", "2: : while parsing a flow mapping: "),
        ("services: *all\n", "1: : found undefined alias"),
        ("lab: a: b\n", "1: : mapping values are not allowed"),
        (
            "lab: one\n---\nlab: two\n",
            "2: : expected a single document in the stream: but found another document",
        ),
        ("lab: one\ntarget: \x01\n", "2: : a control character, which YAML does not allow"),
        (b"lab: one\ntarget: l\xf6cal\n", "2: : not UTF-8: byte 0xf6"),
        ("lab: one".encode("utf-16"), "1: : not UTF-8: byte 0xff"),
        ("<<: 3\n" + web(""), "1: : << merges mappings, not 3"),
        ("consul: {servers: 2}\n" + web(""), "1: consul.servers: expected one of 1, 3, 5, got 2"),
        ("consul: 3\n" + web(""), "1: consul: expected a mapping with servers, version, snapshots, got 3"),
        (
            "lab: no\n" + web(""),
            "1: lab: expected 2 to 32 lower-case letters, digits and hyphens, starting with a l",
        ),
        (
            "target: locl\n" + web(""),
            '1: target: expected one of aws, local, got the text "locl"; did you mean local?',
        ),
        ("sevices: {}\n", "1: sevices: unknown key; did you mean services?"),
        ("name: my-lab\n" + web(""), "1: name: unknown key; did you mean lab?"),
        ("lab: one\nlab: two\n" + web(""), "2: lab: given twice, first on line 1"),
    ],
)
def test_file_mistakes(folder, text, mistake):
    assert only(folder, text).startswith(mistake)


@pytest.mark.parametrize(
    ("path", "mistake"),
    [
        ("lab:portl", "ecsconsul ships no service 'portl'; did you mean lab:portal?"),
        ("lab:../x", "ecsconsul ships no service '../x'; choose one of portal, stock-price, weather"),
        ("empty", "there is no Dockerfile in {folder}/empty"),
        ("web/Dockerfile", "{folder}/web/Dockerfile is a file; name the folder with the Dockerfile"),
        ("x" * 5000, "can't read the folder: "),
        ("loop", "can't read the folder: |there is no folder {folder}/loop"),
        ("~nobody-of-that-name/web", "can't read the folder: "),
    ],
)
def test_path_mistakes(folder, path, mistake):
    (folder / "empty").mkdir()
    (folder / "loop").symlink_to(folder / "loop")
    found = only(folder, f"services:\n  web:\n    path: {path}\n")
    wanted = mistake.replace("{folder}", str(folder.resolve())).split("|")
    assert any(found.startswith(f"3: services.web.path: {start}") for start in wanted), found


def test_two_services_cannot_share_a_host_port(folder):
    text = "services:\n  a1: {path: web, host_port: 80}\n  a2:\n    path: web\n    host_port: 80\n"
    assert only(folder, text) == "5: services.a2.host_port: 80 is also services.a1.host_port on line 2"


def test_invalid_instances_is_reported_once(folder):
    assert only(folder, "instances: 0\n" + web("host_port: 80\ncount: 3")).startswith("1: instances: expected")


def test_unreadable_file_says_why(tmp_path):
    for path, why in ((tmp_path / "none.yaml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigInvalid) as caught:
            config.load(path)
        assert caught.value.where == str(path)
        assert why in caught.value.why


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_file_without_read_permission(folder):
    (folder / "config.yaml").write_text(web(""))
    (folder / "config.yaml").chmod(0)
    with pytest.raises(ConfigInvalid, match="Permission denied"):
        config.load(folder / "config.yaml")


# --- bounds


@pytest.mark.parametrize("start", ["[", "- ", "? ", "{a: "])
def test_deep_nesting_is_rejected(folder, start):
    assert only(folder, "lab: x1\nservices:\n  " + start * 200_000).endswith("nested more than 100 deep")


def test_too_large_file_is_rejected(folder):
    assert only(folder, "#" * 2_000_000) == "1: : the file is larger than 1 MiB"


def test_alias_loop_ends(folder):
    found = mistakes(folder, "services: &s {ab: *s, cd: *s}")
    assert [mistake.split(": ")[1] for mistake in found if "path is missing" in mistake] == [
        "services.ab",
        "services.cd",
    ]
    assert only(folder, web("environment: {A: &a [*a]}")).endswith("got a list")
    assert read(folder, "services: {ab: &s {<<: [*s, *s], path: web}}").services[0].name == "ab"


def test_messages_contain_no_control_characters(folder):
    text = 'services:\n  "a\\e[31m\\n": {path: "a\\e[31m", "b\\e": 1, count: "\\e[0mé"}\n'
    found = mistakes(folder, text)
    assert len(found) == 4
    assert all(mistake.isprintable() for mistake in found), found
    assert "é" in found[-1]


def test_alias_bomb_is_cheap(folder):
    lists = "\n".join(f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30))
    merges = "\n".join(f"  m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 9)}]}}" for n in range(1, 30))
    environment = ", ".join(f"A{n}: b" for n in range(2000))
    services = "\n".join(f"  s{n}: *big" for n in range(2000))
    text = f"""x: &a0 [1]
y: &m0 {{path: web}}
z:
{lists}
{merges}
services:
  big: &big {{path: web, environment: {{{environment}}}}}
{services}
"""
    start = time.process_time()
    assert any("more than 100000 values" in mistake for mistake in mistakes(folder, text))
    assert time.process_time() - start < 10


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.dates(),
    st.sampled_from(["web", "/health", "10s", "local", "lab:portal", "http", "~x", "no", "<<", "1:30"]),
)
KEYS = st.one_of(
    st.sampled_from([*KEYWORDS, "web"]),
    st.text(max_size=6),
    st.integers(),
    st.none(),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=25,
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "path": VALUES | st.just("web"),
        "port": VALUES,
        "host_port": VALUES,
        "count": VALUES,
        "environment": VALUES | st.dictionaries(KEYS, SCALARS),
        "tags": VALUES,
        "check": VALUES | st.dictionaries(KEYS, SCALARS),
    },
)
CONFIGS = VALUES | st.fixed_dictionaries({"services": st.dictionaries(KEYS, FIELDS | VALUES, max_size=3)})


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A folder with one service, shared by all examples of a property."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "web").mkdir()
    (folder / "web" / "Dockerfile").touch()
    return folder


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=CONFIGS)
def test_any_yaml_is_a_lab_or_invalid(shared, data):
    parse_or_reject(shared, yaml.safe_dump(data, allow_unicode=True).encode())


@settings(max_examples=150, deadline=None)
@given(text=st.text(max_size=80) | st.text(alphabet="ab:-[]{}&*<!|>#'\"\n\t ,?%@0", max_size=60))
def test_any_text_is_a_lab_or_invalid(shared, text):
    parse_or_reject(shared, text.encode("utf-8", "surrogatepass"))


@settings(max_examples=50, deadline=None)
@given(data=st.binary(max_size=60))
def test_any_bytes_are_a_lab_or_invalid(shared, data):
    parse_or_reject(shared, data)


def parse_or_reject(folder: Path, data: bytes) -> None:
    try:
        assert config.parse(data, "config.yaml", folder).services
    except config.ConfigMistakes as error:
        assert error.mistakes
        assert all(mistake.line >= 1 and mistake.message for mistake in error.mistakes)


# --- what a team operates in AWS

OPERATED = """consul:
  snapshots: {every: 30m, folder: backups, bucket: my-backups}
instances: {min: 2, max: 6}
aws:
  server_instance_type: t4g.small
  docker_bridge: 10.200.0.1/24
  load_balancer:
    certificate: arn:aws:acm:eu-central-1:123456789012:certificate/12345678-ab
    subnets: [subnet-1, subnet-2]
  alarms: {topic: "arn:aws:sns:eu-central-1:123456789012:on-call"}
  logs:
    retention_days: 30
    kms_key: arn:aws:kms:eu-central-1:123456789012:key/12345678-ab
    driver: splunk
    options: {splunk-url: "https://splunk.example", splunk-insecureskipverify: no}
"""


def test_settings_of_an_operated_lab(folder):
    lab = read(folder, OPERATED + web("check: {http: /health, container: false}"))
    assert (lab.min_instances, lab.max_instances) == (2, 6)
    snapshots = lab.consul.snapshots
    assert snapshots and (snapshots.every, snapshots.keep, snapshots.bucket) == ("30m", "168h", "my-backups")
    assert snapshots.folder == str(folder / "backups")
    aws = lab.aws
    assert (aws.instance_type, aws.server_type, aws.docker_bridge) == ("t3.small", "t4g.small", "10.200.0.1/24")
    assert aws.load_balancer and aws.load_balancer.subnets == ("subnet-1", "subnet-2")
    assert not aws.load_balancer.internal
    assert aws.alarms.topic == "arn:aws:sns:eu-central-1:123456789012:on-call"
    assert (aws.logs.retention_days, aws.logs.driver) == (30, "splunk")
    assert aws.logs.options == {"splunk-url": "https://splunk.example", "splunk-insecureskipverify": "false"}
    assert not lab.services[0].check.container


def test_defaults_of_an_operated_lab(folder):
    lab = read(folder, "consul: {snapshots: {}}\n" + web(""))
    assert (lab.min_instances, lab.max_instances, lab.aws.server_type) == (2, 2, "t3.small")
    assert lab.consul.snapshots and lab.consul.snapshots.folder is None
    assert lab.aws.load_balancer is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("instances: {min: 3, max: 2}", "1: instances.min: 3 is more than max, which is 2"),
        ("instances: {min: 3}", "1: instances: max is missing: the most ECS instances"),
        ("instances: 0", "1: instances: expected a whole number from 1 to 20, got 0"),
        ("instances: [2]", "1: instances: expected a mapping with min, max, got a list"),
        (
            "aws: {load_balancer: {subnets: subnet-1}}",
            "1: aws.load_balancer: certificate is missing: HTTPS needs one; ACM issues it",
        ),
        ("aws: {docker_bridge: 172.17.0.1}", "1: aws.docker_bridge: expected the bridge's own address with its range"),
        ("aws: {docker_bridge: 172.17.0.1/30}", "1: aws.docker_bridge: expected the bridge's own address"),
        ("aws: {logs: {retention_days: 8}}", "1: aws.logs.retention_days: expected one of 1, 3, 5, 7,"),
        ("aws: {logs: {driver: awslog}}", "1: aws.logs.driver: expected one of awslogs"),
        ("aws: {alarms: {topic: on-call}}", "1: aws.alarms.topic: expected the ARN of an SNS topic"),
        ("consul: {snapshots: {bucket: My_Backups}}", "1: consul.snapshots.bucket: expected the name of an S3 bucket"),
        ("consul: {snapshots: {every: 59s}}", "1: consul.snapshots.every: 59s is less than 1m"),
        ("consul: {snapshots: {every: 1d}}", "1: consul.snapshots.every: expected a duration above zero"),
    ],
)
def test_mistakes_of_an_operated_lab(folder, text, message):
    assert only(folder, text + "\n" + web("")).startswith(message)


def test_fixed_port_may_have_as_many_tasks_as_there_may_be_instances(folder):
    assert read(folder, "instances: {min: 1, max: 3}\n" + web("host_port: 80\ncount: 3")).services[0].count == 3
    assert "count is 4, instances is 3" in only(
        folder, "instances: {min: 1, max: 3}\n" + web("host_port: 80\ncount: 4")
    )


def test_container_check_needs_a_check_that_ecs_can_make(folder):
    assert only(folder, web("check: {ttl: 30s, container: true}")).startswith("4: services.web.check.container: not")
