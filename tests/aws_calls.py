"""Records the calls to an AWS API, by the action that a policy must allow."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import parse_qs

# the signature's scope names the service: Credential=KEY/DATE/REGION/SERVICE/aws4_request
_SCOPE = re.compile(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/aws4_request")
_PREFIXES = {"tagging": "tag", "monitoring": "cloudwatch"}


class Call(NamedTuple):
    """A request: its action, such as ecs:CreateCluster, and its parameters as the API's protocol spells them."""

    action: str
    parameters: dict[str, Any]


class RecordedCalls:
    """WSGI middleware; `calls` are the recorded actions, such as ecs:CreateCluster, `requests` those in full."""

    def __init__(self, application: Callable[..., Any]) -> None:
        self._application = application
        self.requests: list[Call] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        signed = _SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
        if signed:
            service = _PREFIXES.get(signed[1], signed[1])
            self.requests.append(Call(f"{service}:{_operation(environ, body)}", _parameters(body)))
        return self._application(environ, start_response)

    @property
    def calls(self) -> set[str]:
        return {request.action for request in self.requests}


def _parameters(body: bytes) -> dict[str, Any]:
    """The parameters of a request, in JSON or in a form, whose nested ones are named `Tags.member.1.Key`."""
    text = body.decode(errors="replace")
    return dict(json.loads(text)) if text.startswith("{") else {name: one[0] for name, one in parse_qs(text).items()}


def _operation(environ: dict[str, Any], body: bytes) -> str:
    """The operation: in a header (JSON protocols), in the body (query protocols), or in the path (the newest one)."""
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        return str(target.rpartition(".")[2])
    form = parse_qs(body.decode(errors="replace"))
    return form["Action"][0] if "Action" in form else str(environ["PATH_INFO"].rpartition("/")[2])
