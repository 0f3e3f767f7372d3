"""Signatures are verified as AWS does it: its published examples, and what it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from botocore.auth import S3SigV4QueryAuth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from ecsconsul.region.error_responses import Problem, RequestRefused
from ecsconsul.region.request_auth import ReceivedRequest, RequestAuth, read_signature
from ecsconsul.region.runtimes.lab_dir import AccessKey

KEY = AccessKey("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
S3_KEY = AccessKey("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
EMPTY = sha256(b"").hexdigest()
MAY_2013 = datetime(2013, 5, 24, tzinfo=timezone.utc)
AUGUST_2015 = datetime(2015, 8, 30, 12, 36, tzinfo=timezone.utc)


class Example(NamedTuple):
    """A signed request that AWS has published."""

    method: str
    target: str
    headers: Mapping[str, str]
    signed: str
    signature: str
    service: str = "service"
    body: bytes = b""
    key: AccessKey = KEY
    now: datetime = AUGUST_2015

    def request(self) -> ReceivedRequest:
        scope = f"{self.key.id}/{self.now:%Y%m%d}/us-east-1/{self.service}/aws4_request"
        header = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={self.signed}, Signature={self.signature}"
        url = urlsplit(self.target)
        return ReceivedRequest(self.method, url.path, url.query, {**self.headers, "authorization": header})


PLAIN = {"host": "example.amazonaws.com", "x-amz-date": "20150830T123600Z"}
VANILLA = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
S3 = {"host": "examplebucket.s3.amazonaws.com", "x-amz-date": "20130524T000000Z"}
PUBLISHED = {
    "get-vanilla": Example("GET", "/", PLAIN, "host;x-amz-date", VANILLA),
    "get-relative": Example("GET", "/example/..", PLAIN, "host;x-amz-date", VANILLA),
    "get-slashes": Example("GET", "/./", PLAIN, "host;x-amz-date", VANILLA),
    "query-order": Example(
        "GET", "/?Param2=value2&Param1=value1", PLAIN, "host;x-amz-date",
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    "header-value-trim": Example(
        "GET", "/", {**PLAIN, "my-header1": " value1", "my-header2": ' "a   b   c"'},
        "host;my-header1;my-header2;x-amz-date", "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    ),
    "form": Example(
        "POST", "/", {**PLAIN, "content-type": "application/x-www-form-urlencoded"}, "content-type;host;x-amz-date",
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a", body=b"Param1=value1",
    ),
    "IAM ListUsers": Example(
        "GET", "/?Action=ListUsers&Version=2010-05-08",
        {
            "host": "iam.amazonaws.com", "x-amz-date": "20150830T123600Z",
            "content-type": "application/x-www-form-urlencoded; charset=utf-8",
        },
        "content-type;host;x-amz-date", "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7", "iam",
    ),
    "S3 GET": Example(
        "GET", "/test.txt", {**S3, "range": "bytes=0-9", "x-amz-content-sha256": EMPTY},
        "host;range;x-amz-content-sha256;x-amz-date",
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41", "s3", key=S3_KEY, now=MAY_2013,
    ),
    "S3 PUT": Example(
        "PUT", "/test%24file.text",
        {
            **S3, "date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY",
            "x-amz-content-sha256": sha256(b"Welcome to Amazon S3.").hexdigest(),
        },
        "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd", "s3", b"Welcome to Amazon S3.",
        S3_KEY, MAY_2013,
    ),
}  # fmt: skip


def verify(request: ReceivedRequest, body: bytes, now: datetime, key: AccessKey = KEY) -> None:
    auth = RequestAuth(key, "us-east-1", lambda service: service != "nothing")
    auth.check_signature(request, auth.check_headers(request, now), body)


def problem(request: ReceivedRequest, body: bytes = b"", now: datetime = AUGUST_2015) -> tuple[Problem, str]:
    with pytest.raises(RequestRefused) as refused:
        verify(request, body, now)
    return refused.value.problem, str(refused.value)


@pytest.mark.parametrize("example", PUBLISHED.values(), ids=PUBLISHED)
def test_published_example_is_verified(example: Example) -> None:
    verify(example.request(), example.body, example.now, example.key)


@pytest.mark.parametrize("example", PUBLISHED.values(), ids=PUBLISHED)
def test_changed_example_is_refused(example: Example) -> None:
    request = example.request()
    other_host = {**request.headers, "host": "evil.example"}
    changes = [
        (replace(request, method="DELETE"), example.body),
        (replace(request, path=f"{request.path}x"), example.body),
        (replace(request, query=f"{request.query}&x=1"), example.body),
        (replace(request, headers=other_host), example.body),
        (request, example.body + b"x"),
    ]
    for changed, body in changes:
        with pytest.raises(RequestRefused) as refused:
            verify(changed, body, example.now, example.key)
        assert refused.value.problem in (Problem.WRONG_SIGNATURE, Problem.WRONG_PAYLOAD_HASH)
    with pytest.raises(RequestRefused):
        verify(request, example.body, example.now, replace_secret(example.key))


def replace_secret(key: AccessKey) -> AccessKey:
    return AccessKey(key.id, "another")


def test_published_presigned_url_is_verified() -> None:
    query = (
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2F"
        "aws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature="
        "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )
    request = ReceivedRequest("GET", "/test.txt", query, {"host": S3["host"]})
    verify(request, b"", MAY_2013 + timedelta(hours=23), S3_KEY)
    with pytest.raises(RequestRefused, match=r"Signature expired") as refused:
        verify(request, b"", MAY_2013 + timedelta(hours=25), S3_KEY)
    assert refused.value.problem is Problem.WRONG_TIME


# --- requests that botocore signs


def signed(
    service: str = "ecs", method: str = "POST", url: str = "http://127.0.0.1:5566/", region: str = "us-east-1",
    headers: Mapping[str, str] | None = None, data: bytes = b"", token: str | None = None, key: AccessKey = KEY,
) -> ReceivedRequest:  # fmt: skip
    """A request as botocore signs it now."""
    request = AWSRequest(method, url, headers={"X-Amz-Target": "A.B", **(headers or {})}, data=data)
    SigV4Auth(Credentials(key.id, key.secret, token), service, region).add_auth(request)
    return as_received(request)


def presigned(expires: int = 60, s3: bool = False, **more: str) -> ReceivedRequest:
    request = AWSRequest("GET", "http://127.0.0.1:5566/?Action=GetCallerIdentity&a=b+c%2B", headers=more)
    signer = S3SigV4QueryAuth if s3 else SigV4QueryAuth
    signer(Credentials(KEY.id, KEY.secret), "s3" if s3 else "sts", "us-east-1", expires).add_auth(request)
    return as_received(request)


def as_received(request: AWSRequest) -> ReceivedRequest:
    prepared = request.prepare()
    url = urlsplit(prepared.url)
    headers = {name.lower(): text(value) for name, value in prepared.headers.items()}
    return ReceivedRequest(prepared.method, url.path, url.query, {"host": url.netloc, **headers})


def text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def now() -> datetime:
    return datetime.now(timezone.utc)


@pytest.mark.parametrize(
    "target", ["/", "/a%20b/%C3%BC", "/a?b=c&b=a&d", "/?q=a%2Bb%26c%3D&e=", "/path//twice/../up", "/a~b_c-d.e"]
)
def test_any_target_is_verified(target: str) -> None:
    verify(signed(url=f"http://127.0.0.1:5566{target}", data=b"x"), b"x", now())


def test_date_header_is_understood() -> None:
    request = signed(headers={"Date": "any"})
    assert "x-amz-date" not in request.headers
    verify(request, b"", now())
    assert problem(replace(request, headers={**request.headers, "date": "yesterday"}), now=now())[0] is (
        Problem.MALFORMED_SIGNATURE
    )


def test_unsigned_headers_of_no_meaning_are_allowed() -> None:
    """SDKs leave out some, and add some after signing."""
    request = signed()
    extra = {"user-agent": "any", "amz-sdk-invocation-id": "1", "x-amzn-trace-id": "2", "content-type": "text/plain"}
    verify(replace(request, headers={**request.headers, **extra}), b"", now())


@pytest.mark.parametrize("name", ["x-amz-security", "x-amz-meta-a", "x-amz-content-sha256"])
def test_unsigned_aws_header_is_refused(name: str) -> None:
    request = signed()
    found, why = problem(replace(request, headers={**request.headers, name: EMPTY}), now=now())
    assert found is Problem.WRONG_SIGNATURE
    assert why.endswith(f"not signed: {name}")


@pytest.mark.parametrize("name", ["host", "x-amz-date", "x-amz-target"])
def test_header_that_must_be_signed_is_required(name: str) -> None:
    request = signed()
    header = request.headers["authorization"]
    for shorter in (f"{name};", f";{name}"):
        header = header.replace(shorter, "", 1) if shorter in header else header
    assert problem(replace(request, headers={**request.headers, "authorization": header}), now=now())[0] is (
        Problem.WRONG_SIGNATURE
    )


def test_signed_header_that_is_missing_is_refused() -> None:
    request = signed(headers={"My-Header": "1"})
    headers = {name: value for name, value in request.headers.items() if name != "my-header"}
    assert problem(replace(request, headers=headers), now=now())[0] is Problem.WRONG_SIGNATURE


@pytest.mark.parametrize(
    ("minutes", "message"),
    [(-16, "Signature expired: "), (16, "Signature not yet current: "), (-14, ""), (14, "")],
)
def test_clock_may_be_a_quarter_of_an_hour_off(minutes: int, message: str) -> None:
    request, at = signed(), now() - timedelta(minutes=minutes)
    if message:
        found, why = problem(request, now=at)
        assert (found, why.startswith(message)) == (Problem.WRONG_TIME, True)
        assert "15 min.)" in why
    else:
        verify(request, b"", at)


def test_scope_must_be_of_the_same_day_this_region_and_a_known_service() -> None:
    request = signed()
    header = request.headers["authorization"].replace(f"/{now():%Y%m%d}/", "/20200101/")
    assert problem(replace(request, headers={**request.headers, "authorization": header}), now=now())[1].startswith(
        "Date in Credential scope does not match YYYYMMDD"
    )
    found, why = problem(signed(region="eu-west-1"), now=now())
    assert found is Problem.WRONG_SCOPE
    assert "valid Region, not 'eu-west-1'" in why
    assert problem(signed("nothing"), now=now())[0] is Problem.WRONG_SCOPE


def test_services_without_a_region_may_be_signed_for_the_first() -> None:
    auth = RequestAuth(KEY, "eu-west-1", lambda service: True)
    for service in ("iam", "sts"):
        auth.check_headers(signed(service), now())
    with pytest.raises(RequestRefused, match="This local region is eu-west-1"):
        auth.check_headers(signed("ecs"), now())


def test_other_keys_and_tokens_are_unknown() -> None:
    assert problem(signed(key=AccessKey("AKIAOTHER", KEY.secret)), now=now())[0] is Problem.UNKNOWN_KEY
    assert problem(signed(token="of another account"), now=now())[0] is Problem.UNKNOWN_KEY


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("", Problem.NO_SIGNATURE),
        ("Bearer abc", Problem.OLD_SIGNATURE),
        ("AWS AKIDEXAMPLE:c2ln", Problem.OLD_SIGNATURE),
        ("AWS4-ECDSA-P256-SHA256 Credential=a", Problem.OLD_SIGNATURE),
        ("AWS4-HMAC-SHA256", Problem.MALFORMED_SIGNATURE),
        ("AWS4-HMAC-SHA256 Credential=, SignedHeaders=host, Signature=1", Problem.MALFORMED_SIGNATURE),
        ("AWS4-HMAC-SHA256 Credential=a/b/c, SignedHeaders=host, Signature=1", Problem.MALFORMED_SIGNATURE),
        (f"AWS4-HMAC-SHA256 Credential=a/20150830/r/s/aws4_request, SignedHeaders=host, Signature={'g' * 64}",
         Problem.WRONG_SIGNATURE),
        ("AWS4-HMAC-SHA256 ,,,=,=", Problem.MALFORMED_SIGNATURE),
        ("\u00fc AWS4", Problem.OLD_SIGNATURE),
    ],
)  # fmt: skip
def test_malformed_authorization_is_refused(header: str, found: Problem) -> None:
    request = ReceivedRequest("GET", "/", "", {**PLAIN, "authorization": header})
    assert problem(request)[0] is found


def test_everything_that_is_missing_is_named() -> None:
    request = ReceivedRequest("GET", "/", "", {"host": "h", "authorization": "AWS4-HMAC-SHA256 x=y"})
    why = problem(request)[1]
    for name in ("Credential", "Signature", "SignedHeaders", "X-Amz-Date"):
        assert f"'{name}'" in why


@pytest.mark.parametrize("date", ["20150830", "20159930T999999Z", "Sun", "²0150830T123600Z", "99999999999999"])
def test_malformed_date_is_refused(date: str) -> None:
    headers = {**PUBLISHED["get-vanilla"].request().headers, "x-amz-date": date}
    assert problem(ReceivedRequest("GET", "/", "", headers))[0] is Problem.MALFORMED_SIGNATURE


# --- payloads


def test_payload_hash_must_be_the_bodys() -> None:
    request = signed(data=b"body", headers={"X-Amz-Content-Sha256": sha256(b"body").hexdigest()})
    verify(request, b"body", now())
    assert problem(request, b"other", now())[0] is Problem.WRONG_PAYLOAD_HASH


@pytest.mark.parametrize("constant", ["UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"])
def test_only_s3_takes_unsigned_payloads(constant: str) -> None:
    headers = {"X-Amz-Content-Sha256": constant}
    verify(signed("s3", "PUT", "http://127.0.0.1:5566/b/k", headers=headers), b"any", now())
    assert problem(signed(headers=headers), b"any", now())[0] is Problem.WRONG_PAYLOAD_HASH


def test_payload_signed_in_chunks_is_not_supported() -> None:
    request = signed("s3", "PUT", headers={"X-Amz-Content-Sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"})
    assert problem(request, b"x", now())[0] is Problem.UNSUPPORTED_PAYLOAD


# --- presigned


@pytest.mark.parametrize("s3", [False, True])
def test_presigned_request_is_verified_until_it_expires(s3: bool) -> None:
    request = presigned(60, s3)
    signed_at = read_signature(request).signed_at
    verify(request, b"", now())
    verify(request, b"", signed_at + timedelta(seconds=59))
    assert problem(request, now=signed_at + timedelta(seconds=61))[0] is Problem.WRONG_TIME
    assert problem(replace(request, query=request.query.replace("a=b", "a=d")), now=now())[0] is Problem.WRONG_SIGNATURE


def test_presigned_body_is_free_for_s3_alone() -> None:
    verify(presigned(s3=True), b"any", now())
    assert problem(presigned(), b"any", now())[0] is Problem.WRONG_SIGNATURE


@pytest.mark.parametrize("seconds", [0, -1, 604801, 10**9])
def test_presigned_request_is_valid_for_a_week_at_most(seconds: int) -> None:
    assert problem(presigned(seconds), now=now())[0] is Problem.MALFORMED_SIGNATURE
    verify(presigned(604800), b"", now())


def test_presigned_header_that_is_added_is_refused() -> None:
    request = presigned()
    headers = {**request.headers, "x-amz-target": "AmazonEC2ContainerServiceV20141113.DeleteCluster"}
    assert problem(replace(request, headers=headers), now=now())[0] is Problem.WRONG_SIGNATURE


@pytest.mark.parametrize("left_out", ["X-Amz-Credential", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Signature"])
def test_incomplete_presigned_request_is_refused(left_out: str) -> None:
    request = presigned()
    query = "&".join(part for part in request.query.split("&") if not part.startswith(f"{left_out}="))
    found, why = problem(replace(request, query=query), now=now())
    assert (found, left_out in why) == (Problem.MALFORMED_SIGNATURE, True)


def test_two_signatures_are_refused() -> None:
    request = presigned()
    headers = {**request.headers, "authorization": signed().headers["authorization"]}
    assert problem(replace(request, headers=headers), now=now())[0] is Problem.MALFORMED_SIGNATURE


def test_signature_of_version_2_is_refused() -> None:
    request = ReceivedRequest("GET", "/b/k", "AWSAccessKeyId=a&Signature=b&Expires=1", PLAIN)
    assert problem(request)[0] is Problem.OLD_SIGNATURE


def test_secret_is_in_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    """Errors are shown to whoever sent the request, and a key may end up in a log."""
    request = signed(key=AccessKey(KEY.id, "wrong"))
    assert KEY.secret not in problem(request, now=now())[1]
    assert KEY.secret not in repr(KEY) + str(KEY) + repr(read_signature(request))
