"""A signature in a header is used once, and no client that signs for itself is refused."""

from __future__ import annotations

import pytest

from ecsconsul.region.replays import GRACE, UsedSignatures, attempt_of, may_change
from ecsconsul.region.request_auth import ReceivedRequest

NOW = 1_000_000.4
SECOND = 1_000_000.0


def read(used: UsedSignatures, name: str = "a", at: float = NOW, signed_at: float = SECOND) -> bool:
    return used.admit(name, signed_at, at, attempt="", changes=False)


def write(used: UsedSignatures, attempt: str = "", name: str = "a", at: float = NOW) -> bool:
    return used.admit(name, SECOND, at, attempt=attempt, changes=True)


def test_equal_reads_of_one_second_are_answered() -> None:
    used = UsedSignatures()
    assert [read(used), read(used), read(used, at=NOW + GRACE)] == [True, True, True]


def test_old_read_is_a_copy() -> None:
    used = UsedSignatures()
    assert read(used)
    assert not read(used, at=NOW + GRACE + 0.1)
    assert not read(used, at=NOW + 800)
    assert read(used, "another", at=NOW + 800)


def test_grace_counts_from_the_first_use() -> None:
    """The client's clock may be minutes behind."""
    used = UsedSignatures()
    assert read(used, at=NOW + 600)
    assert read(used, at=NOW + 601)
    assert not read(used, at=NOW + 606)


def test_copy_of_a_change_is_refused_at_once() -> None:
    used = UsedSignatures()
    assert write(used, "call-1 attempt=1")
    assert not write(used, "call-1 attempt=1")
    assert write(used, "", name="without ids")
    assert not write(used, "", name="without ids")


def test_equal_changes_of_one_second_are_told_apart_by_call_and_attempt() -> None:
    used = UsedSignatures()
    attempts = ["call-1 attempt=1", "call-2 attempt=1", "call-2 attempt=2"]
    assert [write(used, attempt) for attempt in attempts] == [True, True, True]
    assert not any(write(used, attempt) for attempt in attempts)
    assert not write(used, "call-3 attempt=1", at=NOW + GRACE + 0.1)


def test_what_an_earlier_region_may_have_served_is_refused() -> None:
    used = UsedSignatures(since=SECOND)
    assert not read(used, signed_at=SECOND - 1)
    assert read(used, signed_at=SECOND)


def test_signatures_are_forgotten_when_their_date_is_too_old_anyway() -> None:
    used = UsedSignatures(most=10)
    for number in range(100):
        at = NOW + number * 1000
        assert read(used, str(number), at=at, signed_at=float(int(at)))
    assert read(used, "from another clock", at=NOW + 99_000, signed_at=SECOND + 99_000 - 800)


def test_memory_is_bounded_and_what_is_forgotten_is_refused() -> None:
    used = UsedSignatures(most=10)
    for number in range(100):
        assert read(used, str(number), at=NOW + number, signed_at=SECOND + number)
    for number in range(100):
        assert not read(used, str(number), at=NOW + 120, signed_at=SECOND + number)
    assert used._count <= 10
    assert read(used, "new", at=NOW + 120, signed_at=SECOND + 120)


def request(method: str = "POST", target: str = "", query: str = "", path: str = "/", form: bool = False) -> (
    ReceivedRequest
):  # fmt: skip
    headers = {"x-amz-target": target} if target else {}
    if form:
        headers["content-type"] = "application/x-www-form-urlencoded; charset=utf-8"
    return ReceivedRequest(method, path, query, headers)


@pytest.mark.parametrize(
    ("received", "body", "changes"),
    [
        (request(target="AmazonEC2ContainerServiceV20141113.DescribeServices"), b"{}", False),
        (request(target="AmazonEC2ContainerServiceV20141113.ListTasks"), b"{}", False),
        (request(target="AmazonEC2ContainerServiceV20141113.RegisterTaskDefinition"), b"{}", True),
        (request(target="AmazonEC2ContainerServiceV20141113.RunTask"), b"Action=ListTasks", True),
        (request(form=True), b"Action=DescribeStacks&Version=2010-05-15", False),
        (request(form=True), b"Version=2010-05-15&Action=CreateStack", True),
        (request(form=True), b"Version=2010-05-15&NotAction=Describe", True),
        (request("GET", query="Action=CreateStack&Version=1"), b"", True),
        (request("GET", query="Version=1&Action=ListStacks"), b"", False),
        (request(path="/service/GraniteServiceVersion20100801/operation/PutMetricData"), b"", True),
        (request(path="/service/GraniteServiceVersion20100801/operation/ListMetrics"), b"", False),
        (request("GET", path="/bucket/key"), b"", False),
        (request("HEAD", path="/bucket/key"), b"", False),
        (request("PUT", path="/bucket/key"), b"Action=GetObject", True),
        (request("DELETE", path="/bucket"), b"", True),
    ],
)
def test_what_may_change_something(received: ReceivedRequest, body: bytes, changes: bool) -> None:
    assert may_change(received, body) is changes


def test_attempt_is_what_sdks_send() -> None:
    headers = {"amz-sdk-invocation-id": "1-2-3", "amz-sdk-request": "attempt=2; max=3"}
    assert attempt_of(ReceivedRequest("POST", "/", "", headers)) == "1-2-3 attempt=2; max=3"
    assert attempt_of(ReceivedRequest("POST", "/", "", {"amz-sdk-request": "attempt=1"})) == ""
