"""Snapshots in an S3 bucket: below the lab's name, encrypted, and only where nobody else reads them."""

from __future__ import annotations

import stat
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from msgspec import structs

from ecsconsul.config.lab import ConsulSpec, Lab, SnapshotSpec
from ecsconsul.consul.snapshot_file import SnapshotName
from ecsconsul.errors import LabError
from ecsconsul.targets.aws.snapshots import SnapshotBucket, diagnostics
from ecsconsul.targets.aws.target import AwsTarget

Account = Callable[[str], Any]
NOW = datetime.now(timezone.utc).replace(microsecond=0)
NAME = SnapshotName(NOW, "1.22.7", 30, "3a86afa99ee2")
PRIVATE = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)


@pytest.fixture
def s3(account: Account) -> Any:
    found = account("s3")
    found.create_bucket(Bucket="backups")
    return found


@pytest.fixture
def bucket(s3: Any) -> SnapshotBucket:
    return SnapshotBucket(s3, "backups", "blue")


def written(folder: Path) -> Path:
    path = folder / "consul.snap"
    path.write_bytes(b"data")
    return path


def test_snapshots_are_encrypted_and_come_back(s3: Any, bucket: SnapshotBucket, tmp_path: Path) -> None:
    bucket.put(written(tmp_path), NAME)
    assert s3.head_object(Bucket="backups", Key=f"blue/{NAME}")["ServerSideEncryption"] == "AES256"
    bucket.fetch(NAME, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"data"
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o600


def test_the_newest_comes_first_and_others_do_not_count(s3: Any, bucket: SnapshotBucket, tmp_path: Path) -> None:
    older = NAME._replace(taken=NOW - timedelta(hours=1))
    for name in (older, NAME):
        bucket.put(written(tmp_path), name)
    for key in (f"green/{NAME}", f"blue/more/{NAME}", "blue/notes.txt", str(NAME)):
        s3.put_object(Bucket="backups", Key=key, Body=b"")
    assert [(one.name, one.size) for one in bucket.stored()] == [(NAME, 4), (older, 4)]


def test_an_empty_bucket_has_no_snapshots(bucket: SnapshotBucket) -> None:
    assert bucket.stored() == []


def test_what_is_missing_is_an_error(s3: Any, bucket: SnapshotBucket, tmp_path: Path) -> None:
    with pytest.raises(LabError, match="can't be read"):
        bucket.fetch(NAME, tmp_path / "copy")
    absent = SnapshotBucket(s3, "absent", "blue")
    for request in (absent.stored, lambda: absent.put(written(tmp_path), NAME)):
        with pytest.raises(LabError, match="There is no bucket absent"):
            request()


# --- the target


def with_bucket(lab: Lab, bucket: str | None) -> Lab:
    return structs.replace(lab, consul=ConsulSpec(snapshots=SnapshotSpec(bucket=bucket)))


def test_target_keeps_snapshots_in_the_bucket_of_the_config(s3: Any, lab: Lab, tmp_path: Path) -> None:
    target = AwsTarget(with_bucket(lab, "backups"))
    target.snapshots().put(written(tmp_path), NAME)
    assert [one["Key"] for one in s3.list_objects_v2(Bucket="backups")["Contents"]] == [f"blue/{NAME}"]
    assert "snapshots: s3://backups/blue/" in target.retained()


@pytest.mark.parametrize("snapshots", [None, SnapshotSpec()])
def test_without_a_bucket_the_user_is_asked_for_a_file(account: Account, lab: Lab, snapshots: Any) -> None:
    target = AwsTarget(structs.replace(lab, consul=ConsulSpec(snapshots=snapshots)))
    with pytest.raises(LabError, match="names no bucket") as error:
        target.snapshots()
    assert "snapshot save FILE" in error.value.hint
    assert target.retained() == []


# --- what doctor says


def test_private_bucket_is_well(s3: Any) -> None:
    s3.put_public_access_block(Bucket="backups", PublicAccessBlockConfiguration=PRIVATE)
    assert diagnostics(s3, "backups").state == "ok"


def test_bucket_that_may_be_public_is_a_warning(s3: Any) -> None:
    assert diagnostics(s3, "backups").state == "warning"
    s3.put_public_access_block(Bucket="backups", PublicAccessBlockConfiguration={**PRIVATE, "BlockPublicPolicy": False})
    assert diagnostics(s3, "backups").state == "warning"


def test_bucket_that_is_not_there_blocks_up(s3: Any, lab: Lab) -> None:
    assert diagnostics(s3, "absent").state == "failed"
    found = {finding.name: finding for finding in AwsTarget(with_bucket(lab, "absent")).diagnostics()}
    assert found["snapshots"].error and "There is no bucket absent" in found["snapshots"].detail
    assert "snapshots" not in {finding.name for finding in AwsTarget(lab).diagnostics()}


class Denying:
    """An S3 that refuses one request, as it does without permission."""

    def __init__(self, operation: str, code: str) -> None:
        self._refused = (operation, code)

    def _answer(self, operation: str) -> dict[str, Any]:
        if operation == self._refused[0]:
            raise ClientError({"Error": {"Code": self._refused[1], "Message": "no"}}, operation)
        return {"PublicAccessBlockConfiguration": PRIVATE}

    def head_bucket(self, Bucket: str) -> dict[str, Any]:
        return self._answer("HeadBucket")

    def get_public_access_block(self, Bucket: str) -> dict[str, Any]:
        return self._answer("GetPublicAccessBlock")


@pytest.mark.parametrize(
    ("operation", "code", "state"),
    [("HeadBucket", "403", "failed"), ("GetPublicAccessBlock", "AccessDenied", "unknown")],
)
def test_missing_permissions(operation: str, code: str, state: str) -> None:
    assert diagnostics(Denying(operation, code), "backups").state == state
