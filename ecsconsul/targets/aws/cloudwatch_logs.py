"""The tasks' logs: where they go, and how they are read from CloudWatch.

There is one log group for each lab (from the stack), with one stream for each task. The instances' own logs are in the
same group, in streams that no task has: consul/ID, ecs-agent/ID and so on (templates/agent-logs.sh).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ...config.aws_settings import LogsSpec
from ...errors import LabError
from ..base import LogLine
from ..client_errors import items_of

# seconds between requests for new lines; CloudWatch needs a second or two to show a line
DELAY = 2.0
# how many of a service's newest tasks are read; the group also keeps older ones
TASKS = 25
# streams and lines can appear late, so each request goes back this far, in ms
OVERLAP = 10_000

AWSLOGS = "awslogs"
# the options without which the lines wouldn't be found
_OURS = ("awslogs-group", "awslogs-region", "awslogs-stream-prefix")

Pause = Callable[[float], object]


def group_of(lab: str) -> str:
    """The log group of a lab."""
    return f"/ecsconsul/{lab}"


def configuration(lab: str, region: str, service: str, logs: LogsSpec) -> dict[str, Any]:
    """A container definition's logConfiguration; with `awslogs`, streams are named SERVICE/CONTAINER/TASK."""
    if logs.driver != AWSLOGS:
        return {"logDriver": logs.driver, **({"options": dict(logs.options)} if logs.options else {})}
    options = dict(zip(_OURS, (group_of(lab), region, service), strict=True))
    return {"logDriver": AWSLOGS, "options": {**options, **logs.options}}


class StreamReader:
    """What is in a log stream, from its beginning on; the stream may not exist yet."""

    # the agent sends the last lines after the container has exited, and CloudWatch needs a moment to show them
    late_seconds = 6.0

    def __init__(self, logs: Any, group: str, stream: str) -> None:
        self._logs = logs
        self._request: dict[str, Any] = {"logGroupName": group, "logStreamName": stream, "startFromHead": True}

    def read(self) -> list[str]:
        """The next lines; one answer of CloudWatch, which is limited to 10,000 lines and 1 MB."""
        try:
            found = self._logs.get_log_events(**self._request)
        except self._logs.exceptions.ResourceNotFoundException:
            return []
        self._request["nextToken"] = found["nextForwardToken"]
        return [str(event["message"]).rstrip("\n") for event in found["events"]]

    def rest(self) -> str:
        """Nothing: each event is a line."""
        return ""


def reader(logs: Any, task: str, definition: Mapping[str, Any], container: str) -> StreamReader | None:
    """Reads the output of a container of the task with this id; None if it isn't in CloudWatch.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/specify-log-config.html names the streams.
    """
    one = next(one for one in definition["containerDefinitions"] if one["name"] == container)
    configured = one.get("logConfiguration") or {}
    options = configured.get("options") or {}
    group, prefix = options.get("awslogs-group"), options.get("awslogs-stream-prefix")
    if configured.get("logDriver") != AWSLOGS or not group or not prefix:
        return None
    return StreamReader(logs, group, f"{prefix}/{container}/{task}")


def require_readable(logs: LogsSpec) -> None:
    """Raises LabError if tasks log elsewhere."""
    elsewhere = [name for name in _OURS if name in logs.options]
    if logs.driver == AWSLOGS and not elsewhere:
        return
    key = f"aws.logs.options.{elsewhere[0]}" if logs.driver == AWSLOGS else "aws.logs.driver"
    why = f"{key} sends them elsewhere" if logs.driver == AWSLOGS else f"the log driver is {logs.driver}"
    raise LabError(
        "ecsconsul can't read the tasks' logs",
        where=f"config, {key}",
        why=f"{why}; it only reads what {AWSLOGS} writes to the lab's own log group",
        hint="read them where they are sent to",
    )


def last_lines(
    logs: Any, lab: str, service: str, lines: int, task: str | None = None, since: float | None = None
) -> list[LogLine]:
    """The last lines of each task, oldest task first; only of one task if `task` has the first digits of its id.

    None was written before `since` (seconds since the epoch).
    """
    streams = _streams(logs, lab, service, task) if lines else []
    return [_line(stream, event) for stream in streams for event in _last_events(logs, lab, stream, lines, since)]


def follow(
    logs: Any, lab: str, service: str, lines: int, since: float | None = None, pause: Pause | None = None
) -> Iterator[LogLine]:
    """The last lines, and then each new one. Never ends by itself; `pause` may raise to end it."""
    pause = pause or threading.Event().wait
    seen: dict[str, int] = {}
    latest = 0
    for stream in _streams(logs, lab, service, None):
        events = _last_events(logs, lab, stream, max(lines, 1), since)
        latest = max([latest, *(event["timestamp"] for event in events)])
        yield from (_line(stream, event) for event in (events[-lines:] if lines else ()))
    first = latest + 1
    while True:
        for event in _since(logs, lab, service, max(first, latest - OVERLAP)):
            if event["eventId"] not in seen:
                seen[event["eventId"]] = event["timestamp"]
                latest = max(latest, event["timestamp"])
                yield _line(event["logStreamName"], event)
        seen = {name: at for name, at in seen.items() if at >= latest - OVERLAP}
        pause(DELAY)


def _streams(logs: Any, lab: str, service: str, task: str | None) -> list[str]:
    """The streams of a service's newest tasks, oldest first."""
    prefix = f"{service}/{service}/{task or ''}"
    request = {"logGroupName": group_of(lab), "logStreamNamePrefix": prefix}
    try:
        found = items_of(logs, "describe_log_streams", "logStreams", **request)
    except logs.exceptions.ResourceNotFoundException:
        return []
    found.sort(key=lambda stream: stream.get("creationTime", 0))
    return [stream["logStreamName"] for stream in found[-TASKS:]]


def _last_events(logs: Any, lab: str, stream: str, lines: int, since: float | None) -> list[dict[str, Any]]:
    begin = {} if since is None else {"startTime": int(since * 1000)}
    request = {"logGroupName": group_of(lab), "logStreamName": stream, "limit": lines, **begin}
    return list(logs.get_log_events(**request, startFromHead=False)["events"])


def _since(logs: Any, lab: str, service: str, begin: int) -> list[dict[str, Any]]:
    """Everything logged since `begin` (ms since the epoch), oldest first."""
    prefix = f"{service}/{service}/"
    request = {"logGroupName": group_of(lab), "logStreamNamePrefix": prefix, "startTime": begin}
    try:
        found = items_of(logs, "filter_log_events", "events", **request)
    except logs.exceptions.ResourceNotFoundException:
        return []
    # an emulator that ignores the prefix also returns other services' lines
    mine = [event for event in found if event["logStreamName"].startswith(prefix)]
    return sorted(mine, key=lambda event: event["timestamp"])


def _line(stream: str, event: dict[str, Any]) -> LogLine:
    text = str(event["message"]).rstrip("\n")
    return LogLine(stream.rpartition("/")[2][:8], text, event["timestamp"] / 1000)
