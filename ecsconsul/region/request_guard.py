"""Stands before the region's AWS API as WSGI middleware, and lets through what is signed with the lab's key.

Before anything of a request is interpreted, it must be meant for this server by its own name (a web page can make
another name lead here) and not come from a web page: browsers say so in headers that no AWS client sends. No response
lets a page of another origin read it, whatever moto answers.
"""

from __future__ import annotations

import io
import json
import logging
import re
import time
from collections.abc import Callable, Collection, Iterable
from datetime import datetime, timezone
from typing import IO, Any

from .error_responses import Problem, RequestRefused, error_response, protocol_of
from .ping import PING_PATH
from .replays import UsedSignatures, attempt_of, may_change
from .request_auth import ReceivedRequest, RequestAuth, Signature

log = logging.getLogger(__name__)

# The service that a request is signed for, for the application behind.
SERVICE = "ecsconsul.service"
# The headers as the server received them: WSGI's own keys don't tell "_" from "-".
HEADERS = "ecsconsul.headers"
# DynamoDB takes 16 MiB in a request, more than any other JSON or query API of AWS; CloudFormation's templates and ECS's
# task definitions are limited to 50 and 64 KiB.
LARGEST_BODY = 16 * 1024 * 1024
CHUNK = 64 * 1024
_FROM_A_PAGE = ("origin", "sec-fetch-site", "sec-fetch-mode", "access-control-request-method")
# moto's own console and its imitation of the instance metadata service, which aren't AWS APIs.
_NOT_AWS = ("/moto-api", "/latest/meta-data", "/latest/api", "/favicon.ico")

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]


class RequestGuard:
    """The application that is served at `port`; `api` gets verified requests, with their bodies read.

    `clock` gives seconds since the epoch.
    """

    def __init__(
        self,
        api: Application,
        auth: RequestAuth,
        used: UsedSignatures,
        port: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._api = api
        self._auth = auth
        self._used = used
        self._hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
        self._clock = clock

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        start_response = _without_cors(start_response)
        request = received(environ)
        if is_foreign(request, self._hosts):
            return _respond(start_response, "403 Forbidden", "text/plain", b"Forbidden\n")
        if request.path == PING_PATH:
            return _respond(start_response, "200 OK", "application/json", json.dumps({"alive": True}).encode())
        service = ""
        try:
            signature = self._auth.check_headers(request, datetime.fromtimestamp(self._clock(), timezone.utc))
            service = signature.service
            body = read_body(request, environ["wsgi.input"])
            self._auth.check_signature(request, signature, body)
            self._refuse_replay(request, signature, body)
            if environ["PATH_INFO"].startswith(_NOT_AWS):
                raise RequestRefused(Problem.NOT_FOUND, "There is no such operation.")
        except RequestRefused as refused:
            return self._refuse(refused, request, service, start_response)
        return self._api(_verified(environ, signature, body), start_response)

    def _refuse_replay(self, request: ReceivedRequest, signature: Signature, body: bytes) -> None:
        if signature.expires is not None:
            return
        attempt, changes = attempt_of(request), may_change(request, body)
        signed_at = signature.signed_at.timestamp()
        if not self._used.admit(signature.value, signed_at, self._clock(), attempt=attempt, changes=changes):
            why = "The signature was already used, or may have been: each request must be signed anew."
            raise RequestRefused(Problem.WRONG_SIGNATURE, why)

    def _refuse(
        self, refused: RequestRefused, request: ReceivedRequest, service: str, start_response: StartResponse
    ) -> Iterable[bytes]:
        # At debug level only: whoever is refused must not be able to fill the disk.
        log.debug("refused %s %s: %s", request.method, request.path, refused)
        service = service or claimed_service(request)
        protocol = protocol_of(service, request.headers, request.query)
        response = error_response(refused, protocol, request.headers.get("content-type", ""))
        start_response(response.status, response.headers)
        return [] if request.method == "HEAD" else [response.body]


def received(environ: Environ) -> ReceivedRequest:
    """The request as it came over the wire."""
    path, _, query = environ["RAW_URI"].partition("?")
    headers: dict[str, str] = {}
    for name, value in environ[HEADERS]:
        name, value = name.lower(), _text(value)
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return ReceivedRequest(environ["REQUEST_METHOD"], path, query, headers)


def is_foreign(request: ReceivedRequest, hosts: Collection[str]) -> bool:
    """Whether a request is for another host than these, or comes from a web page, or asks whether a page may send one.

    A target with a host of its own is foreign too: it would count instead of the Host header.
    """
    return (
        request.headers.get("host") not in hosts
        or not request.path.startswith("/")
        or request.method == "OPTIONS"
        or any(name in request.headers for name in _FROM_A_PAGE)
    )


def claimed_service(request: ReceivedRequest) -> str:
    """The service that a request says it is signed for, whoever signed it; "" when it says none."""
    credential = dict(request.parameters).get("X-Amz-Credential", "")
    scope = re.search(r"/\d{8}/[^/]+/([^/]+)/aws4_request", credential or request.headers.get("authorization", ""))
    return scope[1] if scope else ""


def read_body(request: ReceivedRequest, stream: IO[bytes]) -> bytes:
    """The request's body. Raises RequestRefused when its length is unknown, invalid or too large."""
    length = request.headers.get("content-length", "0")
    if "transfer-encoding" in request.headers:
        raise RequestRefused(Problem.NO_LENGTH, "You must provide the Content-Length HTTP header.")
    if not re.fullmatch(r"[0-9]{1,18}", length):
        raise RequestRefused(Problem.INVALID_LENGTH, "The Content-Length HTTP header is not a number.")
    if int(length) > LARGEST_BODY:
        raise RequestRefused(Problem.TOO_LARGE, f"The request's body is larger than {LARGEST_BODY} bytes.")
    body = bytearray()
    while len(body) < int(length):
        chunk = stream.read(min(CHUNK, int(length) - len(body)))
        if not chunk:
            raise RequestRefused(Problem.INVALID_LENGTH, "The request's body is shorter than its Content-Length.")
        body += chunk
    return bytes(body)


def _verified(environ: Environ, signature: Signature, body: bytes) -> Environ:
    """The request for the application. A presigned one gets the header from which moto reads region and service."""
    scope = f"{signature.key_id}/{signature.date}/{signature.region}/{signature.service}/aws4_request"
    headers = ";".join(signature.signed_headers)
    header = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={headers}, Signature={signature.value}"
    return {
        **environ,
        "wsgi.input": io.BytesIO(body),
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_AUTHORIZATION": header,
        SERVICE: signature.service,
    }


def _without_cors(start_response: StartResponse) -> StartResponse:
    def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
        kept = [(name, value) for name, value in headers if not name.lower().startswith("access-control-")]
        return start_response(status, kept, *more)

    return start


def _respond(start_response: StartResponse, status: str, content_type: str, body: bytes) -> Iterable[bytes]:
    start_response(status, [("Content-Type", content_type), ("Content-Length", str(len(body)))])
    return [body]


def _text(value: str) -> str:
    """A header's value: WSGI decodes the bytes as Latin-1, and clients sign UTF-8."""
    return value.encode("latin-1", "replace").decode("utf-8", "replace")
