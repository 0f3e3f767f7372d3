"""CloudWatch Logs' API for what tasks print, answered from their log files. moto answers for other log groups.

As in AWS, a lab has one log group, /ecsconsul/LAB, with a stream SERVICE/CONTAINER/TASK for each container. A container
with an awslogs configuration of its own has the group and the prefix that it names.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

from .ecs.model import ContainerState, Task
from .ecs.request_fields import ApiError
from .ecs.state import Ecs
from .log_events import PAGE_BYTES as PAGE
from .log_events import PAGE_EVENTS, Event, Stream, backward, first_offset, forward, matcher, merged
from .log_times import Times
from .runtimes.lab_dir import LabDir

Json = dict[str, Any]
STREAMS_PER_PAGE = 50


class LogsApi:
    """One method per operation; `has_group` says whether a log group exists."""

    def __init__(self, lab_dir: LabDir, ecs: Ecs, has_group: Callable[[str], bool]) -> None:
        self._lab_dir = lab_dir
        self._ecs = ecs
        self._has_group = has_group
        self._own_group = f"/ecsconsul/{lab_dir.lab}"
        self.operations: dict[str, Callable[[Json], Json]] = {
            "DescribeLogStreams": self.describe_log_streams,
            "FilterLogEvents": self.filter_log_events,
            "GetLogEvents": self.get_log_events,
        }

    def answers(self, request: Json) -> bool:
        """Whether the request is about a log group, which exists, of the lab's tasks."""
        group = _group(request)
        is_of_tasks = group == self._own_group or any(one == group for one, _ in self._streams())
        return is_of_tasks and self._has_group(group)

    def describe_log_streams(self, request: Json) -> Json:
        prefix, by_time = request.get("logStreamNamePrefix") or "", request.get("orderBy") == "LastEventTime"
        if prefix and by_time:
            why = "Cannot order by LastEventTime with a logStreamNamePrefix."
            raise ApiError("InvalidParameterException", why)
        shown = [self._shape(request, one) for one in self._of(request) if one.name.startswith(prefix)]
        key = "lastEventTimestamp" if by_time else "logStreamName"
        shown.sort(key=lambda one: one.get(key, 0), reverse=bool(request.get("descending")))
        start, limit = _number(request.get("nextToken")), int(request.get("limit") or STREAMS_PER_PAGE)
        more = {"nextToken": str(start + limit)} if start + limit < len(shown) else {}
        return {"logStreams": shown[start : start + limit], **more}

    def filter_log_events(self, request: Json) -> Json:
        first, last = int(request.get("startTime") or 0), request.get("endTime")
        names, prefix = request.get("logStreamNames"), request.get("logStreamNamePrefix") or ""
        try:
            matches = matcher(request.get("filterPattern") or "")
        except ValueError as error:
            raise ApiError("InvalidParameterException", f"Invalid filter pattern: {error}") from error
        streams = [
            one
            for one in self._of(request)
            if (one.name in names if names else one.name.startswith(prefix)) and _changed(one) >= first
        ]
        limit = min(int(request.get("limit") or PAGE_EVENTS), PAGE_EVENTS)
        page = merged(streams, _offsets(request.get("nextToken")), first, limit)
        events = [
            {**_event(event), "logStreamName": event.stream, "eventId": event.id}
            for event in page.events
            if first <= event.timestamp and (last is None or event.timestamp <= last) and matches(event.text)
        ]
        more = {"nextToken": _token(page.offsets)} if page.more else {}
        return {"events": events, "searchedLogStreams": [], **more}

    def get_log_events(self, request: Json) -> Json:
        stream = next((one for one in self._of(request) if one.name == request.get("logStreamName")), None)
        if stream is None:
            raise ApiError("ResourceNotFoundException", "The specified log stream does not exist.")
        limit = min(int(request.get("limit") or PAGE_EVENTS), PAGE_EVENTS)
        first, last = int(request.get("startTime") or 0), request.get("endTime")
        way, _, position = (request.get("nextToken") or "").partition("/")
        if way == "f" or (not way and request.get("startFromHead")):
            start = _number(position) if way else first_offset(stream, first)
            found = forward(stream, start, PAGE)[0][:limit]
            end = found[-1].end if found else start
        else:
            end = _number(position) if way else _size(stream)
            found = backward(stream, end, limit)
            start = found[0].start if found else end
        events = [_event(one) for one in found if first <= one.timestamp and (last is None or one.timestamp < last)]
        return {"events": events, "nextForwardToken": f"f/{end:056d}", "nextBackwardToken": f"b/{start:056d}"}

    def _of(self, request: Json) -> list[Stream]:
        group = _group(request)
        return [stream for one, stream in self._streams() if one == group]

    def _streams(self) -> Iterator[tuple[str, Stream]]:
        """The streams of all tasks that have a log file, each with its group."""
        with self._ecs.lock:
            tasks = {task.id: task for task in self._ecs.tasks()}
        for path in sorted(self._lab_dir.service_logs("").glob("*/*.log")):
            task_id, _, name = path.stem.partition("-")
            container = _container(tasks.get(task_id), name)
            options = _awslogs(container) if container else {}
            prefix = options.get("awslogs-stream-prefix") or path.parent.name
            name = name or (container.name if container else path.parent.name)
            yield options.get("awslogs-group") or self._own_group, Stream(f"{prefix}/{name}/{task_id}", path)

    def _shape(self, request: Json, stream: Stream) -> Json:
        size = _size(stream)
        arn = f"arn:aws:logs:{self._ecs.moto.region}:{self._ecs.moto.account}:log-group:{_group(request)}"
        shape: Json = {"logStreamName": stream.name, "arn": f"{arn}:log-stream:{stream.name}", "storedBytes": 0}
        times = Times(stream.path)
        first, last = int(times.at(1) * 1000), int(times.at(size) * 1000)
        shape["creationTime"] = first
        return {**shape, "firstEventTimestamp": first, "lastEventTimestamp": last} if size else shape


def _container(task: Task | None, name: str) -> ContainerState | None:
    """The container of that name; a task with a single one doesn't name it."""
    containers = task.containers if task else ()
    return next((one for one in containers if name in ("", one.name)), None)


def _awslogs(container: ContainerState) -> dict[str, str]:
    configured = container.definition.get("logConfiguration") or {}
    return configured.get("options") or {} if configured.get("logDriver") == "awslogs" else {}


def _group(request: Json) -> str:
    """The log group's name; an identifier may be an ARN."""
    name = str(request.get("logGroupName") or request.get("logGroupIdentifier") or "")
    return name.partition(":log-group:")[2].removesuffix(":*") if name.startswith("arn:") else name


def _event(event: Event) -> Json:
    return {"timestamp": event.timestamp, "ingestionTime": event.timestamp, "message": event.text}


def _size(stream: Stream) -> int:
    try:
        return stream.path.stat().st_size
    except FileNotFoundError:
        return 0


def _changed(stream: Stream) -> int:
    """When a stream's file was changed last, in ms, rounded up."""
    try:
        return int(stream.path.stat().st_mtime * 1000) + 1
    except FileNotFoundError:
        return 0


def _number(token: str | None) -> int:
    if token and not (token.isascii() and token.isdecimal()):
        raise ApiError("InvalidParameterException", "The specified nextToken is invalid.")
    return int(token or 0)


def _token(offsets: dict[str, int]) -> str:
    return base64.urlsafe_b64encode(json.dumps(offsets).encode()).decode()


def _offsets(token: str | None) -> dict[str, int]:
    """The offsets in a token. Raises ApiError for one that isn't ours."""
    if not token:
        return {}
    try:
        found = json.loads(base64.urlsafe_b64decode(token.encode()))
        return {str(name): max(0, int(offset)) for name, offset in found.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ApiError("InvalidParameterException", "The specified nextToken is invalid.") from error
