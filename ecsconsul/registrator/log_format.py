"""Formats log records as logfmt or JSON, one line each, on stderr."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from datetime import datetime, timezone

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_PLAIN = re.compile(r'[^\s"=\\\x00-\x1f\x7f]+')


def configure(form: str, level: str) -> None:
    """Log at `level` and above; `form` is logfmt or json."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if form == "json" else Logfmt())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


class Logfmt(logging.Formatter):
    """`ts=... level=info msg=added id=host:web:80`."""

    def format(self, record: logging.LogRecord) -> str:
        return " ".join(f"{key}={_quoted(value)}" for key, value in _fields(self, record))


class JsonLines(logging.Formatter):
    """One JSON object per record."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(dict(_fields(self, record)), default=str, ensure_ascii=False)


def _fields(formatter: logging.Formatter, record: logging.LogRecord) -> Iterator[tuple[str, object]]:
    moment = datetime.fromtimestamp(record.created, timezone.utc)
    yield "ts", moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    yield "level", record.levelname.lower()
    yield "msg", record.getMessage()
    yield from ((key, value) for key, value in vars(record).items() if key not in _OWN)
    if record.exc_info:
        yield "trace", formatter.formatException(record.exc_info)


def _quoted(value: object) -> str:
    """A value with spaces or quotes is written as a JSON string, so each record stays on one line."""
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
