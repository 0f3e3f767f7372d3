"""Each log record is one line of logfmt or JSON."""

from __future__ import annotations

import json
import logging

from ecsconsul.registrator.log_format import JsonLines, Logfmt


def record(message: str, *arguments: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("name", logging.WARNING, "path", 1, message, arguments, None)
    made.created = 0.25
    vars(made).update(extra)
    return made


def test_logfmt() -> None:
    line = Logfmt().format(record("gone %s", "now", id="host:web:80", error='a "b"\nc', empty="", number=3))
    head = 'ts=1970-01-01T00:00:00.250Z level=warning msg="gone now" id=host:web:80'
    assert line == f'{head} error="a \\"b\\"\\nc" empty="" number=3'


def test_json() -> None:
    line = JsonLines().format(record("gone", id="host:web:80", where=("a", 1)))
    assert json.loads(line) == {
        "ts": "1970-01-01T00:00:00.250Z",
        "level": "warning",
        "msg": "gone",
        "id": "host:web:80",
        "where": ["a", 1],
    }


def test_traceback_stays_on_one_line() -> None:
    made = record("broken")
    try:
        raise ValueError("why")
    except ValueError as error:
        made.exc_info = (ValueError, error, error.__traceback__)
    for form in (Logfmt(), JsonLines()):
        line = form.format(made)
        assert "ValueError: why" in line
        assert "\n" not in line
