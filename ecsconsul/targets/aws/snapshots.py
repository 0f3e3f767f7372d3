"""The S3 bucket with a lab's snapshots: a lab's are below `<lab>/`, encrypted with S3's own key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...config.lab import Lab
from ...consul.snapshot_file import SnapshotName, StoredSnapshot, parsed
from ...errors import LabError
from ...paths import open_private
from ..client_errors import client_error, error_code
from ..commands import Finding, failed
from .session import is_denied, refused

NAME = "snapshots"
ENCRYPTION = "AES256"
CHUNK = 1 << 20
_PUBLIC = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
_GONE = {"404", "NoSuchBucket"}


class SnapshotBucket:
    """One lab's part of the bucket. Every method raises LabError."""

    def __init__(self, s3: Any, bucket: str, lab: str) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._folder = f"{lab}/"

    @property
    def where(self) -> str:
        return _where(self._bucket, self._folder)

    def stored(self) -> list[StoredSnapshot]:
        """The lab's snapshots, the newest first; other objects don't count."""
        try:
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._folder)
            objects = [one for page in pages for one in page.get("Contents") or ()]
        except client_error() as error:
            raise self._refused("listed", error) from error
        names = [(parsed(one["Key"].removeprefix(self._folder)), one["Size"]) for one in objects]
        return sorted((StoredSnapshot(name, size) for name, size in names if name), reverse=True)

    def put(self, path: Path, name: SnapshotName) -> None:
        """Keep a file under this name. S3 checks its checksum, which boto3 sends."""
        try:
            with path.open("rb") as file:
                self._s3.put_object(**self._object(name), Body=file, ServerSideEncryption=ENCRYPTION)
        except client_error() as error:
            raise self._refused("written", error) from error

    def fetch(self, name: SnapshotName, path: Path) -> None:
        """Copy a snapshot to a new file that only this user can read."""
        from botocore.exceptions import BotoCoreError

        try:
            body = self._s3.get_object(**self._object(name))["Body"]
            with open_private(path) as file:
                for chunk in body.iter_chunks(CHUNK):
                    file.write(chunk)
        except client_error() as error:
            raise self._refused("read", error) from error
        except (BotoCoreError, OSError) as error:
            # while the body arrives, botocore calls nobody who would translate its errors
            raise LabError("The snapshot can't be copied", where=self.where, why=str(error)) from error

    def _object(self, name: SnapshotName) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": f"{self._folder}{name}"}

    def _refused(self, done: str, error: Exception) -> LabError:
        if error_code(error) in _GONE:
            return _no_bucket(self._bucket)
        return refused(f"Snapshots can't be {done}", error, where=self.where)


def store(lab: Lab, client: Callable[[str], Any]) -> SnapshotBucket:
    """The bucket of the config. Raises LabError without one."""
    spec = lab.consul.snapshots
    if spec is None or spec.bucket is None:
        raise LabError(
            "The config names no bucket for snapshots",
            where="config, consul.snapshots.bucket",
            hint="give a file: `ecsconsul snapshot save FILE`; or set `consul: {snapshots: {bucket: my-backups}}`",
        )
    return SnapshotBucket(client("s3"), spec.bucket, lab.name)


def kept(lab: Lab) -> list[str]:
    """The line about what `down` keeps, without asking AWS."""
    spec = lab.consul.snapshots
    return [f"snapshots: {_where(spec.bucket, f'{lab.name}/')}"] if spec and spec.bucket else []


def diagnostics(s3: Any, bucket: str) -> Finding:
    """Whether the bucket is there, and whether it's certain that nobody else reads it: snapshots hold all tokens."""
    try:
        s3.head_bucket(Bucket=bucket)
    except client_error() as error:
        if error_code(error) in _GONE:
            return failed(NAME, _no_bucket(bucket))
        if error_code(error) == "403":
            return failed(NAME, refused(f"The bucket {bucket} isn't yours to use", error, where=f"s3://{bucket}"))
        raise
    return _privacy(s3, bucket)


def _privacy(s3: Any, bucket: str) -> Finding:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html"""
    hint = "block public access: `aws s3api put-public-access-block`"
    try:
        found = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    except client_error() as error:
        if is_denied(error):
            return Finding(NAME, "unknown", f"AWS doesn't say whether s3://{bucket} is public", hint)
        if error_code(error) != "NoSuchPublicAccessBlockConfiguration":
            raise
        found = {}
    if not all(found.get(name) for name in _PUBLIC):
        return Finding(NAME, "warning", f"s3://{bucket} may be made public, and snapshots hold all tokens", hint)
    return Finding(NAME, "ok", f"s3://{bucket}")


def _no_bucket(bucket: str) -> LabError:
    return LabError(
        f"There is no bucket {bucket}",
        where="config, consul.snapshots.bucket",
        hint=f"`aws s3 mb s3://{bucket}` makes one",
    )


def _where(bucket: str, folder: str) -> str:
    return f"s3://{bucket}/{folder}"
