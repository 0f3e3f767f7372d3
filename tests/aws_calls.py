"""Stands before an AWS API and notes every call that is made of it, by the name of the action that a policy allows."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

# the service stands in the scope of what was signed: Credential=KEY/DATE/REGION/SERVICE/aws4_request
_SCOPE = re.compile(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/aws4_request")
_PREFIXES = {"tagging": "tag"}


class NotedCalls:
    """A WSGI application around another one; `calls` are those that were made, such as ecs:CreateCluster."""

    def __init__(self, application: Callable[..., Any]) -> None:
        self._application = application
        self.calls: set[str] = set()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        signed = _SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
        if signed:
            service = _PREFIXES.get(signed[1], signed[1])
            self.calls.add(f"{service}:{_operation(environ, body)}")
        return self._application(environ, start_response)


def _operation(environ: dict[str, Any], body: bytes) -> str:
    """Of the JSON protocols it stands in a header, of the query protocols in the body, of the newest in the path."""
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        return str(target.rpartition(".")[2])
    asked = parse_qs(body.decode(errors="replace"))
    return asked["Action"][0] if "Action" in asked else str(environ["PATH_INFO"].rpartition("/")[2])
