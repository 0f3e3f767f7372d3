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
