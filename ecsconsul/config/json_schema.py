"""Generates the JSON Schema of config.yaml for editors from the types in lab.py. The loader doesn't use it.

python -m ecsconsul.config.json_schema > ecsconsul/config.schema.json
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from .lab import Lab
from .loader import MOVED_TO_AWS
from .scalars import EnvName, HttpPath, Name, SubnetId, Tag


def schema() -> dict[str, Any]:
    """The JSON Schema 2020-12 of what the loader accepts.

    Only the loader detects missing folders, ports that two services share, and duplicate keys.
    """
    made = msgspec.json.schema(Lab)
    lab, service, check = (made["$defs"][name] for name in ("Lab", "ServiceSpec", "Check"))
    lab["required"] = ["services"]
    lab["properties"]["services"] |= _mapping(_leaf(Name), {"$ref": "#/$defs/ServiceSpec"}, minProperties=1)
    del service["properties"]["name"]
    service["required"].remove("name")
    fields = service["properties"]
    fields["environment"] |= _mapping(_leaf(EnvName), {"type": ["string", "number", "boolean"]})
    one_tag = _leaf(Tag) | {"pattern": r"^[^,]*[^,\s][^,]*$"}
    fields["tags"] = _either(fields["tags"], _list(Tag), one_tag)
    fields["check"] = _either(fields["check"], {"$ref": "#/$defs/Check"}, _leaf(HttpPath))
    aws = made["$defs"]["AwsSpec"]["properties"]
    aws["subnets"] = _either(aws["subnets"], _list(SubnetId), _leaf(SubnetId))
    balancer = made["$defs"]["LoadBalancerSpec"]["properties"]
    balancer["subnets"] = _either(balancer["subnets"], _list(SubnetId), _leaf(SubnetId))
    options = made["$defs"]["LogsSpec"]["properties"]["options"]
    options |= _mapping(_leaf(EnvName), {"type": ["string", "number", "boolean"]})
    for key in MOVED_TO_AWS:
        lab["properties"][key] = aws[key] | {"deprecated": True, "description": f"moved to aws.{key}"}
    check["oneOf"] = [{"required": ["http"]}, {"required": ["ttl"]}, _TCP]
    title = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "ecsconsul config.yaml"}
    return title | dict(_without_null(made))


_TCP = {"required": ["tcp"], "properties": {"tcp": {"const": True}}}


def _leaf(wanted: Any) -> dict[str, Any]:
    return msgspec.json.schema(wanted)


def _list(wanted: Any) -> dict[str, Any]:
    return {"type": "array", "items": _leaf(wanted), "uniqueItems": True}


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
    return {key: _without_null(value) for key, value in part.items() if value is not None}


def text() -> str:
    """The content of config.schema.json."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(text())
