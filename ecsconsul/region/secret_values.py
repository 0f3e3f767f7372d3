"""The values of a container's `secrets`: parameters of the region's SSM, and secrets of its Secrets Manager.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Secret.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

from .runtimes.interface import CannotStart

_START = "ResourceInitializationError: unable to pull secrets or registry auth"
# arn:aws:secretsmanager:region:account:secret:name, and what may follow: json-key:version-stage:version-id
_ARN_PARTS, _SECRET_PARTS = 7, 10


class SecretStore(Protocol):
    """Where values are; None means that there is none."""

    def parameter(self, name_or_arn: str) -> str | None:
        """The value of an SSM parameter, decrypted."""

    def secret(self, arn: str, stage: str, version: str) -> str | None:
        """The text of a secret; "" as stage and version means the current one."""


def secret_variables(definition: Mapping[str, Any], store: SecretStore) -> dict[str, str]:
    """The variables that a container definition takes from elsewhere. Raises CannotStart if one isn't there."""
    return {one["name"]: _value(one["valueFrom"], store) for one in definition.get("secrets") or ()}


def _value(value_from: str, store: SecretStore) -> str:
    if not value_from.startswith("arn:") or value_from.split(":")[2] == "ssm":
        found = store.parameter(value_from)
        if found is None:
            raise CannotStart(f"{_START}: unable to retrieve secrets from ssm: Invalid parameters: {value_from}")
        return found
    parts = value_from.split(":")
    if parts[2] != "secretsmanager" or not _ARN_PARTS <= len(parts) <= _SECRET_PARTS:
        raise CannotStart(f"{_START}: {value_from} is neither an SSM parameter nor a secret of Secrets Manager")
    key, stage, version = (*parts[_ARN_PARTS:], "", "", "")[:3]
    text = store.secret(":".join(parts[:_ARN_PARTS]), stage, version)
    start = f"{_START}: unable to retrieve secret from asm"
    if text is None:
        raise CannotStart(f"{start}: Secrets Manager can't find the specified secret: {value_from}")
    return _member(text, key, start) if key else text


def _member(text: str, key: str, start: str) -> str:
    """The member of a secret's JSON object. Errors say nothing of the secret."""
    try:
        found = json.loads(text)
    except ValueError:
        raise CannotStart(f"{start}: the secret isn't JSON, so it has no key {key}") from None
    if not isinstance(found, dict) or key not in found:
        raise CannotStart(f"{start}: the secret does not contain json key {key}")
    value = found[key]
    return value if isinstance(value, str) else json.dumps(value)
