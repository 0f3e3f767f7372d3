"""A parameter in SSM that the lab creates for its instances or its stack, with its ownership tag."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...aws_tags import LAB_TAG, as_items, as_mapping, require_ownership


class LabParameter:
    """`/ecsconsul/<lab>/<leaf>`. Every method raises LabError if the parameter exists without this lab's tag."""

    def __init__(
        self, ssm: Any, lab: str, leaf: str, description: str, value: Callable[[], str], *, kind: str = "String"
    ) -> None:
        """`value` generates the value when the parameter is created; it is never read back."""
        self.name = f"/ecsconsul/{lab}/{leaf}"
        self._ssm = ssm
        self._lab = lab
        self._description = description
        self._value = value
        self._kind = kind

    def exists(self) -> bool:
        """Whether the parameter exists."""
        try:
            # without decryption: nobody here needs the value
            self._ssm.get_parameter(Name=self.name, WithDecryption=False)
        except self._ssm.exceptions.ParameterNotFound:
            return False
        found = self._ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=self.name)
        tags = as_mapping(found.get("TagList"), key="Key", value="Value")
        require_ownership("SSM parameter", self.name, self._lab, tags)
        return True

    def make(self) -> None:
        """Create the parameter, unless it exists."""
        try:
            self._ssm.put_parameter(
                Name=self.name,
                Description=self._description,
                Type=self._kind,
                Value=self._value(),
                Tags=as_items({LAB_TAG: self._lab}, key="Key", value="Value"),
            )
        except self._ssm.exceptions.ParameterAlreadyExists:
            self.exists()

    def delete(self) -> bool:
        """Delete the parameter; returns whether it existed."""
        if not self.exists():
            return False
        try:
            self._ssm.delete_parameter(Name=self.name)
        except self._ssm.exceptions.ParameterNotFound:
            return False
        return True
