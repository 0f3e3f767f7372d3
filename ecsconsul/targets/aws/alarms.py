"""The lab's CloudWatch alarms, which templates/parts/alarms.yaml makes: their names, and which of them are in ALARM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..commands import Alarm
from .session import unless_inconclusive

# what each alarm's name has after the lab's
KINDS = ("no-leader", "servers-missing", "instances-missing", "checks-failing")


def names_of(lab: str) -> list[str]:
    """The names of a lab's alarms. A prefix would also find those of a lab whose name begins like this one's."""
    return [f"{lab}-{kind}" for kind in KINDS]


def alarms_of(cloudwatch: Any, lab: str) -> list[dict[str, Any]]:
    """The lab's alarms as CloudWatch describes them."""
    found = cloudwatch.describe_alarms(AlarmNames=names_of(lab), AlarmTypes=["MetricAlarm"])
    return list(found["MetricAlarms"])


def in_alarm(client: Callable[[str], Any], lab: str) -> list[Alarm] | None:
    """The alarms that are in ALARM; None if the caller may not ask, or an emulator knows none."""
    found = unless_inconclusive(lambda: alarms_of(client("cloudwatch"), lab))
    return None if found is None else [_alarm(one) for one in found if one["StateValue"] == "ALARM"]


def _alarm(described: dict[str, Any]) -> Alarm:
    since = described.get("StateUpdatedTimestamp")
    text = described.get("AlarmDescription") or ""
    return Alarm(described["AlarmName"], text, since.isoformat(timespec="seconds") if since else "")
