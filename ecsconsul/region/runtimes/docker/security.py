"""The security options of every container of a lab."""

from __future__ import annotations

from typing import Any

# Docker's defaults limit capabilities, system calls and access to devices.
SECURITY: dict[str, Any] = {"security_opt": ["no-new-privileges"], "privileged": False}
