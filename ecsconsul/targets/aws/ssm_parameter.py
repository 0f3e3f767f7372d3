"""A parameter in SSM that the lab creates for its instances, tasks or stack, with its ownership tag."""

from __future__ import annotations

from typing import Any

from ...aws_tags import LAB_TAG, as_items, as_mapping, require_ownership


def folder_of(lab: str) -> str:
    """The path below which a lab's parameters are."""
    return f"/ecsconsul/{lab}"


class LabParameter:
    """`/ecsconsul/<lab>/<leaf>`. Every method raises LabError if the parameter exists without this lab's tag."""

    def __init__(self, ssm: Any, lab: str, leaf: str, description: str = "", *, kind: str = "String") -> None:
        self.name = f"{folder_of(lab)}/{leaf}"
        self._ssm = ssm
        self._lab = lab
        self._description = description
        self._kind = kind

    def exists(self) -> bool:
        """Whether the parameter exists."""
        try:
            # without decryption: nobody here needs the value
            self._ssm.get_parameter(Name=self.name, WithDecryption=False)
        except self._ssm.exceptions.ParameterNotFound:
            return False
        self.require_ownership()
        return True

    def is_ours(self) -> bool:
        """Whether a parameter that exists has the lab's tag."""
        return self._tags().get(LAB_TAG) == self._lab

    def require_ownership(self) -> None:
        """Checks the tag of a parameter that exists."""
        require_ownership("SSM parameter", self.name, self._lab, self._tags())

    def _tags(self) -> dict[str, str]:
        found = self._ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=self.name)
        return as_mapping(found.get("TagList"), key="Key", value="Value")

    def make(self, value: str) -> None:
        """Create the parameter, unless it exists."""
        try:
            tags = as_items({LAB_TAG: self._lab}, key="Key", value="Value")
            self._ssm.put_parameter(**self._put(value), Tags=tags)
        except self._ssm.exceptions.ParameterAlreadyExists:
            self.exists()

    def replace(self, value: str) -> None:
        """Give a parameter that exists another value. SSM accepts no tags together with Overwrite."""
        self.require_ownership()
        self._ssm.put_parameter(**self._put(value), Overwrite=True)

    def delete(self) -> bool:
        """Delete the parameter; returns whether it existed."""
        if not self.exists():
            return False
        try:
            self._ssm.delete_parameter(Name=self.name)
        except self._ssm.exceptions.ParameterNotFound:
            return False
        return True

    def _put(self, value: str) -> dict[str, str]:
        return {"Name": self.name, "Description": self._description, "Type": self._kind, "Value": value}
