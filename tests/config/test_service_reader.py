"""Services and containers with all that a task definition holds are read, with every short form."""

from pathlib import Path

import pytest

from ecsconsul.config import loader as config
from ecsconsul.config.container_spec import Check, HealthCheckSpec, LogSpec, PortSpec, UlimitSpec, VolumeSpec
from ecsconsul.config.lab import Lab, ServiceSpec

SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:db-AbCdEf:password::"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("web", "side"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "Dockerfile").touch()
    return tmp_path


def read(folder: Path, text: str) -> Lab:
    return config.parse(text.encode(), "config.yaml", folder)


def service(folder: Path, fields: str) -> ServiceSpec:
    return read(folder, f"services:\n  web: {{path: web, {fields}}}\n").services[0]


def mistake(folder: Path, fields: str) -> str:
    """The only mistake of a service whose fields are on line 3."""
    with pytest.raises(config.ConfigMistakes) as caught:
        read(folder, f"services:\n  web: {{path: web,\n    {fields}}}\n")
    [one] = caught.value.mistakes
    return f"{one.line}: {one.path.removeprefix('services.web.')}: {one.message}"


def test_short_form_has_one_port_and_one_container(folder):
    web = service(folder, "port: 80, host_port: 8080, tags: a, check: /health")
    port = PortSpec(port=80, host_port=8080, name="web", tags=("a",), check=Check(http="/health"))
    assert web.bindings == web.registered == (port,)
    assert [(one.name, one.ports) for one in web.all_containers] == [("web", (port,))]
    assert web.registered_names == ("web",)


def test_first_port_is_the_services(folder):
    web = service(
        folder, "ports: [{port: 53, protocol: udp, host_port: 5353, tags: [dns]}, 8000, {port: 9, register: no}]"
    )
    assert (web.port, web.host_port, web.tags, web.check) == (53, 5353, ("dns",), None)
    assert [(one.port, one.protocol, one.name) for one in web.bindings] == [
        (53, "udp", "web"), (8000, "tcp", "web-8000"), (9, "tcp", "web-9"),
    ]  # fmt: skip
    assert web.registered_names == ("web", "web-8000")


def test_service_without_ports(folder):
    web = service(folder, "ports: []")
    assert (web.bindings, web.registered_names, web.reports_itself) == ((), (), False)


def test_containers_publish_nothing_by_default(folder):
    web = service(folder, "containers: {side: {path: side}, proxy: {image: 'p:1', ports: [9000]}}")
    main, side, proxy = web.all_containers
    assert (main.name, main.path, main.essential) == ("web", str(folder / "web"), True)
    assert (side.name, side.path, side.ports) == ("side", str(folder / "side"), ())
    assert (proxy.image, proxy.path) == ("p:1", None)
    assert web.registered_names == ("web", "proxy-9000")


def test_a_ttl_of_any_port_needs_a_token(folder):
    text = "ports: [], containers: {x1: {image: x, ports: [{port: 1, name: web, check: {ttl: 10s}}]}}"
    assert service(folder, text).reports_itself
    assert not service(folder, "ports: [{port: 1, check: {ttl: 10s}, register: false}]").reports_itself


@pytest.mark.parametrize(
    ("text", "words"),
    [("run -v 'a b'", ("run", "-v", "a b")), ("[run, 5, 'a b']", ("run", "5", "a b")), ("'true'", ("true",))],
)
def test_commands(folder, text, words):
    web = service(folder, f"command: {text}, entry_point: {text}")
    assert web.command == web.entry_point == words


def test_volumes(folder):
    web = service(folder, "volumes: [a:/a, 'b:/b:ro', {name: c, path: /c, host: /srv}]")
    assert web.volumes == (
        VolumeSpec(name="a", path="/a"),
        VolumeSpec(name="b", path="/b", read_only=True),
        VolumeSpec(name="c", path="/c", host="/srv"),
    )


def test_daemon_counts_as_many_tasks_as_there_are_instances(folder):
    assert read(folder, "instances: 3\nservices: {web: {path: web, schedule: daemon}}\n").services[0].count == 3
    text = "instances: {min: 1, max: 3}\nservices: {web: {path: web, schedule: daemon}}\n"
    assert read(folder, text).services[0].count == 1


def test_everything_else(folder):
    text = "user: app, working_directory: /srv, ulimits: {nofile: 5, core: {soft: 0, hard: 1}}, labels: {a.b: 1.10}"
    text += ", log: {driver: json-file, options: {max-size: 10m}}, task_role: web, schedule: daemon, stop_timeout: 1m"
    web = service(folder, text + f", secrets: {{A: /a, B: '{SECRET}'}}")
    assert (web.user, web.working_directory, web.stop_timeout) == ("app", "/srv", "1m")
    assert web.ulimits == {"nofile": UlimitSpec(soft=5, hard=5), "core": UlimitSpec(soft=0, hard=1)}
    assert (web.labels, web.secrets) == ({"a.b": "1.10"}, {"A": "/a", "B": SECRET})
    assert web.log == LogSpec(driver="json-file", options={"max-size": "10m"})
    assert (web.task_role, web.is_daemon) == ("web", True)


def test_dependencies(folder):
    containers = ", containers: {x1: {image: x, health_check: {command: 'true'}}}"
    assert service(folder, "depends_on: x1" + containers).depends_on == {"x1": "START"}
    assert service(folder, "depends_on: [x1], links: 'x1:y'" + containers).links == ("x1:y",)
    assert service(folder, "depends_on: {x1: HEALTHY}" + containers).depends_on == {"x1": "HEALTHY"}


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("test -f /a", ("CMD-SHELL", "test -f /a")),
        ("[test, -f, /a]", ("CMD", "test", "-f", "/a")),
        ("[CMD, test]", ("CMD", "test")),
        ("[CMD-SHELL, 'a || b']", ("CMD-SHELL", "a || b")),
    ],
)
def test_health_checks(folder, text, command):
    assert service(folder, f"health_check: {{command: {text}}}").health_check == HealthCheckSpec(command=command)


def test_environment_wins_over_files_and_later_files_over_earlier_ones(folder):
    (folder / "a.env").write_text("A=1\nB=1\nC=1\n")
    (folder / "b.env").write_text("B=2\nC=2\n")
    in_s3 = "arn:aws:s3:::bucket/web.env"
    web = service(folder, f"env_file: [a.env, '{in_s3}', b.env], environment: {{C: 3}}")
    assert (web.environment, web.env_file) == ({"A": "1", "B": "2", "C": "3"}, (in_s3,))
    assert service(folder, "env_file: a.env").environment == {"A": "1", "B": "1", "C": "1"}


def test_files_are_needed_only_with_sources(folder):
    text = b"services:\n  web: {path: web, env_file: none.env}\n"
    assert config.parse(text, "config.yaml", folder, sources=False).services[0].environment == {}
    found = mistake(folder, "env_file: none.env")
    assert found == f"3: env_file: can't read {folder / 'none.env'}: No such file or directory"


def test_file_of_secrets_is_relative_to_the_config(folder):
    lab = read(folder, "local: {secrets: s.env}\nservices: {web: {path: web}}\n")
    assert lab.local.secrets == str(folder / "s.env")


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ("entrypoint: x", "entrypoint: unknown key; did you mean entry_point?"),
        ("healthcheck: x", "healthcheck: unknown key; did you mean health_check?"),
        ("volume: x", "volume: unknown key; did you mean volumes?"),
        ('command: "it\'s"', "command: can't split the text into words: No closing quotation; write a list of words"),
        ("command: {a: b}", "command: expected a list of words, or a text, got a mapping"),
        ("image: nginx", "image: not allowed with path, which is built; keep one of them"),
        ("ports: [{port: 80, protocl: udp}]", "ports[0].protocl: unknown key; did you mean protocol?"),
        ("ports: [{host_port: 80}]", "ports[0]: port is missing: the port that the container listens on"),
        ("ports: ['80:80']", 'ports[0]: expected a whole number from 1 to 65535, got the text "80:80"'),
        ("volumes: [./data:/data]", "volumes[0]: a folder on the instance is written as a mapping: {name: data"),
        ("volumes: [data]", 'volumes[0]: expected NAME:/path, NAME:/path:ro or a mapping, got "data"'),
        ("volumes: [data:rel]", 'volumes[0]: expected an absolute path without a colon, such as /data, got "data:rel"'),
        (
            "env_file: 'arn:aws:s3:::bucket/web.txt'",
            "env_file: expected the ARN of an object in S3 whose name ends with",
        ),
        ("secrets: {A: 'a b'}", "secrets.A: expected the name or ARN of an SSM parameter, or the ARN of a secret"),
        ("health_check: {command: x, interval: 4s}", "health_check.interval: expected 5s to 300s, got 4s"),
        ("health_check: {command: []}", "health_check.command: is empty: what ECS runs in the container"),
        ("ulimits: {nofiles: 1}", "ulimits.nofiles: expected one of core, cpu, data"),
        ("ulimits: {nofile: {soft: 2, hard: 1}}", "ulimits.nofile.soft: 2 is more than hard, which is 1"),
        ("log: {driver: json}", "log.driver: expected one of awslogs, fluentd, gelf"),
        ("schedule: deamon", "schedule: expected one of daemon, replica, got the text"),
        ("containers: {x1: {command: a}}", "containers.x1: path is missing: the folder with the Dockerfile; or image"),
        ("containers: {x1: {imgae: a}}", "containers.x1.imgae: unknown key; did you mean image?"),
        ("containers: {x1: {image: a, count: 2}}", "containers.x1.count: unknown key; "),
    ],
)
def test_mistakes(folder, fields, found):
    assert mistake(folder, fields).startswith(f"3: {found}")
