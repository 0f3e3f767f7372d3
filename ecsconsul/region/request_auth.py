"""Verifies the AWS Signature Version 4 of a request as it was received; botocore's own signer recomputes it. No I/O.

Both forms are understood: the Authorization header, and the query of a presigned URL. The rules are AWS's
(https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html):

- The signed headers include `host` and every `x-amz-*` header of the request. `content-type` may be left out, because
  AWS's SDK for JavaScript does.
- `X-Amz-Date` is at most 15 minutes off. A presigned URL is valid for `X-Amz-Expires` seconds, at most 7 days.
- The scope names the date of `X-Amz-Date`, this region and a service that is served here.
- The payload's SHA-256 is signed. Only S3 also takes the constants for unsigned payloads.

What can be decided without the body is decided first (`check_headers`), so that nobody without the key's id makes the
region read a body.
"""

from __future__ import annotations

import functools
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl

from .error_responses import Problem, RequestRefused
from .runtimes.lab_dir import AccessKey

ALGORITHM = "AWS4-HMAC-SHA256"
CLOCK_WINDOW = timedelta(minutes=15)
LONGEST_EXPIRY = 7 * 24 * 3600
# Services without a region of their own are signed for the first one.
GLOBAL_REGION = "us-east-1"
GLOBAL_SERVICES = ("iam", "sts", "s3", "route53", "cloudfront", "organizations", "budgets", "ce", "support")

_TIMESTAMP = "%Y%m%dT%H%M%SZ"
_SCOPE = re.compile(r"(?P<key_id>[^/]+)/(?P<date>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request")
_UNSIGNED_PAYLOADS = ("UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
_NO_MATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)
_OTHER_ALGORITHM = f"The authorization mechanism you have provided is not supported. Please use {ALGORITHM}."
_NO_TOKEN = "The security token included in the request is invalid."


@dataclass(frozen=True)
class ReceivedRequest:
    """A request as it was received: path and query percent-encoded as on the wire, headers by lower-case name."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]

    @functools.cached_property
    def parameters(self) -> list[tuple[str, str]]:
        """The query's names and values, decoded."""
        return parse_qsl(self.query, keep_blank_values=True)


@dataclass(frozen=True)
class Signature:
    """What a request says of its signature. `expires` is the lifetime of a presigned URL in seconds."""

    key_id: str
    date: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    value: str
    signed_at: datetime
    token: str = ""
    expires: int | None = None


class RequestAuth:
    """Verifies requests to one region, which are signed with one key. `is_served` says whether a service is known."""

    def __init__(self, key: AccessKey, region: str, is_served: Callable[[str], bool]) -> None:
        self._key = key
        self._region = region
        self._is_served = is_served
        # The key is derived in four steps, and the same for all requests of a day to a service.
        self._signing_key = functools.lru_cache(maxsize=64)(self._derive_key)

    def check_headers(self, request: ReceivedRequest, now: datetime) -> Signature:
        """The request's signature, once everything but its value and the payload is right. Raises RequestRefused."""
        signature = read_signature(request)
        is_known = hmac.compare_digest(signature.key_id.encode(), self._key.id.encode())
        # A key that isn't temporary has no session token, and AWS refuses it with one.
        if not is_known or signature.token:
            raise RequestRefused(Problem.UNKNOWN_KEY, _NO_TOKEN)
        self._check_scope(signature)
        _check_time(signature, now)
        _check_signed_headers(signature, request)
        return signature

    def check_signature(self, request: ReceivedRequest, signature: Signature, body: bytes) -> None:
        """Raises RequestRefused unless the signature is that of the request and its body."""
        recomputed = self._recompute(request, signature, _payload_hash(request, signature, body))
        if not hmac.compare_digest(recomputed.encode(), signature.value.encode()):
            raise RequestRefused(Problem.WRONG_SIGNATURE, _NO_MATCH)

    def _check_scope(self, signature: Signature) -> None:
        if signature.date != signature.signed_at.strftime("%Y%m%d"):
            why = "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            _refuse_scope(why + f"'{signature.date}' != '{signature.signed_at:%Y%m%d}'.")
        regions = (self._region, GLOBAL_REGION) if signature.service in GLOBAL_SERVICES else (self._region,)
        if signature.region not in regions:
            _refuse_scope(
                f"Credential should be scoped to a valid Region, not {signature.region!r}. "
                f"This local region is {self._region}."
            )
        if not self._is_served(signature.service):
            _refuse_scope(f"Credential should be scoped to correct service, not {signature.service!r}.")

    def _recompute(self, request: ReceivedRequest, signature: Signature, payload_hash: str) -> str:
        from botocore.awsrequest import AWSRequest

        signer = _signer_class(signature.service.startswith("s3"))(payload_hash, signature)
        query = [(name, value) for name, value in request.parameters if name != "X-Amz-Signature"]
        copy = AWSRequest(request.method, f"http://region{request.path}", params=query)
        copy.headers = _signed_headers(request, signature)
        copy.context["timestamp"] = signature.signed_at.strftime(_TIMESTAMP)
        text = signer.string_to_sign(copy, signer.canonical_request(copy))
        key = self._signing_key(signature.date, signature.region, signature.service)
        return hmac.new(key, text.encode(), sha256).hexdigest()

    def _derive_key(self, *scope: str) -> bytes:
        key = f"AWS4{self._key.secret}".encode()
        for part in (*scope, "aws4_request"):
            key = hmac.new(key, part.encode(), sha256).digest()
        return key


def read_signature(request: ReceivedRequest) -> Signature:
    """The signature in the request's header or query. Raises RequestRefused when there is none, or half a one."""
    query = dict(request.parameters)
    header = request.headers.get("authorization", "")
    is_presigned = "X-Amz-Algorithm" in query or "X-Amz-Signature" in query
    if header and is_presigned:
        raise RequestRefused(Problem.MALFORMED_SIGNATURE, "Only one auth mechanism is allowed.")
    if is_presigned:
        return _presigned(query)
    if "AWSAccessKeyId" in query:
        # Version 2, with which boto3 and the AWS CLI still presign S3's URLs for endpoints that aren't AWS's.
        raise RequestRefused(Problem.OLD_SIGNATURE, _OTHER_ALGORITHM)
    if not header:
        raise RequestRefused(Problem.NO_SIGNATURE, "Missing Authentication Token")
    return _from_header(request, header)


def _from_header(request: ReceivedRequest, header: str) -> Signature:
    algorithm, _, rest = header.strip().partition(" ")
    if algorithm != ALGORITHM:
        raise RequestRefused(Problem.OLD_SIGNATURE, _OTHER_ALGORITHM)
    pairs = [part.strip().partition("=") for part in rest.split(",")]
    given = {name: value for name, _, value in pairs}
    date = request.headers.get("x-amz-date") or request.headers.get("date", "")
    missing = [
        f"Authorization header requires '{name}' parameter."
        for name in ("Credential", "Signature", "SignedHeaders")
        if not given.get(name)
    ]
    if not date:
        missing.append("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
    if missing:
        raise RequestRefused(Problem.MALFORMED_SIGNATURE, " ".join(missing))
    token = request.headers.get("x-amz-security-token", "")
    return _signature(given["Credential"], given["SignedHeaders"], given["Signature"], date, token)


def _presigned(query: Mapping[str, str]) -> Signature:
    names = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-SignedHeaders", "X-Amz-Signature", "X-Amz-Date")
    missing = [f"AWS query-string parameters must include '{name}'." for name in names if not query.get(name)]
    if missing:
        raise RequestRefused(Problem.MALFORMED_SIGNATURE, " ".join(missing))
    if query["X-Amz-Algorithm"] != ALGORITHM:
        raise RequestRefused(Problem.OLD_SIGNATURE, _OTHER_ALGORITHM)
    # Services other than S3 take URLs without it, for as long as they take any request.
    expires = query.get("X-Amz-Expires", str(int(CLOCK_WINDOW.total_seconds())))
    if not re.fullmatch(r"[0-9]{1,6}", expires) or not 1 <= int(expires) <= LONGEST_EXPIRY:
        why = f"X-Amz-Expires must be a number of seconds from 1 to {LONGEST_EXPIRY} (a week)."
        raise RequestRefused(Problem.MALFORMED_SIGNATURE, why)
    credential, headers, value, date = (query[name] for name in names[1:])
    return _signature(credential, headers, value, date, query.get("X-Amz-Security-Token", ""), int(expires))


def _signature(
    credential: str, headers: str, value: str, date: str, token: str, expires: int | None = None
) -> Signature:
    scope = _SCOPE.fullmatch(credential)
    if not scope:
        why = "Credential must have 5 slash-delimited elements: KEYID/YYYYMMDD/REGION/SERVICE/aws4_request."
        raise RequestRefused(Problem.MALFORMED_SIGNATURE, why)
    if not re.fullmatch(r"[0-9a-f]{64}", value):
        raise RequestRefused(Problem.WRONG_SIGNATURE, _NO_MATCH)
    names = tuple(headers.lower().split(";"))
    return Signature(
        **scope.groupdict(), signed_headers=names, value=value, signed_at=_time(date), token=token, expires=expires
    )


def _time(text: str) -> datetime:
    """A time in the form of X-Amz-Date, or of HTTP's Date header."""
    try:
        if re.fullmatch(r"[0-9]{8}T[0-9]{6}Z", text):
            return datetime.strptime(text, _TIMESTAMP).replace(tzinfo=timezone.utc)
        return parsedate_to_datetime(text).astimezone(timezone.utc)
    except (ValueError, TypeError, OverflowError):
        why = "Date must be in ISO-8601 'basic format'. Got {!r}."
        raise RequestRefused(Problem.MALFORMED_SIGNATURE, why.format(text[:40])) from None


def _check_time(signature: Signature, now: datetime) -> None:
    signed_at, shown = signature.signed_at, signature.signed_at.strftime(_TIMESTAMP)
    lifetime = CLOCK_WINDOW if signature.expires is None else timedelta(seconds=signature.expires)
    if signed_at + lifetime < now:
        raise RequestRefused(
            Problem.WRONG_TIME,
            f"Signature expired: {shown} is now earlier than {now - lifetime:{_TIMESTAMP}} "
            f"({now:{_TIMESTAMP}} - {lifetime.total_seconds() / 60:g} min.)",
        )
    if signed_at - CLOCK_WINDOW > now:
        raise RequestRefused(
            Problem.WRONG_TIME,
            f"Signature not yet current: {shown} is still later than {now + CLOCK_WINDOW:{_TIMESTAMP}} "
            f"({now:{_TIMESTAMP}} + {CLOCK_WINDOW.total_seconds() / 60:g} min.)",
        )


def _check_signed_headers(signature: Signature, request: ReceivedRequest) -> None:
    """A header that isn't signed could be anybody's, so none that changes what a request does may be left out."""
    required = {"host", *(name for name in request.headers if name.startswith("x-amz-"))}
    if signature.expires is None and "x-amz-date" not in request.headers:
        required.add("date")
    missing = sorted(required - set(signature.signed_headers))
    if missing:
        why = "There were headers present in the request which were not signed: "
        raise RequestRefused(Problem.WRONG_SIGNATURE, why + ", ".join(missing))


def _signed_headers(request: ReceivedRequest, signature: Signature) -> Any:
    from botocore.compat import HTTPHeaders

    found = HTTPHeaders()
    for name in signature.signed_headers:
        if name not in request.headers:
            raise RequestRefused(Problem.WRONG_SIGNATURE, _NO_MATCH)
        found[name] = request.headers[name]
    return found


def _payload_hash(request: ReceivedRequest, signature: Signature, body: bytes) -> str:
    """The payload's hash as it is signed, which must be the body's own. Raises RequestRefused."""
    given, is_s3 = request.headers.get("x-amz-content-sha256", ""), signature.service.startswith("s3")
    if is_s3 and given in _UNSIGNED_PAYLOADS:
        return given
    if is_s3 and given.startswith("STREAMING-"):
        why = "A header you provided implies functionality that is not implemented: payloads signed in chunks."
        raise RequestRefused(Problem.UNSUPPORTED_PAYLOAD, why)
    if is_s3 and signature.expires is not None and not given:
        return "UNSIGNED-PAYLOAD"
    real = sha256(body).hexdigest()
    if given and not hmac.compare_digest(given.encode(), real.encode()):
        why = "The provided 'x-amz-content-sha256' header does not match what was computed."
        raise RequestRefused(Problem.WRONG_PAYLOAD_HASH, why)
    return real


def _refuse_scope(why: str) -> None:
    raise RequestRefused(Problem.WRONG_SCOPE, why)


@functools.cache
def _signer_class(is_s3: bool) -> Any:
    """botocore's signer, for exactly the headers and the payload hash that it is given."""
    from botocore.auth import S3SigV4Auth, SigV4Auth

    class Signer(S3SigV4Auth if is_s3 else SigV4Auth):  # type: ignore[misc]
        def __init__(self, payload_hash: str, signature: Signature) -> None:
            super().__init__(None, signature.service, signature.region)
            self._payload_hash = payload_hash

        def headers_to_sign(self, request: Any) -> Any:
            return request.headers

        def payload(self, request: Any) -> str:
            return self._payload_hash

    return Signer
