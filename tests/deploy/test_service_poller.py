"""Many services are described in few requests, and a prefetched description is used once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ecsconsul.deploy.service_poller import ServicePoller
from tests.deploy.cloudformation import refusal
from tests.deploy.world import FakeTarget, RecordingReport

NAMES = [f"s{number}" for number in range(25)]


class Ecs:
    """Services whose running count is the number of the request."""

    class exceptions:
        class ClusterNotFoundException(Exception):
            pass

    def __init__(self) -> None:
        self.requests: list[list[str]] = []
        self.refusals: list[ClientError] = []
        self.status = "ACTIVE"

    def describe_services(self, cluster: str, services: list[str], include: list[str]) -> dict[str, Any]:
        self.requests.append(services)
        if self.refusals:
            raise self.refusals.pop()
        count = len(self.requests)
        found = [{"serviceName": name, "status": self.status, "runningCount": count} for name in services]
        return {"services": found}


@pytest.fixture
def ecs() -> Ecs:
    return Ecs()


@pytest.fixture
def target(ecs: Ecs) -> FakeTarget:
    return FakeTarget(None, clients={"ecs": ecs})


def test_first_description_prefetches_all_services(target: FakeTarget, ecs: Ecs) -> None:
    poller = ServicePoller(target, "blue", NAMES)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(poller.describe, NAMES))
    assert [service and service["serviceName"] for service in found] == NAMES
    assert [len(request) for request in ecs.requests] == [10, 10, 5]


def test_second_description_is_a_new_request(target: FakeTarget, ecs: Ecs) -> None:
    poller = ServicePoller(target, "blue", ["a", "b"])
    first, again, other = (poller.describe(name) for name in ("a", "a", "b"))
    assert ecs.requests == [["a", "b"], ["a"]]
    assert [service and service["runningCount"] for service in (first, again, other)] == [1, 2, 1]


def test_other_service_is_described_alone(target: FakeTarget, ecs: Ecs) -> None:
    poller = ServicePoller(target, "blue", ["a"])
    assert poller.describe("theirs")
    assert ecs.requests == [["theirs"]]


def test_inactive_service_is_absent(target: FakeTarget, ecs: Ecs) -> None:
    ecs.status = "INACTIVE"
    assert ServicePoller(target, "blue", ["a"]).describe("a") is None


class Pausing(RecordingReport):
    """A report that waits long enough for the other threads to catch up."""

    def wait(self, seconds: float) -> None:
        threading.Event().wait(0.1)


def test_concurrent_polls_share_requests(target: FakeTarget, ecs: Ecs) -> None:
    """25 services need three polls each; the second and third are shared, ten services in a request."""
    poller = ServicePoller(target, "blue")
    seen = dict.fromkeys(NAMES, 0)

    def third(service: dict[str, Any] | None) -> str | None:
        assert service
        name = service["serviceName"]
        seen[name] += 1
        return name if seen[name] == 3 else None

    with ThreadPoolExecutor(len(NAMES)) as pool:
        assert sorted(pool.map(lambda name: poller.poll_until(name, third, Pausing()), NAMES)) == sorted(NAMES)
    assert len(ecs.requests) < 2 * len(NAMES)
    assert max(len(request) for request in ecs.requests) <= 10


def test_only_throttling_is_retried(target: FakeTarget, ecs: Ecs) -> None:
    poller = ServicePoller(target, "blue")
    ecs.refusals = [refusal("ThrottlingException", "Rate exceeded") for _ in range(3)]
    assert poller.poll_until("a", lambda service: service, RecordingReport())["runningCount"] == 4
    ecs.refusals = [refusal("AccessDeniedException", "not you")]
    with pytest.raises(ClientError, match="not you"):
        poller.poll_until("a", lambda service: service, RecordingReport())


def test_polling_times_out(target: FakeTarget, ecs: Ecs) -> None:
    with pytest.raises(TimeoutError):
        ServicePoller(target, "blue").poll_until("a", lambda service: None, RecordingReport())
    assert len(ecs.requests) == target.polling.attempts
