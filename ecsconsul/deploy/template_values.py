"""Resolves a template as far as its parameters allow: references, substitutions, conditions and mappings.

What only CloudFormation knows stays as it is: ids and attributes of resources, and pseudo parameters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .template_reader import Template

NO_VALUE = {"Ref": "AWS::NoValue"}
# ${Name}, ${Name.Attribute} or ${AWS::Region}; ${!Name} is the script's own
_NAME = re.compile(r"\$\{([^!}][^}]*)\}")
# emulators describe lists as Python writes them
_ITEM = re.compile(r"[^\s,'\[\]]+")
ATTRIBUTES = ("CreationPolicy", "DeletionPolicy", "Metadata", "UpdatePolicy", "UpdateReplacePolicy")


@dataclass(frozen=True)
class Resource:
    """A resource of a resolved template. `attributes` are those beside its properties that an update can change."""

    type: str
    properties: dict[str, Any]
    attributes: dict[str, Any]
    depends_on: tuple[str, ...]


def resources_of(template: Template, parameters: Mapping[str, str]) -> dict[str, Resource]:
    """The resources that the stack has with these parameters; parameters that aren't given have their defaults."""
    values = _Values(template, parameters)
    found = {name: body for name, body in template["Resources"].items() if isinstance(body, dict)}
    return {name: values.resource(body) for name, body in found.items() if values.exists(body)}


def references(value: Any) -> Iterator[tuple[str, str]]:
    """The (name, attribute) of what a resolved value refers to; the attribute is empty for `Ref`."""
    if isinstance(value, list):
        for item in value:
            yield from references(item)
    elif isinstance(value, dict):
        for key, argument in value.items():
            yield from _referred(key, argument)


def _referred(key: str, argument: Any) -> Iterator[tuple[str, str]]:
    if key == "Ref" and isinstance(argument, str):
        yield argument, ""
    elif key == "Fn::GetAtt" and isinstance(argument, list) and len(argument) == 2:
        yield str(argument[0]), str(argument[1])
    elif key == "Fn::Sub":
        text, variables = _sub_arguments(argument)
        for name in _NAME.findall(text):
            resource, _, attribute = name.partition(".")
            yield resource, attribute
        yield from references(variables)
    else:
        yield from references(argument)


def is_function(value: Any) -> bool:
    """Whether a value is a call of an intrinsic function."""
    return isinstance(value, dict) and len(value) == 1 and next(iter(value)).startswith(("Fn::", "Ref"))


def _sub_arguments(argument: Any) -> tuple[str, dict[str, Any]]:
    text, variables = argument if isinstance(argument, list) and len(argument) == 2 else (argument, {})
    return str(text), variables if isinstance(variables, dict) else {}


class _Values:
    """The values of one template's parameters, conditions and mappings."""

    def __init__(self, template: Template, parameters: Mapping[str, str]) -> None:
        self._conditions = _section(template, "Conditions")
        self._mappings = _section(template, "Mappings")
        slots = _section(template, "Parameters")
        self._parameters = {name: _parameter(slot, parameters.get(name)) for name, slot in slots.items()}
        self._truths: dict[str, bool | None] = {}
        self._functions: dict[str, Callable[[Any], Any]] = {
            "Ref": self._ref, "Fn::Sub": self._sub, "Fn::If": self._if, "Fn::FindInMap": self._find_in_map,
            "Fn::GetAtt": lambda argument: {"Fn::GetAtt": argument.split(".", 1) if _is_text(argument) else argument},
        }  # fmt: skip

    def exists(self, body: Mapping[str, Any]) -> bool:
        """Whether the resource's condition holds, or can't be told."""
        return self._truth(body["Condition"]) is not False if _is_text(body.get("Condition")) else True

    def resource(self, body: Mapping[str, Any]) -> Resource:
        depends_on = body.get("DependsOn") or []
        return Resource(
            str(body.get("Type")),
            self.resolve(_section(body, "Properties")),
            self.resolve({name: body[name] for name in ATTRIBUTES if name in body}),
            (depends_on,) if isinstance(depends_on, str) else tuple(map(str, depends_on)),
        )

    def resolve(self, value: Any) -> Any:
        if isinstance(value, list):
            return [found for found in map(self.resolve, value) if found != NO_VALUE]
        if not isinstance(value, dict):
            return value
        if is_function(value):
            ((name, argument),) = value.items()
            if name in self._functions:
                return self._functions[name](argument)
        found = {key: self.resolve(item) for key, item in value.items()}
        return {key: item for key, item in found.items() if item != NO_VALUE}

    def _ref(self, name: Any) -> Any:
        found = self._parameters.get(name) if _is_text(name) else None
        return {"Ref": name} if found is None else found

    def _sub(self, argument: Any) -> Any:
        text, variables = _sub_arguments(argument)
        found = {name: self.resolve(value) for name, value in variables.items()}
        known = {**self._parameters, **found}
        left = {name: value for name, value in found.items() if not _is_text(value)}

        def value(name: re.Match[str]) -> str:
            one = known.get(name[1])
            if isinstance(one, list):
                return ",".join(map(str, one))
            return one if isinstance(one, str) else name[0]

        text = _NAME.sub(value, text)
        if not _NAME.search(text):
            return text
        return {"Fn::Sub": [text, left] if left else text}

    def _if(self, argument: Any) -> Any:
        if not isinstance(argument, list) or len(argument) != 3:
            return {"Fn::If": argument}
        condition, then, otherwise = argument
        truth = self._truth(condition)
        if truth is None:
            return {"Fn::If": [condition, self.resolve(then), self.resolve(otherwise)]}
        return self.resolve(then if truth else otherwise)

    def _find_in_map(self, argument: Any) -> Any:
        keys = self.resolve(argument)
        found: Any = self._mappings
        for key in keys if isinstance(keys, list) else ():
            found = found.get(key) if _is_text(key) and isinstance(found, Mapping) else None
        return {"Fn::FindInMap": keys} if found is None or found is self._mappings else found

    def _truth(self, condition: Any) -> bool | None:
        """Whether a named condition holds; None if that depends on what only CloudFormation knows."""
        if not _is_text(condition):
            return None
        if condition not in self._truths:
            # what refers to itself is no condition
            self._truths[condition] = None
            self._truths[condition] = self._holds(self._conditions.get(condition))
        return self._truths[condition]

    def _holds(self, expression: Any) -> bool | None:
        if not isinstance(expression, dict) or len(expression) != 1:
            return None
        ((name, argument),) = expression.items()
        if name == "Condition":
            return self._truth(argument)
        if not isinstance(argument, list):
            return None
        if name == "Fn::Equals" and len(argument) == 2:
            return _equal(*map(self.resolve, argument))
        truths = [self._holds(one) for one in argument]
        if name == "Fn::Not" and len(truths) == 1:
            return None if truths[0] is None else not truths[0]
        return _joined(name, truths)


def _joined(name: str, truths: list[bool | None]) -> bool | None:
    """`And` and `Or` of truths that may be unknown."""
    decisive = {"Fn::And": False, "Fn::Or": True}.get(name)
    if decisive is None:
        return None
    if decisive in truths:
        return decisive
    return None if None in truths else not decisive


def _equal(one: Any, other: Any) -> bool | None:
    if one == other:
        return True
    return False if _is_text(one) and _is_text(other) else None


def _parameter(slot: Any, given: str | None) -> Any:
    """A parameter's value: the given one, or its default; a list if its type is one."""
    slot = slot if isinstance(slot, dict) else {}
    value, kind = given if given is not None else slot.get("Default"), str(slot.get("Type"))
    is_list = "List<" in kind or "CommaDelimitedList" in kind
    return _ITEM.findall(str(value)) if is_list and value is not None else value


def _section(body: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = body.get(name)
    return found if isinstance(found, dict) else {}


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
