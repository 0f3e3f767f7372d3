"""Moments on the command line: a time of day, an ISO time, or how long ago."""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta, timezone
from typing import Any

import click

DURATION_OR_TIME = "TIME|AGO"
_AGO = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_OF_DAY = re.compile(r"\d{1,2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?")


class Moment(click.ParamType[float]):
    """An option's value as seconds since the epoch."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Fails with a usage error for anything else."""
        if isinstance(value, float):
            return value
        try:
            return moment(str(value), time.time())
        except ValueError:
            self.fail(f"{value!r} isn't a time: use 12:03:07, 2026-11-29T12:03:07, or how long ago, as 90s, 10m or 2h")


def moment(text: str, now: float) -> float:
    """Seconds since the epoch. A time without a date is the last such time of this machine's clock. Raises ValueError.

    >>> moment("10m", 1000.0)
    400.0
    """
    if ago := _AGO.fullmatch(text):
        from ..config.scalars import UNITS

        return now - float(ago[1]) * {**UNITS, "d": 86400.0}[ago[2]]
    if _OF_DAY.fullmatch(text):
        return _of_day(text, now)
    # Python 3.10 does not read a Z
    return datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text)).timestamp()


def iso(moment: float) -> str:
    """A moment in ISO 8601, UTC, to the millisecond."""
    return datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="milliseconds")


def _of_day(text: str, now: float) -> float:
    hour, minute, second = [*text.split(":"), "0"][:3]
    today = datetime.fromtimestamp(now)
    found = today.replace(hour=int(hour), minute=int(minute), second=0, microsecond=0)
    found += timedelta(seconds=float(second))
    return (found if found.timestamp() <= now else found - timedelta(days=1)).timestamp()
