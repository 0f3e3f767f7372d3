"""Generates the JSON Schema of config.yaml for editors from the types in lab.py. The loader doesn't use it.

python -m ecsconsul.config.json_schema > ecsconsul/config.schema.json
"""

from __future__ import annotations

import inspect
import json
from typing import Any

import msgspec

from .lab import Lab
from .loader import MOVED_TO_AWS
from .scalars import (
    Condition,
    EnvName,
    HttpPath,
    LabelName,
    LinkText,
    Name,
    Port,
    SecretSource,
    SubnetId,
    Tag,
    UlimitName,
    UlimitValue,
)


def schema() -> dict[str, Any]:
    """The JSON Schema 2020-12 of what the loader accepts.

    Only the loader detects missing folders, ports that two services share, and duplicate keys.
    """
    made = msgspec.json.schema(Lab)
    lab, service, container = (made["$defs"][name] for name in ("Lab", "ServiceSpec", "ContainerSpec"))
    lab["required"] = ["services"]
    lab["properties"]["services"] |= _mapping(_leaf(Name), {"$ref": "#/$defs/ServiceSpec"}, minProperties=1)
    for one in (service, container):
        _container(one)
    fields = service["properties"]
    fields["containers"] |= _mapping(_leaf(Name), {"$ref": "#/$defs/ContainerSpec"})
    one_tag = _leaf(Tag) | {"pattern": r"^[^,]*[^,\s][^,]*$"}
    for registered in (fields, made["$defs"]["PortSpec"]["properties"]):
        registered["tags"] = _either(registered["tags"], _list(Tag), one_tag)
        registered["check"] = _either(registered["check"], {"$ref": "#/$defs/Check"}, _leaf(HttpPath))
    short = [{"required": [key]} for key in ("port", "host_port", "tags", "check")]
    service["not"] = {"required": ["ports"], "anyOf": short}
    command = made["$defs"]["HealthCheckSpec"]["properties"]
    command["command"] = _either(command["command"], _TEXT, {"type": "array", "items": _TEXT, "minItems": 1})
    options = made["$defs"]["LogSpec"]["properties"]["options"]
    options |= _mapping(_leaf(EnvName), _TEXT)
    aws = made["$defs"]["AwsSpec"]["properties"]
    aws["subnets"] = _either(aws["subnets"], _list(SubnetId), _leaf(SubnetId))
    balancer = made["$defs"]["LoadBalancerSpec"]["properties"]
    balancer["subnets"] = _either(balancer["subnets"], _list(SubnetId), _leaf(SubnetId))
    options = made["$defs"]["LogsSpec"]["properties"]["options"]
    options |= _mapping(_leaf(EnvName), _TEXT)
    for key in MOVED_TO_AWS:
        lab["properties"][key] = aws[key] | {"deprecated": True, "description": f"moved to aws.{key}"}
    made["$defs"]["Check"]["oneOf"] = [{"required": ["http"]}, {"required": ["ttl"]}, _TCP]
    title = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "ecsconsul config.yaml"}
    return title | dict(_without_null(made))


def _container(struct: dict[str, Any]) -> None:
    """The forms of a container's keys that the loader reads beside those of its type."""
    del struct["properties"]["name"]
    struct["required"] = [name for name in struct["required"] if name != "name"] or None
    struct["oneOf"] = [{"required": ["path"]}, {"required": ["image"]}]
    fields = struct["properties"]
    fields["environment"] |= _mapping(_leaf(EnvName), _TEXT)
    fields["labels"] |= _mapping(_leaf(LabelName), _TEXT)
    fields["secrets"] |= _mapping(_leaf(EnvName), _leaf(SecretSource))
    for key in ("command", "entry_point"):
        fields[key] = _either(fields[key], {"type": "array", "items": _TEXT}, _TEXT)
    file = {"type": "string", "minLength": 1}
    fields["env_file"] = _either(fields["env_file"], {"type": "array", "items": file}, file)
    fields["ports"] = _items(fields["ports"], {"$ref": "#/$defs/PortSpec"}, _leaf(Port))
    text = _leaf(str) | {"pattern": "^[A-Za-z0-9_-]{1,255}:/[^:]*(:r[ow])?$"}
    fields["volumes"] = _items(fields["volumes"], {"$ref": "#/$defs/VolumeSpec"}, text)
    conditions = {"type": "object", "additionalProperties": _leaf(Condition)}
    fields["depends_on"] = _either(fields["depends_on"], conditions, _list(Name), _leaf(Name))
    fields["links"] = _either(fields["links"], _list(LinkText), _leaf(LinkText))
    limits = {"anyOf": [{"$ref": "#/$defs/UlimitSpec"}, _leaf(UlimitValue)]}
    fields["ulimits"] |= _mapping(_leaf(UlimitName), limits)


_TEXT = {"type": ["string", "number", "boolean"]}
_TCP = {"required": ["tcp"], "properties": {"tcp": {"const": True}}}


def _leaf(wanted: Any) -> dict[str, Any]:
    return msgspec.json.schema(wanted)


def _list(wanted: Any) -> dict[str, Any]:
    return {"type": "array", "items": _leaf(wanted), "uniqueItems": True}


def _items(field: dict[str, Any], *forms: dict[str, Any]) -> dict[str, Any]:
    return {"description": field["description"], "type": "array", "items": {"anyOf": list(forms)}}


def _mapping(names: dict[str, Any], values: dict[str, Any], **more: Any) -> dict[str, Any]:
    rest = {"type": "object", "propertyNames": names, "additionalProperties": values}
    return {"items": None, "default": None} | rest | more


def _either(field: dict[str, Any], *forms: dict[str, Any]) -> dict[str, Any]:
    return {"description": field["description"], "anyOf": list(forms)}


def _without_null(part: Any) -> Any:
    """Drops `null` from optional fields, since the loader rejects it, and entries that are None."""
    if isinstance(part, list):
        return [_without_null(one) for one in part]
    if not isinstance(part, dict):
        return part
    forms = [one for one in part.get("anyOf", ()) if one != {"type": "null"}]
    if len(forms) == 1:
        part = {key: value for key, value in part.items() if key != "anyOf"} | forms[0]
    if isinstance(text := part.get("description"), str):
        # until Python 3.13 a docstring keeps its indentation
        part = {**part, "description": inspect.cleandoc(text)}
    return {key: _without_null(value) for key, value in part.items() if value is not None}


def text() -> str:
    """The content of config.schema.json."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(text())
