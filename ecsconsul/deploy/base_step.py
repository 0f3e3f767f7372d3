"""What most steps share: no objections of their own."""

from __future__ import annotations

from ..errors import LabError


class BaseStep:
    """A step against which nothing speaks before it is tried."""

    name: str
    needs: tuple[str, ...] = ()

    def blockers(self) -> list[LabError]:
        """None."""
        return []
