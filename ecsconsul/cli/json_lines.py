"""Progress for other programs: with --output jsonl, each line of stdout is a JSON document with an `event`."""

from __future__ import annotations

import json
import sys
import threading
from datetime import datetime, timezone
from typing import Any

from ..deploy.step import Change, SubResource
from ..errors import LabError

_lock = threading.Lock()


class JsonLines:
    """An observer of steps that prints an event for each thing they do (docs/cli.md)."""

    def started(self, step: str, op: str) -> None:
        emit("started", step=step, op=op)

    def progress(self, step: str, text: str) -> None:
        emit("progress", step=step, text=text)

    def subresource(self, step: str, part: SubResource) -> None:
        emit("part", step=step, part=part.name, state=part.state, detail=part.detail)

    def finished(self, change: Change) -> None:
        emit("finished", step=change.name, op=change.op, detail=change.detail, seconds=round(change.seconds, 2))

    def failed(self, step: str, error: BaseException) -> None:
        emit("failed", step=step, text=str(error))

    def still_running(self, step: str, text: str) -> None:
        """Says what continues without this command."""
        emit("goes-on", step=step, text=text)


def emit(event: str, **values: Any) -> None:
    """Print one event. Raises BrokenPipeError when nobody reads any more."""
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    # what happened earlier brings its own time
    line = json.dumps({"event": event, "time": now, **values})
    # steps run in threads of their own
    with _lock:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def emit_error(error: LabError) -> None:
    """Print the event that ends a command which failed."""
    emit("error", what=error.what, where=error.where, why=error.why, hint=error.hint, code=int(error.exit_code))
