"""What no container of a lab may do."""

from __future__ import annotations

from typing import Any

# Docker's own limits stand: its default capabilities, seccomp and no access to devices
SECURITY: dict[str, Any] = {"security_opt": ["no-new-privileges"], "privileged": False}
