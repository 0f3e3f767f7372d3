"""Reads the text of a CloudFormation template, of any version and origin. Evaluates nothing.

Every scalar becomes a text, as parameters are: CloudFormation takes 8080 and '8080' for the same value. Short forms of
functions become long ones: https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Template = dict[str, Any]


class TemplateUnreadable(ValueError):
    """The text isn't a template."""


def read_template(body: str | Mapping[str, Any]) -> Template:
    """The template as boto3 returns it: YAML as a text, JSON already parsed. Raises TemplateUnreadable."""
    import yaml

    try:
        found = _read_text(body) if isinstance(body, str) else _plain(body)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise TemplateUnreadable(str(error) or type(error).__name__) from error
    if not isinstance(found, dict) or not isinstance(found.get("Resources"), dict):
        raise TemplateUnreadable("it has no resources")
    return found


def _read_text(text: str) -> Any:
    import yaml

    # not the fast loader, which crashes on a text that is nested deeply
    return _value(yaml.compose(text, Loader=yaml.BaseLoader), set())


def _value(node: Any, seen: set[int]) -> Any:
    """What a YAML node stands for. CloudFormation knows no aliases, which could make a small text endless."""
    if id(node) in seen:
        raise ValueError("it has a YAML alias")
    seen.add(id(node))
    if node is None or node.id == "scalar":
        found: Any = node.value if node else ""
    elif node.id == "sequence":
        found = [_value(item, seen) for item in node.value]
    else:
        found = {str(_value(key, seen)): _value(value, seen) for key, value in node.value}
    return _long_form(node.tag, found) if node is not None and node.tag.startswith("!") else found


def _long_form(tag: str, argument: Any) -> dict[str, Any]:
    name = tag[1:]
    if name == "GetAtt" and isinstance(argument, str):
        argument = argument.split(".", 1)
    return {name if name in ("Ref", "Condition") else f"Fn::{name}": argument}


def _plain(value: Any) -> Any:
    """The same value with every scalar as a text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
