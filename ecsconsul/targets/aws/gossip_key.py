"""The key that encrypts Consul's gossip: a SecureString in SSM, created before the stack and read by the instances.

It never appears in a stack parameter, in user data or on a command line.
"""

from __future__ import annotations

import base64
import secrets
from typing import Any

from .ssm_parameter import LabParameter

KEY_BYTES = 32


def gossip_key(ssm: Any, lab: str) -> LabParameter:
    """The key of one lab. Running agents use it, so an existing key is never replaced."""
    return LabParameter(ssm, lab, "gossip-key", "Encrypts the gossip of the lab's Consul", _key, kind="SecureString")


def _key() -> str:
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()
