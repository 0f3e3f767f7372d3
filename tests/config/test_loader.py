"""config.yaml: what is accepted, and that every mistake is reported with its line and what was meant."""

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
from ecsconsul.config.lab import Check, Lab
from ecsconsul.errors import ConfigInvalid, ExitCode

KEYWORDS = (
    *("lab", "target", "runtime", "base_image", "instances", "consul", "servers", "services"),
    *("path", "port", "host_port", "count", "cpu", "memory", "environment", "tags", "check"),
    *("http", "tcp", "ttl", "interval", "timeout"),
)
TOP_KEYS = "lab, target, runtime, base_image, instances, consul, registry, registrator, aws, services"
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
    """What is wrong, as `line: path: message`."""
    with pytest.raises(config.ConfigMistakes) as caught:
        read(folder, text)
    return [f"{m.line}: {m.path}: {m.message}" for m in caught.value.mistakes]


def only(folder: Path, text: str | bytes) -> str:
    found = mistakes(folder, text)
    assert len(found) == 1, found
    return found[0]


def web(fields: str) -> str:
    """A config whose one service has these fields, from line 4 on."""
    return "services:\n  web:\n    path: web\n" + "".join(f"    {line}\n" for line in fields.splitlines())


# --- what is accepted


def test_the_built_in_lab_is_the_one_of_the_labs_text():
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
def test_the_runtime_and_the_base_image_are_the_labs(folder, runtime):
    lab = read(folder, f"runtime: {runtime}\nbase_image: registry.example:5000/python:3.12\n" + web(""))
    assert (lab.runtime, lab.base_image) == (runtime, "registry.example:5000/python:3.12")
    lab = read(folder, web(""))
    assert (lab.runtime, lab.base_image) == ("auto", None)


def test_a_runtime_or_a_base_image_that_cannot_be_is_refused(folder):
    assert only(folder, "runtime: dokcer\n" + web("")).startswith("1: runtime: expected one of auto, docker, processes")
    for name in ("python 3.12", "${BASE}", "''"):
        assert "the name of an image, such as python:3.12-slim" in only(folder, f"base_image: {name}\n" + web(""))


def test_what_only_aws_needs_has_defaults(folder):
    lab = read(folder, web(""))
    assert (lab.registry, lab.registrator.image) == (None, None)
    assert (lab.aws.vpc, lab.aws.subnets, lab.aws.key_name, lab.aws.ssh_cidr) == (None, (), None, None)
    assert (lab.aws.instance_type, lab.aws.consul_access, lab.aws.consul_image) == (
        "t3.small", "ssh", "hashicorp/consul:1.20",
    )  # fmt: skip
    assert (lab.aws.ssh.user, lab.aws.ssh.port, lab.aws.ssh.key, lab.aws.ssh.host) == ("ec2-user", 22, None, None)


def test_what_only_aws_needs_is_read(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder / "home"))
    aws = "aws: {vpc: vpc-1, subnets: [subnet-1, subnet-2], instance_type: t4g.small, key_name: my key"
    aws += ", ssh_cidr: 203.0.113.7/32, consul_access: ssm, ssh: {user: me, port: 2222, host: bastion, key: ~/k.pem}}\n"
    lab = read(folder, "registry: registry.example:5000/lab\nregistrator: {image: r:1}\n" + aws + web(""))
    assert (lab.registry, lab.registrator.image, lab.aws.subnets) == (
        "registry.example:5000/lab", "r:1", ("subnet-1", "subnet-2"),
    )  # fmt: skip
    assert (lab.aws.key_name, lab.aws.ssh_cidr, lab.aws.consul_access) == ("my key", "203.0.113.7/32", "ssm")
    assert lab.aws.ssh.key == str(folder / "home" / "k.pem")
    one = read(folder, "registry: my_docker_hub_repo\naws: {subnets: subnet-1, ssh: {key: k.pem}}\n" + web(""))
    assert (one.registry, one.aws.subnets) == ("my_docker_hub_repo", ("subnet-1",))
    assert one.aws.ssh.key == str(folder / "k.pem")


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("registry: https://r.example/x", "1: registry: expected a Docker Hub namespace such as my_docker_hub_repo"),
        ("registry: r.example/x/", "1: registry: expected a Docker Hub namespace"),
        ("aws: {vpc: default}", "1: aws.vpc: expected the id of a VPC: vpc-..., got the text"),
        ("aws: {subnets: [subnet-1, subnet-1]}", "1: aws.subnets[1]: the subnet subnet-1 is given twice"),
        ("aws: {subnets: 'subnet-1,subnet-2'}", "1: aws.subnets: expected the id of a subnet"),
        ("aws: {instance_type: small}", "1: aws.instance_type: expected an EC2 instance type, such as t3.small"),
        ("aws: {ssh_cidr: 300.0.0.1/32}", "1: aws.ssh_cidr: expected an IPv4 range, such as 203.0.113.7/32"),
        ("aws: {ssh_cidr: 203.0.113.7}", "1: aws.ssh_cidr: expected an IPv4 range"),
        ("aws: {consul_access: shh}", "1: aws.consul_access: expected one of direct, ssh, ssm, got the text"),
        ("aws: {ssh: {user: -oProxyCommand}}", "1: aws.ssh.user: expected a name without blanks"),
        ("aws: {ssh: {hots: x}}", "1: aws.ssh.hots: unknown key; did you mean host?"),
        ("aws: {keyname: x}", "1: aws.keyname: unknown key; did you mean key_name?"),
    ],
)
def test_mistakes_of_what_only_aws_needs(folder, text, mistake):
    assert only(folder, text + "\n" + web("")).startswith(mistake)


def test_init_spells_every_field_of_every_service_out(tmp_path):
    text = config.init_text(tmp_path)
    assert read(tmp_path, text) == config.load(None)
    services = yaml.safe_load(text)["services"]
    fields = {"path", "port", "count", "cpu", "memory", "environment", "tags", "check"}
    assert {name: set(values) - {"host_port"} for name, values in services.items()} == dict.fromkeys(services, fields)
    assert len(re.findall(r"^    (?:# )?host_port: ", text, re.MULTILINE)) == 3
    assert "\t" not in text
    assert all((len(line) - len(line.lstrip())) % 2 == 0 for line in text.splitlines() if line.strip())


def test_init_uses_the_services_that_lie_beside_it(tmp_path):
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


def test_the_example_is_the_built_in_lab_and_names_every_key():
    assert config.load(EXAMPLE) == config.load(None)
    text = EXAMPLE.read_text()
    for key in KEYWORDS:
        assert re.search(rf"^ *(# *)?{key}: ?", text, re.MULTILINE), key


def test_the_examples_own_service_is_one_when_uncommented(tmp_path):
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


def test_path_alone_is_a_service_with_the_labs_defaults(folder):
    (service,) = read(folder, web("")).services
    assert (service.port, service.count, service.check, service.tags) == (4567, 1, None, ())
    assert service.path == str((folder / "web").resolve())


def test_a_relative_path_starts_at_the_config_file_not_at_the_working_directory(folder, monkeypatch):
    (folder / "web" / "inner").mkdir()
    monkeypatch.chdir(folder / "web" / "inner")
    (folder / "config.yaml").write_text(web(""))
    assert config.load(Path("../../config.yaml")).services[0].path == str((folder / "web").resolve())


def test_a_path_may_start_at_home(folder, monkeypatch):
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


def test_environment_values_are_the_text_that_was_written(folder):
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


def test_one_tag_needs_no_list(folder):
    assert read(folder, web("tags: http")).services[0].tags == ("http",)
    assert read(folder, web("tags: [b, a, 'x=y,z']")).services[0].tags == ("b", "a", "x=y,z")


def test_anchors_and_merge_keys_work_and_own_keys_win(folder):
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


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(folder):
    assert read(folder, b"\xef\xbb\xbf" + web("count: 3").replace("\n", "\r\n").encode()).services[0].count == 3


# --- mistakes


def test_all_mistakes_come_at_once_sorted_with_file_and_line(folder):
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
    words = "2 to 32 lower-case letters, digits and hyphens, a letter first"
    assert error.why.splitlines() == [
        f'{name}:1: lab: expected {words}, got the text "Big"',
        f"{name}:4: services.web.path: there is no folder {folder.resolve() / 'wbe'}",
        f"{name}:5: services.web.cuont: unknown key; did you mean count?",
        f"{name}:6: services.web.memory: expected a whole number, 4 or more, got 2",
        f'{name}:7: target: expected one of aws, local, got the text "aw"; did you mean aws?',
    ]
    assert error.hint


def test_mistakes_are_data_too(folder):
    with pytest.raises(config.ConfigMistakes) as caught:
        read(folder, web("count: -1"))
    assert [(m.line, m.column, m.path) for m in caught.value.mistakes] == [(4, 5, "services.web.count")]


@pytest.mark.parametrize(
    ("fields", "mistake"),
    [
        (
            'count: "3"',
            '4: services.web.count: expected a whole number from 0 to 1000, got the text "3"; leave the q',
        ),
        ("count: 3.5", "4: services.web.count: expected a whole number from 0 to 1000, got 3.5"),
        ("count: true", "4: services.web.count: expected a whole number from 0 to 1000, got true"),
        ("count: 1001", "4: services.web.count: expected a whole number from 0 to 1000, got 1001"),
        ("count:", "4: services.web.count: nothing is given; give a value, or leave the key out"),
        ("count: [1]", "4: services.web.count: expected a whole number from 0 to 1000, got a list"),
        (
            "count: 010",
            "4: services.web.count: expected a whole number from 0 to 1000, got 010 (a number in YAML's",
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
        ("host_port: 22", "4: services.web.host_port: 22 is in use on every instance, reserved by ECS"),
        (
            "host_port: 8500",
            "4: services.web.host_port: 8500 is in use on every instance, by the Consul agent",
        ),
        (
            "host_port: 80\ncount: 3",
            "4: services.web.host_port: one task per instance can have 80; count is 3, insta",
        ),
        ("cpu: 0", "4: services.web.cpu: expected a whole number from 1 to 196608, got 0"),
        ("memory: 3", "4: services.web.memory: expected a whole number, 4 or more, got 3"),
        ("cuont: 1", "4: services.web.cuont: unknown key; did you mean count?"),
        ("Count: 1", "4: services.web.Count: unknown key; did you mean count?"),
        ("replicas: 1", "4: services.web.replicas: unknown key; did you mean count?"),
        (
            "zzz: 1",
            "4: services.web.zzz: unknown key; known here: path, port, host_port, count, cpu, memory, envi",
        ),
        ("1: 1", '4: services.web: a key must be text, got 1; write "1"'),
        (
            "environment: [A=b]",
            "4: services.web.environment: expected a mapping from names to values, got a list",
        ),
        (
            "environment: {1A: b}",
            "4: services.web.environment.1A: expected letters, digits, _ . and -, not a digit fi",
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
            "4: services.web.environment.A: a character that no environment variable can h",
        ),
        ("tags: {a: b}", "4: services.web.tags: expected a list of tags, got a mapping"),
        ("tags: http,v1", "4: services.web.tags: several tags are a list: [http,v1]"),
        (
            "tags: [a, b, a]",
            "4: services.web.tags[2]: the tag a is given twice, first as services.web.tags[0]",
        ),
        ("tags:\n- a\n- ''", '6: services.web.tags[1]: expected a tag that is not empty, got the text ""'),
        ("tags: [1]", '4: services.web.tags[0]: expected a tag that is not empty, got 1; did you mean "1"?'),
        (
            "check: health",
            "4: services.web.check: expected a path that begins with /, such as /health, got the text",
        ),
        ("check: {}", "4: services.web.check: expected exactly one of http, tcp and ttl, got none"),
        (
            "check: []",
            "4: services.web.check: expected a mapping with http, tcp, ttl, interval, timeout, got a list",
        ),
        ("check: {tcp: false}", "4: services.web.check: expected exactly one of http, tcp and ttl, got none"),
        (
            "check: {http: /, ttl: 3s}",
            "4: services.web.check: expected exactly one of http, tcp and ttl, got http and",
        ),
        (
            "check:\n  ttl: 3s\n  interval: 1s",
            "6: services.web.check.interval: a ttl check has none: the task report",
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
        ("services:\n", "1: services: nothing is given; give a value, or leave the key out"),
        ("services: [web]\n", "1: services: expected a mapping from service names to services, got a list"),
        (
            "services:\n  web:\n",
            "2: services.web: expected a mapping with path, port, host_port, count, cpu, mem",
        ),
        ("services:\n  web: {}\n", "2: services.web: path is missing: the folder that holds the Dockerfile"),
        ("services:\n  web: {pth: web}\n", "2: services.web.pth: unknown key; did you mean path?"),
        (
            "services:\n  no: {path: web}\n",
            "2: services: a key must be text, got no, which YAML reads as false; in",
        ),
        (
            "services:\n  Web: {path: web}\n",
            "2: services.Web: expected 2 to 32 lower-case letters, digits and hyph",
        ),
        (
            'services:\n  "web\\n": {path: web}\n',
            "2: services.web\\n: an invisible or unprintable character in the name",
        ),
        ("services:\n  consul: {path: web}\n", "2: services.consul: is the name of Consul's own service"),
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
        ("consul: 3\n" + web(""), "1: consul: expected a mapping with servers, got 3"),
        (
            "lab: no\n" + web(""),
            "1: lab: expected 2 to 32 lower-case letters, digits and hyphens, a letter first, go",
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
def test_mistakes_of_the_file(folder, text, mistake):
    assert only(folder, text).startswith(mistake)


@pytest.mark.parametrize(
    ("path", "mistake"),
    [
        ("lab:portl", "no service 'portl' ships with ecsconsul; did you mean lab:portal?"),
        ("lab:../x", "no service '../x' ships with ecsconsul; those are portal, stock-price, weather"),
        ("empty", "there is no Dockerfile in {folder}/empty"),
        ("web/Dockerfile", "{folder}/web/Dockerfile is a file; give the folder that holds the Dockerfile"),
        ("x" * 5000, "the folder cannot be looked at: "),
        ("loop", "the folder cannot be looked at: |there is no folder {folder}/loop"),
        ("~nobody-of-that-name/web", "the folder cannot be looked at: "),
    ],
)
def test_mistakes_of_a_path(folder, path, mistake):
    (folder / "empty").mkdir()
    (folder / "loop").symlink_to(folder / "loop")
    found = only(folder, f"services:\n  web:\n    path: {path}\n")
    wanted = mistake.replace("{folder}", str(folder.resolve())).split("|")
    assert any(found.startswith(f"3: services.web.path: {start}") for start in wanted), found


def test_two_services_cannot_share_a_host_port(folder):
    text = "services:\n  a1: {path: web, host_port: 80}\n  a2:\n    path: web\n    host_port: 80\n"
    assert only(folder, text) == "5: services.a2.host_port: 80 is also services.a1.host_port on line 2"


def test_a_wrong_count_or_number_of_instances_is_reported_once(folder):
    assert only(folder, "instances: 0\n" + web("host_port: 80\ncount: 3")).startswith("1: instances: expected")


def test_a_file_that_cannot_be_read_says_why(tmp_path):
    for path, why in ((tmp_path / "none.yaml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigInvalid) as caught:
            config.load(path)
        assert caught.value.where == str(path)
        assert why in caught.value.why


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_says_so(folder):
    (folder / "config.yaml").write_text(web(""))
    (folder / "config.yaml").chmod(0)
    with pytest.raises(ConfigInvalid, match="Permission denied"):
        config.load(folder / "config.yaml")


# --- bounds


@pytest.mark.parametrize("start", ["[", "- ", "? ", "{a: "])
def test_deep_nesting_is_refused(folder, start):
    assert only(folder, "lab: x1\nservices:\n  " + start * 200_000).endswith("nested more than 100 deep")


def test_a_file_that_is_too_large_is_refused(folder):
    assert only(folder, "#" * 2_000_000) == "1: : larger than 1 MiB; that is no config"


def test_a_loop_of_aliases_ends(folder):
    found = mistakes(folder, "services: &s {ab: *s, cd: *s}")
    assert [mistake.split(": ")[1] for mistake in found if "path is missing" in mistake] == [
        "services.ab",
        "services.cd",
    ]
    assert only(folder, web("environment: {A: &a [*a]}")).endswith("got a list")
    assert read(folder, "services: {ab: &s {<<: [*s, *s], path: web}}").services[0].name == "ab"


def test_messages_hold_no_control_characters(folder):
    text = 'services:\n  "a\\e[31m\\n": {path: "a\\e[31m", "b\\e": 1, count: "\\e[0mé"}\n'
    found = mistakes(folder, text)
    assert len(found) == 4
    assert all(mistake.isprintable() for mistake in found), found
    assert "é" in found[-1]


def test_an_alias_bomb_costs_little(folder):
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
    """A folder with a service for all the examples of a property."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "web").mkdir()
    (folder / "web" / "Dockerfile").touch()
    return folder


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=CONFIGS)
def test_any_yaml_is_a_lab_or_config_invalid(shared, data):
    parse_or_reject(shared, yaml.safe_dump(data, allow_unicode=True).encode())


@settings(max_examples=150, deadline=None)
@given(text=st.text(max_size=80) | st.text(alphabet="ab:-[]{}&*<!|>#'\"\n\t ,?%@0", max_size=60))
def test_any_text_is_a_lab_or_config_invalid(shared, text):
    parse_or_reject(shared, text.encode("utf-8", "surrogatepass"))


@settings(max_examples=50, deadline=None)
@given(data=st.binary(max_size=60))
def test_any_bytes_are_a_lab_or_config_invalid(shared, data):
    parse_or_reject(shared, data)


def parse_or_reject(folder: Path, data: bytes) -> None:
    try:
        assert config.parse(data, "config.yaml", folder).services
    except config.ConfigMistakes as error:
        assert error.mistakes
        assert all(mistake.line >= 1 and mistake.message for mistake in error.mistakes)
