"""An S3 bucket behind the VPC's AWS API, which answers at its own host name, as S3 does by default."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

from tests.templates.vpc import Answer, Request

CHUNKED = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


@dataclass
class Bucket:
    """A bucket, and who may use it: servers, below the lab's name, as the template's role says."""

    name: str
    lab: str
    objects: dict[str, bytes] = field(default_factory=dict)
    unencrypted: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def answer(self, request: Request) -> Answer:
        """What S3 answers."""
        path, _, query = request.path.partition("?")
        key, options = unquote(path.removeprefix("/")), parse_qs(query)
        if not self._may(request, key or options.get("prefix", [""])[0]):
            self.refused.append(f"{request.method} {request.path}")
            return _error(403, "AccessDenied")
        if not key:
            return Answer(200, self._list(options["prefix"][0]), "application/xml")
        return getattr(self, f"_{request.method.lower()}")(key, request)  # type: ignore[no-any-return]

    def _may(self, request: Request, name: str) -> bool:
        own = "ecsconsul:consul-server-of" in request.instance.tags
        return own and name.startswith(f"{self.lab}/") and request.headers["Host"].startswith(f"{self.name}.s3.")

    def _put(self, key: str, request: Request) -> Answer:
        headers = {name.lower(): value for name, value in request.headers.items()}
        if headers.get("x-amz-server-side-encryption") != "AES256":
            self.unencrypted.append(key)
        body = request.body.encode("latin-1")
        self.objects[key] = _joined(body) if headers["x-amz-content-sha256"] == CHUNKED else body
        return Answer(200, "")

    def _get(self, key: str, request: Request) -> Answer:
        if key not in self.objects:
            return _error(404, "NoSuchKey")
        return Answer(200, self.objects[key], "binary/octet-stream")

    def _delete(self, key: str, request: Request) -> Answer:
        self.objects.pop(key, None)
        return Answer(204, "")

    def _list(self, prefix: str) -> str:
        found = [
            f"<Contents><Key>{escape(key)}</Key><Size>{len(body)}</Size></Contents>"
            for key, body in sorted(self.objects.items())
            if key.startswith(prefix)
        ]
        return (
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>false</IsTruncated>'
            f"<Name>{self.name}</Name><KeyCount>{len(found)}</KeyCount>{''.join(found)}</ListBucketResult>"
        )


def _joined(body: bytes) -> bytes:
    """The content of `aws-chunked`: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html"""
    found = b""
    while True:
        head, _, body = body.partition(b"\r\n")
        size = int(head.partition(b";")[0], 16)
        if not size:
            return found
        found, body = found + body[:size], body[size + 2 :]


def _error(status: int, code: str) -> Answer:
    return Answer(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>", "application/xml")
