"""A parameter in SSM that the lab makes for its instances or its stack, and claims by its tag."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...aws_tags import LAB_TAG, as_items, as_mapping, claim


class LabParameter:
    """`/ecsconsul/<lab>/<leaf>`. Every method raises LabError when another lab, or nobody, claims what is there."""

    def __init__(
        self, ssm: Any, lab: str, leaf: str, description: str, value: Callable[[], str], *, kind: str = "String"
    ) -> None:
        """`value` is asked for when it is made, and never read again here."""
        self.name = f"/ecsconsul/{lab}/{leaf}"
        self._ssm = ssm
        self._lab = lab
        self._description = description
        self._value = value
        self._kind = kind

    def exists(self) -> bool:
        """Whether it is there."""
        try:
            # without decryption: what comes back of a secret is of no use to anybody
            self._ssm.get_parameter(Name=self.name, WithDecryption=False)
        except self._ssm.exceptions.ParameterNotFound:
            return False
        found = self._ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=self.name)
        claim("SSM parameter", self.name, self._lab, as_mapping(found.get("TagList"), key="Key", value="Value"))
        return True

    def make(self) -> None:
        """Make it; one that is there stays."""
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
        """Whether there was one to delete."""
        if not self.exists():
            return False
        try:
            self._ssm.delete_parameter(Name=self.name)
        except self._ssm.exceptions.ParameterNotFound:
            return False
        return True
