"""The shipped JSON Schema is up to date and agrees with the loader."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

import ecsconsul
from ecsconsul.config import json_schema as config_schema
from ecsconsul.config import loader as config

SCHEMA = json.loads((Path(ecsconsul.__path__[0]) / "config.schema.json").read_text())
EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "Dockerfile").touch()
    return tmp_path


def test_shipped_schema_is_up_to_date():
    shipped = (Path(ecsconsul.__path__[0]) / "config.schema.json").read_text()
    assert shipped == config_schema.text(), "python -m ecsconsul.config.json_schema > ecsconsul/config.schema.json"


def test_schema_describes_every_key():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for struct in SCHEMA["$defs"].values():
        for name, field in struct["properties"].items():
            assert field.get("description"), name


def test_example_names_every_key_of_the_schema():
    text = EXAMPLE.read_text()
    for struct in SCHEMA["$defs"].values():
        for key in struct["properties"]:
            assert f"{key}:" in text, key


@pytest.mark.parametrize("text", [EXAMPLE.read_text(), config.init_text(None)], ids=["example", "init"])
def test_schema_accepts_shipped_configs(text):
    jsonschema.validate(yaml.safe_load(text), SCHEMA)


RIGHT = [
    "{path: web}",
    "{path: web, check: /health}",
    "{path: web, check: {tcp: true, interval: 500ms}}",
    "{path: web, check: {http: /, tcp: false}}",
    "{path: web, check: {ttl: 30s}}",
    "{path: web, environment: {A: 1, B: 1.5, C: true, D: text}}",
    "{path: web, tags: http}",
    "{path: web, tags: ['a,b', c]}",
    "{path: web, host_port: 80, count: 0}",
    "{image: 'nginx:1.25', command: nginx -g, entry_point: [sh, -c], working_directory: /srv, user: '1000:1000'}",
    "{path: web, ports: [8000, {port: 53, host_port: 5353, protocol: udp, name: dns, tags: a, register: false}]}",
    "{path: web, ports: [{port: 80, check: /health}, {port: 81, check: {tcp: true}}]}",
    "{path: web, ports: []}",
    "{path: web, env_file: 'arn:aws:s3:::bucket/web.env'}",
    "{path: web, secrets: {A: /a/b, B: 'arn:aws:ssm:eu-central-1:123456789012:parameter/a'}}",
    "{path: web, secrets: {A: 'arn:aws:secretsmanager:eu-central-1:123456789012:secret:db-AbCdEf:key::'}}",
    "{path: web, volumes: ['data:/data', 'data:/more:ro', {name: host, path: /h, host: /srv, read_only: true}]}",
    "{path: web, volumes: [{name: e, path: /e, efs: fs-0123456789abcdef0, root: /r}]}",
    "{path: web, depends_on: {x1: SUCCESS}, containers: {x1: {image: x, essential: false}}}",
    "{path: web, depends_on: [x1], links: ['x1:alias'], containers: {x1: {image: x, ports: [1]}}}",
    "{path: web, health_check: {command: 'test -f /x', interval: 5s, timeout: 2s, retries: 9, start_period: 300s}}",
    "{path: web, health_check: {command: [CMD, 'true']}}",
    "{path: web, ulimits: {nofile: 1024, core: {soft: 0, hard: -1}}, labels: {team.name: 1}, stop_timeout: 90s}",
    "{path: web, log: {driver: json-file, options: {max-size: 10m}}, task_role: web, schedule: daemon}",
]
WRONG = [
    "{}",
    "null",
    "[]",
    "{path: web, cuont: 1}",
    "{path: web, name: web}",
    "{path: web, count: '3'}",
    "{path: web, count: 3.5}",
    "{path: web, count: null}",
    "{path: web, host_port: null}",
    "{path: web, memory: 3}",
    "{path: web, port: 65536}",
    "{path: web, check: health}",
    "{path: web, check: null}",
    "{path: web, check: {}}",
    "{path: web, check: {tcp: false}}",
    "{path: web, check: {http: /, tcp: true}}",
    "{path: web, check: {http: /, interval: 10}}",
    "{path: web, check: {http: /, timeout: 0s}}",
    "{path: web, environment: {A: null}}",
    "{path: web, environment: {1A: b}}",
    "{path: web, environment: [A=b]}",
    "{path: web, tags: [a, a]}",
    "{path: web, tags: 'a,b'}",
    "{path: web, tags: [1]}",
    "{path: web, tags: ''}",
    "{path: web, image: nginx}",
    "{path: web, ports: [80], port: 80}",
    "{path: web, ports: 80}",
    "{path: web, ports: [{host_port: 80}]}",
    "{path: web, ports: [{port: 80, protocol: sctp}]}",
    "{path: web, secrets: {A: 'arn:aws:s3:::x'}}",
    "{path: web, secrets: {A: 'a b'}}",
    "{path: web, volumes: ['/srv:/data']}",
    "{path: web, volumes: ['data']}",
    "{path: web, volumes: [{name: a, path: relative}]}",
    "{path: web, depends_on: {x1: DONE}, containers: {x1: {image: x}}}",
    "{path: web, health_check: {interval: 5s}}",
    "{path: web, ulimits: {files: 1}}",
    "{path: web, ulimits: {nofile: {soft: 1}}}",
    "{path: web, log: {options: {}}}",
    "{path: web, log: {driver: paper}}",
    "{path: web, schedule: hourly}",
    "{path: web, task_role: a b}",
    "{path: web, containers: {x1: {}}}",
    "{path: web, containers: {x1: {image: x, port: 80}}}",
    "{path: web, containers: {X: {image: x}}}",
    "{path: web, essential: true}",
]


def test_moved_keys_are_deprecated():
    top = SCHEMA["$defs"]["Lab"]["properties"]
    assert {key for key, field in top.items() if field.get("deprecated")} == {"registry", "registrator"}
    config = {"registry": "repo", "registrator": {"image": "r:1"}, "services": {"web": {"path": "web"}}}
    jsonschema.validate(config, SCHEMA)


@pytest.mark.parametrize("service", RIGHT)
def test_schema_and_loader_accept(folder, service):
    text = f"services:\n  web: {service}\n"
    jsonschema.validate(yaml.safe_load(text), SCHEMA)
    assert config.parse(text.encode(), "config.yaml", folder).services


@pytest.mark.parametrize("service", WRONG)
def test_schema_and_loader_reject(folder, service):
    text = f"services:\n  web: {service}\n"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text), SCHEMA)
    with pytest.raises(config.ConfigMistakes):
        config.parse(text.encode(), "config.yaml", folder)


@pytest.mark.parametrize(
    "text",
    ["{}", "services: {}", "lab: A", "services: {Web: {path: web}}", "target: moon", "consul: {servers: 2}"],
)
def test_schema_and_loader_reject_incomplete_files(folder, text):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text), SCHEMA)
    with pytest.raises(config.ConfigMistakes):
        config.parse(text.encode(), "config.yaml", folder)
