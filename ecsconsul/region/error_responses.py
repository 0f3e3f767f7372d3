"""The errors with which the region refuses a request, in the form that AWS gives them in the request's protocol.

Codes and HTTP statuses are AWS's: the "Common errors" page of each service's API reference, EC2's "Error codes" and
S3's "Error responses", and, where these are silent, answers of AWS as they are quoted in its SDKs' issues.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from enum import Enum
from http import HTTPStatus
from typing import NamedTuple
from xml.sax.saxutils import escape


class Problem(Enum):
    """Why a request is refused."""

    NO_SIGNATURE = "no signature"
    MALFORMED_SIGNATURE = "malformed signature"
    OLD_SIGNATURE = "signature of another version"
    UNKNOWN_KEY = "unknown key"
    WRONG_SIGNATURE = "wrong signature"
    WRONG_TIME = "wrong time"
    WRONG_SCOPE = "wrong scope"
    WRONG_PAYLOAD_HASH = "wrong payload hash"
    UNSUPPORTED_PAYLOAD = "unsupported payload"
    NO_LENGTH = "no length"
    INVALID_LENGTH = "invalid length"
    TOO_LARGE = "too large"
    NOT_FOUND = "not found"


class RequestRefused(Exception):
    """A request is refused; the text is for whoever sent it."""

    def __init__(self, problem: Problem, message: str) -> None:
        super().__init__(message)
        self.problem = problem


class Protocol(Enum):
    """The protocols of AWS's APIs, by the form of their errors."""

    JSON = "json"
    REST_JSON = "rest-json"
    CBOR = "rpc-v2-cbor"
    QUERY = "query"
    EC2 = "ec2"
    S3 = "rest-xml"


class ErrorResponse(NamedTuple):
    """A response as WSGI takes it."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes


class _Codes(NamedTuple):
    """An error's code in each protocol, with its HTTP status unless that is always the same."""

    json: tuple[str, int]
    query: tuple[str, int]
    ec2: tuple[str, int]
    s3: tuple[str, int]


def _same(code: str, status: int) -> _Codes:
    return _Codes(*[(code, status)] * 4)


_NOT_VALIDATED = ("AuthFailure", 401)
_CODES = {
    Problem.NO_SIGNATURE: _Codes(
        ("MissingAuthenticationTokenException", 400),
        ("MissingAuthenticationToken", 403),
        _NOT_VALIDATED,
        ("AccessDenied", 403),
    ),
    Problem.MALFORMED_SIGNATURE: _Codes(
        ("IncompleteSignatureException", 400),
        ("IncompleteSignature", 400),
        ("IncompleteSignature", 400),
        ("AuthorizationHeaderMalformed", 400),
    ),
    Problem.OLD_SIGNATURE: _Codes(
        ("IncompleteSignatureException", 400),
        ("IncompleteSignature", 400),
        ("IncompleteSignature", 400),
        ("InvalidRequest", 400),
    ),
    Problem.UNKNOWN_KEY: _Codes(
        ("UnrecognizedClientException", 400),
        ("InvalidClientTokenId", 403),
        _NOT_VALIDATED,
        ("InvalidAccessKeyId", 403),
    ),
    Problem.WRONG_SIGNATURE: _Codes(
        ("InvalidSignatureException", 400),
        ("SignatureDoesNotMatch", 403),
        _NOT_VALIDATED,
        ("SignatureDoesNotMatch", 403),
    ),
    Problem.WRONG_TIME: _Codes(
        ("InvalidSignatureException", 400),
        ("SignatureDoesNotMatch", 403),
        ("RequestExpired", 400),
        ("RequestTimeTooSkewed", 403),
    ),
    Problem.WRONG_SCOPE: _Codes(
        ("InvalidSignatureException", 400),
        ("SignatureDoesNotMatch", 403),
        _NOT_VALIDATED,
        ("AuthorizationHeaderMalformed", 400),
    ),
    Problem.WRONG_PAYLOAD_HASH: _Codes(
        ("InvalidSignatureException", 400),
        ("SignatureDoesNotMatch", 403),
        _NOT_VALIDATED,
        ("XAmzContentSHA256Mismatch", 400),
    ),
    Problem.UNSUPPORTED_PAYLOAD: _same("NotImplemented", 501),
    Problem.NO_LENGTH: _same("MissingContentLength", 411),
    Problem.INVALID_LENGTH: _same("InvalidRequest", 400),
    Problem.TOO_LARGE: _Codes(
        ("RequestEntityTooLargeException", 413),
        ("RequestEntityTooLarge", 413),
        ("RequestEntityTooLarge", 413),
        ("EntityTooLarge", 413),
    ),
    Problem.NOT_FOUND: _Codes(
        ("UnknownOperationException", 404),
        ("InvalidAction", 404),
        ("InvalidAction", 404),
        ("NoSuchBucket", 404),
    ),
}
# REST services with JSON answer a request that isn't authentic with 403, and name the error in a header.
_NOT_AUTHENTIC = {
    problem for problem, codes in _CODES.items() if codes.json[1] == 400 and problem is not Problem.INVALID_LENGTH
}
# Their protocol is rest-xml, but their errors have the form of the query protocol.
_XML_LIKE_QUERY = ("route53", "cloudfront")


def protocol_of(service: str, headers: Mapping[str, str], query: str) -> Protocol:
    """The protocol of a request with these headers (lower-case names), as far as it can be told without its body.

    `service` is the one that it is signed for; "" when it isn't signed.
    """
    content_type = headers.get("content-type", "")
    if headers.get("smithy-protocol") == "rpc-v2-cbor":
        return Protocol.CBOR
    if "x-amz-target" in headers:
        return Protocol.JSON
    if service == "ec2":
        return Protocol.EC2
    if service.startswith("s3"):
        return Protocol.S3
    is_form = content_type.startswith("application/x-www-form-urlencoded")
    if is_form or "Action=" in query or service in _XML_LIKE_QUERY:
        return Protocol.QUERY
    return Protocol.REST_JSON if service or "json" in content_type else Protocol.S3


def error_response(refused: RequestRefused, protocol: Protocol, content_type: str = "") -> ErrorResponse:
    """The response to a refused request; `content_type` is the request's, which JSON protocols answer with."""
    message = str(refused)
    codes, request_id = _CODES[refused.problem], str(uuid.uuid4())
    if protocol in (Protocol.JSON, Protocol.REST_JSON, Protocol.CBOR):
        code, number = codes.json
        return _with_json(protocol, code, number, message, refused.problem, content_type, request_id)
    code, number = {Protocol.QUERY: codes.query, Protocol.EC2: codes.ec2, Protocol.S3: codes.s3}[protocol]
    document = _XML[protocol].format(code=code, message=escape(message), request_id=request_id)
    headers = [("Content-Type", "application/xml" if protocol is Protocol.S3 else "text/xml;charset=UTF-8")]
    return _response(number, headers, document.encode())


_XML = {
    Protocol.QUERY: (
        "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
        "<RequestId>{request_id}</RequestId></ErrorResponse>"
    ),
    Protocol.EC2: (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error><Code>{code}</Code>'
        "<Message>{message}</Message></Error></Errors><RequestID>{request_id}</RequestID></Response>"
    ),
    Protocol.S3: (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message>'
        "<RequestId>{request_id}</RequestId></Error>"
    ),
}


def _with_json(
    protocol: Protocol, code: str, number: int, message: str, problem: Problem, content_type: str, request_id: str
) -> ErrorResponse:
    headers = [("x-amzn-RequestId", request_id)]
    if protocol is Protocol.CBOR:
        headers += [("Content-Type", "application/cbor"), ("smithy-protocol", "rpc-v2-cbor")]
        return _response(number, headers, _cbor({"__type": code, "message": message}))
    if protocol is Protocol.REST_JSON:
        number = 403 if problem in _NOT_AUTHENTIC else number
        headers += [("Content-Type", "application/json"), ("x-amzn-ErrorType", code)]
        return _response(number, headers, json.dumps({"message": message}).encode())
    version = "1.0" if content_type.startswith("application/x-amz-json-1.0") else "1.1"
    headers.append(("Content-Type", f"application/x-amz-json-{version}"))
    return _response(number, headers, json.dumps({"__type": code, "message": message}).encode())


def _response(number: int, headers: list[tuple[str, str]], body: bytes) -> ErrorResponse:
    return ErrorResponse(f"{number} {HTTPStatus(number).phrase}", [*headers, ("Content-Length", str(len(body)))], body)


def _cbor(texts: Mapping[str, str]) -> bytes:
    """A map of a few texts in CBOR (RFC 8949)."""
    parts = [bytes([0xA0 | len(texts)])]
    for text in (part for pair in texts.items() for part in pair):
        encoded = text.encode()[:0xFFFF]
        parts += [b"\x79", len(encoded).to_bytes(2, "big"), encoded]
    return b"".join(parts)
