"""What becomes of compose's forms: ports, variables, env files, volumes, several files, names."""

from __future__ import annotations

import pytest

from ecsconsul.errors import LabError
from ecsconsul.importers.compose import import_compose
from ecsconsul.importers.settle import settled
from tests.importers.examples import FOLDER, files, from_compose, lab_of, said, services_of


def service(body: str, **options: str) -> dict[str, object]:
    """The one service of a compose file, as the config writes it."""
    return services_of(from_compose("services:\n  web:\n    image: web:1\n" + body, **options))["web"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"80"', {"port": 80}),
        ("8080:80", {"port": 80, "host_port": 8080}),
        ('"127.0.0.1:8080:80"', {"port": 80, "host_port": 8080}),
        ('"[::1]:8080:80"', {"port": 80, "host_port": 8080}),
        ('"127.0.0.1::80"', {"port": 80}),
        ('"9999:53/udp"', {"ports": [{"port": 53, "host_port": 9999, "protocol": "udp"}]}),
        ('"3000-3001"', {"ports": [{"port": 3000}, {"port": 3001}]}),
        (
            '"9090-9091:8080-8081"',
            {"ports": [{"port": 8080, "host_port": 9090}, {"port": 8081, "host_port": 9091}]},
        ),
        ('"8000-8009:80"', {"port": 80}),
        ("{target: 80, published: 8080, protocol: tcp}", {"port": 80, "host_port": 8080}),
    ],
)
def test_ports(text: str, expected: dict[str, object]) -> None:
    found = service(f"    ports: [{text}]\n")
    assert {key: found[key] for key in ("port", "host_port", "ports") if key in found} == expected


def test_a_port_that_yaml_would_read_as_a_number_in_base_60_is_a_port() -> None:
    assert service("    ports:\n      - 2222:22\n")["host_port"] == 2222


def test_reserved_and_repeated_host_ports_are_named_as_lost() -> None:
    imported = from_compose(
        "services:\n  a1: {image: a, ports: ['8500:80']}\n  b1: {image: b, ports: ['81:80']}\n"
        "  c1: {image: c, ports: ['81:80']}\n  d1: {image: d, ports: ['82:80'], scale: 5}\n"
    )
    assert {s.name: s.host_port for s in lab_of(imported).services} == {"a1": None, "b1": 81, "c1": None, "d1": None}
    assert [loss.path for _, loss in imported.losses] == ["host_port"] * 3
    assert "the Consul agent uses it" in said(imported)


def test_variables_come_from_the_environment_then_from_dotenv() -> None:
    text = (
        "services:\n  web:\n    image: web:${TAG:-1}\n    environment:\n      A: $A-${B}-${C-c}-${D:+d}-$$E-${F:-${B}}"
        "\n      G: ${G}\n"
    )
    others = {"__env": "A=from-file\nB='it''s'\nD=x # comment\nexport H=1\n".replace("''", "")}
    imported = from_compose(text, {"A": "from-shell"}, **others)
    web = services_of(imported)["web"]
    assert web["image"] == "web:1"
    assert web["environment"] == {"A": "from-shell-its-c-d-$E-its", "G": ""}
    assert "G (line 6) isn't set" in said(imported)


def test_a_bad_substitution_is_an_error_with_its_line() -> None:
    with pytest.raises(LabError) as error:
        from_compose("services:\n  web:\n    image: ${BAD\n")
    assert error.value.where == "compose.yaml:3"


def test_names_without_a_value_have_the_shells() -> None:
    imported = from_compose("services:\n  web: {image: w, environment: [A, B, C=]}\n", {"A": "1"})
    assert services_of(imported)["web"]["environment"] == {"A": "1", "C": ""}
    assert [loss.path for _, loss in imported.losses] == ["services.web.environment.B"]


def test_env_files_keep_their_place_unless_only_compose_can_read_them() -> None:
    plain = service("    env_file: plain.env\n", plain__env="A=1\nB=x y\n")
    assert (plain["env_file"], plain.get("environment")) == (["plain.env"], None)
    quoted = service("    env_file: [q.env]\n    environment: {A: own}\n", q__env='A=1\nB="x y"\nC=z # note\n')
    assert quoted["env_file"] == ["q.env"]
    assert quoted["environment"] == {"B": "x y", "C": "z", "A": "own"}
    exported = service("    env_file:\n      - path: e.env\n", e__env="export A=1\n")
    assert (exported.get("env_file"), exported["environment"]) == (None, {"A": "1"})


def test_an_env_file_that_is_not_there_is_lost() -> None:
    imported = from_compose("services:\n  web: {image: w, env_file: [{path: no.env, required: false}]}\n")
    assert "env_file" not in services_of(imported)["web"]
    assert [(loss.path, loss.value) for _, loss in imported.losses] == [("services.web.env_file[0].path", "no.env")]


def test_volumes() -> None:
    found = service("    volumes: ['data:/data:ro', ./x:/x, '~/y:/y:z', /var/anon, '/var/run/docker.sock:/sock']\n")
    volumes = {one["path"]: one for one in found["volumes"]}  # type: ignore[attr-defined]
    assert volumes["/data"] == {"name": "data", "path": "/data", "read_only": True}
    assert volumes["/x"] == {"name": "x", "path": "/x", "host": "/lab/x"}
    assert volumes["/y"]["host"].endswith("/y") and volumes["/y"]["host"].startswith("/")
    assert volumes["/var/anon"] == {"name": "var-anon", "path": "/var/anon"}
    assert volumes["/sock"]["host"] == "/var/run/docker.sock"


def test_two_folders_of_one_name_are_two_volumes() -> None:
    found = service("    volumes: ['./a/conf:/a', './b/conf:/b']\n")
    assert [one["name"] for one in found["volumes"]] == ["conf", "conf-2"]  # type: ignore[attr-defined]


def test_commands_keep_their_words() -> None:
    assert service('    command: serve "two words" --x\n')["command"] == 'serve "two words" --x'
    script = service('    command: ["sh", "-c", "echo $$HOME\\nexit 1"]\n')
    assert script["command"] == ["sh", "-c", "echo $HOME\nexit 1"]


def test_health_checks_stay_within_ecs_limits() -> None:
    body = "    healthcheck: {test: 'curl x', interval: 1m30s, timeout: 90s, retries: 30, start_period: 500ms}\n"
    assert service(body)["health_check"] == {
        "command": "curl x", "interval": "90s", "timeout": "60s", "retries": 10, "start_period": "500ms",
    }  # fmt: skip
    assert "health_check" not in service("    healthcheck: {test: [NONE]}\n")


def test_later_files_override() -> None:
    base = "services:\n  web: {image: a, ports: ['80'], environment: [A=1, B=1], command: x, volumes: ['v:/d']}\n"
    over = "services:\n  web: {image: b, ports: ['81'], environment: {B: 2}, command: [y], volumes: ['w:/d']}\n"
    contents = {"a.yaml": base, "b.yaml": over}
    lab = import_compose(["a.yaml", "b.yaml"], files(contents), {})
    web = services_of(settled(lab, FOLDER))["web"]
    assert (web["image"], web["command"], web["environment"]) == ("b", ["y"], {"A": "1", "B": "2"})
    assert [one["port"] for one in web["ports"]] == [80, 81]  # type: ignore[attr-defined]
    assert web["volumes"] == [{"name": "w", "path": "/d"}]


def test_extends_follows_files_and_finds_circles() -> None:
    common = (
        "services:\n  base: {image: base, environment: {A: 1}, extends: root}\n  root: {image: r, labels: {l: 1}}\n"
    )
    text = "services:\n  web: {extends: {file: common.yaml, service: base}, environment: {B: 2}}\n"
    web = services_of(from_compose(text, common__yaml=common))["web"]
    assert (web["image"], web["environment"], web["labels"]) == ("base", {"A": "1", "B": "2"}, {"l": "1"})
    with pytest.raises(LabError, match="circle"):
        from_compose("services:\n  a1: {image: a, extends: b1}\n  b1: {image: b, extends: a1}\n")


def test_names_are_made_valid_and_unique() -> None:
    imported = from_compose(
        "services:\n  my_db: {image: a}\n  my-db: {image: b}\n  consul: {image: c}\n"
        "  a: {image: d}\n  1up: {image: e}\n"
    )
    assert imported.services == ("my-db", "my-db-2", "consul-service", "a-service", "service-1up")


def test_what_runs_once_is_no_running_service() -> None:
    imported = from_compose(
        "services:\n  web: {image: w, depends_on: {migrate: {condition: service_completed_successfully}}}\n"
        "  migrate: {image: m}\n  debug: {image: d, profiles: [debug]}\n  each: {image: e, deploy: {mode: global}}\n"
    )
    assert {s.name: (s.count, s.schedule) for s in lab_of(imported).services} == {
        "web": (1, "replica"), "migrate": (0, "replica"), "debug": (0, "replica"), "each": (2, "daemon"),
    }  # fmt: skip
    assert "`ecsconsul run migrate` runs it once" in said(imported)


def test_a_dockerfiles_ports_are_its_services() -> None:
    dockerfile = {"app/Dockerfile": "FROM a\nEXPOSE 1\nFROM b\nEXPOSE 8000 9000/udp $PORT\n"}
    text = {"compose.yaml": "services:\n  web: {build: app}\n", **dockerfile}
    web = services_of(settled(import_compose(["compose.yaml"], files(text), {}), FOLDER))["web"]
    assert web["ports"] == [{"port": 8000}, {"port": 9000, "protocol": "udp"}]


def test_big_tasks_get_bigger_instances_and_many_get_more() -> None:
    lab = lab_of(from_compose("services:\n  big: {image: b, mem_limit: 3g, scale: 4}\n"))
    assert (lab.aws.instance_type, lab.instances) == ("t3.medium", 4)


def test_nothing_but_services_without_an_image_is_an_error() -> None:
    with pytest.raises(LabError, match="No service can be imported"):
        from_compose("services:\n  ai: {provider: {type: model}}\n")
    with pytest.raises(LabError, match="no service"):
        from_compose("services: {}\n")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("services:\n  web:\n    image: [a]\n", "compose.yaml:3"),
        ("services:\n  web:\n    image: a\n    image: b\n", "compose.yaml:4"),
        ("services:\n  web:\n   - a\n", "compose.yaml:2"),
        ("services:\n  web:\n    ports: [x]\n", "compose.yaml:3"),
        ("services:\n\tweb: 1\n", "compose.yaml:2"),
        ("services:\n  web:\n    scale: many\n", "compose.yaml:3"),
        ("a: &a\n  b: *a\nservices: {}\n", "compose.yaml:2"),
    ],
)
def test_bad_input_is_an_error_with_its_line(text: str, where: str) -> None:
    with pytest.raises(LabError) as error:
        from_compose(text)
    assert (error.value.where, bool(error.value.why)) == (where, True)


def test_yaml_1_1_words_are_text() -> None:
    found = service("    environment: {A: yes, B: 1.10, C: 010, D: ~, E: on}\n")
    assert found["environment"] == {"A": "yes", "B": "1.10", "C": "010", "E": "on"}


def test_an_image_that_cannot_be_built_here_is_taken_as_it_is() -> None:
    imported = from_compose("services:\n  web: {build: ./gone, image: 'team/web:1'}\n")
    assert services_of(imported)["web"]["image"] == "team/web:1"
    assert [(loss.path, loss.value) for _, loss in imported.losses] == [("services.web.build", "./gone")]
