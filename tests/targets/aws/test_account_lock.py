"""The lock in the account: every order in which two commands' requests can reach SSM, and many threads on moto."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from ecsconsul.errors import LabError, Unreachable
from ecsconsul.targets.aws.account_lock import GRACE, LEASE, AccountLock, Claim, Owner, Record, last_valid
from tests.targets.aws.ssm_fake import FakeSsm, client_error

Account = Callable[[str], Any]
NAME = "/ecsconsul/blue/operator/lock"
SECRET = "/ecsconsul/blue/operator/secrets"


@pytest.fixture
def ssm() -> FakeSsm:
    """SSM with a parameter of the lab, so that a released lock is kept."""
    found = FakeSsm()
    found.versions[SECRET] = {1: ("secret", found.now)}
    return found


def lock_of(
    ssm: Any, who: str = "ann", command: str = "up", clock: Callable[[], float] | None = None, dead: str = ""
) -> AccountLock:
    """A lock whose clock is AWS's own, and whose waits move it."""

    def wait(seconds: float) -> None:
        ssm.seconds += seconds

    owner = Owner(f"arn:aws:iam::123456789012:user/{who}", f"{who}@laptop", 4711, command)
    return AccountLock(ssm, "blue", owner, clock=clock or (lambda: ssm.seconds), wait=wait, dead=dead)


def refused(lock: AccountLock, match: str = "Another command is changing this lab") -> LabError:
    with pytest.raises(LabError, match=match) as raised:
        lock.acquire()
    return raised.value


def lost(lock: AccountLock) -> LabError:
    with pytest.raises(LabError, match="no longer holds the lab's lock") as raised:
        lock.renew()
    with pytest.raises(LabError, match="no longer holds the lab's lock"):
        lock.check()
    return raised.value


def records(*follows: str) -> list[Record]:
    """Successive claims with the ids a, b, c …, and what each follows."""
    when = datetime(2026, 1, 1, tzinfo=timezone.utc)
    claims = [Claim(id=chr(97 + at), follows=one, holder=str(at), seconds=LEASE) for at, one in enumerate(follows)]
    return [Record(at, one, when) for at, one in enumerate(claims, 1)]


@pytest.mark.parametrize(
    ("follows", "before", "valid"),
    [
        ([], "", None),
        ([""], "", "a"),
        (["", "a", "b"], "", "c"),
        # two take over a
        (["", "a", "a"], "", "b"),
        # the renewal of b comes after somebody's late claim
        (["", "a", "a", "b"], "", "d"),
        # nobody may follow a claim that came late
        (["", "a", "a", "c"], "", "b"),
        # a claim that follows one of a parameter that was deleted meanwhile
        (["z"], "", None),
        (["z", ""], "", "b"),
        (["z", "z", "a"], "z", "c"),
    ],
)
def test_last_valid_claim_follows_the_valid_one_before(follows: list[str], before: str, valid: str | None) -> None:
    found = last_valid(records(*follows), before)
    assert (found.claim.id if found else None) == valid


# --- without races


def test_second_command_is_refused_with_who_holds_it(ssm: FakeSsm) -> None:
    one, other = lock_of(ssm), lock_of(ssm, "bob", "down")
    one.acquire()
    for _ in range(10):
        ssm.seconds += 30
        one.renew()
    ssm.seconds += 100
    error = refused(other)
    assert error.where == f"lab blue, SSM parameter {NAME}"
    assert error.why == (
        "`up` of ann@laptop (process 4711, arn:aws:iam::123456789012:user/ann) has held its lock for 6 min,"
        " and last renewed it 100 s ago"
    )
    assert error.hint == "wait until it has finished; if it was killed, its lock expires in 90 s"


def test_value_says_who_what_since_when_and_until_when(ssm: FakeSsm) -> None:
    lock = lock_of(ssm)
    lock.acquire()
    ssm.seconds += 30
    lock.renew()
    first, found = (json.loads(ssm.versions[NAME][version][0]) for version in (1, 2))
    assert found.pop("holder") == first["holder"]
    assert found.pop("id") not in ("", first["id"])
    assert first["follows"] == ""
    assert found == {
        "follows": first["id"],
        "seconds": LEASE,
        "free": False,
        "arn": "arn:aws:iam::123456789012:user/ann",
        "at": "ann@laptop",
        "pid": 4711,
        "command": "up",
        "since": "2026-11-01T12:00:00+00:00",
        "until": "2026-11-01T12:03:30+00:00",
    }


def test_released_lock_is_taken_at_once_and_stays_below_the_labs_other_parameters(ssm: FakeSsm) -> None:
    for number in (1, 2, 3):
        lock = lock_of(ssm)
        lock.acquire()
        lock.check()
        lock.release()
        assert max(ssm.versions[NAME]) == 2 * number
    assert "delete_parameter" not in ssm.requests


def test_lock_of_a_lab_without_parameters_is_deleted(ssm: FakeSsm) -> None:
    lock = lock_of(ssm)
    lock.acquire()
    del ssm.versions[SECRET]
    lock.release()
    assert ssm.versions == {}


def test_released_lock_stops_who_goes_on(ssm: FakeSsm) -> None:
    lock = lock_of(ssm)
    lock.acquire()
    lock.release()
    lock.release()
    with pytest.raises(LabError, match="has given the lab's lock back"):
        lock.check()


def test_lock_of_a_killed_command_expires(ssm: FakeSsm) -> None:
    lock_of(ssm).acquire()
    ssm.seconds = LEASE + GRACE
    refused(lock_of(ssm, "bob"))
    ssm.seconds += 1
    bob = lock_of(ssm, "bob")
    bob.acquire()
    assert "bob@laptop" in refused(lock_of(ssm, "eve")).why


def test_lock_of_a_command_that_died_here_is_taken_at_once(ssm: FakeSsm) -> None:
    crashed = lock_of(ssm)
    crashed.acquire()
    refused(lock_of(ssm, "bob"))
    again = lock_of(ssm, dead=crashed.holder)
    again.acquire()
    refused(lock_of(ssm, dead=crashed.holder))
    again.renew()


def test_this_machines_clock_decides_nothing(ssm: FakeSsm) -> None:
    """Neither a wrong clock here nor one that runs ahead takes a lock over."""
    lock_of(ssm).acquire()
    refused(lock_of(ssm, "bob", clock=lambda: 1e9))
    ssm.seconds = LEASE + GRACE + 1
    lock_of(ssm, "bob", clock=lambda: -1e9).acquire()


def test_holder_asks_aws_only_when_the_lease_has_run_out(ssm: FakeSsm) -> None:
    lock = lock_of(ssm)
    lock.acquire()
    before = len(ssm.requests)
    ssm.seconds = LEASE - 1
    lock.check()
    assert len(ssm.requests) == before
    ssm.seconds = LEASE
    lock.check()
    assert ssm.requests[before:] == ["get_parameter", "put_parameter", "get_parameter"]


def test_labs_parameter_that_is_no_lock_is_an_error(ssm: FakeSsm) -> None:
    ssm.versions[NAME] = {1: ("hello", ssm.now)}
    error = refused(lock_of(ssm), "can't be read")
    assert f"aws ssm delete-parameter --name {NAME}" in error.hint
    assert len(ssm.versions[NAME]) == 1


def test_lock_without_permission_is_an_error_with_the_policies(ssm: FakeSsm) -> None:
    ssm.errors["get_parameter"] = [client_error("AccessDeniedException")]
    error = refused(lock_of(ssm), "can't be taken")
    assert "AccessDeniedException" in error.why
    assert "docs/aws.md" in error.hint


def test_hundred_renewals_lose_nothing(ssm: FakeSsm) -> None:
    lock = lock_of(ssm)
    lock.acquire()
    for _ in range(250):
        ssm.seconds += 30
        lock.renew()
    refused(lock_of(ssm, "bob"))
    lock.release()
    lock_of(ssm, "bob").acquire()


# --- races


def test_one_of_two_creates_the_lock(ssm: FakeSsm) -> None:
    one, other = lock_of(ssm), lock_of(ssm, "bob")
    ssm.before["put_parameter"] = [other.acquire]
    assert "bob@laptop" in refused(one).why
    other.renew()


def test_one_of_two_takes_an_expired_lock_over(ssm: FakeSsm) -> None:
    lock_of(ssm).acquire()
    ssm.seconds = LEASE + GRACE + 1
    one, other = lock_of(ssm, "bob"), lock_of(ssm, "eve")
    # eve reads and writes after bob has read and before he writes
    ssm.before["put_parameter"] = [other.acquire]
    assert "eve@laptop" in refused(one).why
    # bob's late claim is the newest version, and changes nothing
    assert "bob@laptop" in ssm.versions[NAME][3][0]
    assert "eve@laptop" in refused(lock_of(ssm, "joe")).why
    other.check()
    other.renew()
    assert "eve@laptop" in refused(lock_of(ssm, "joe")).why
    other.release()
    lock_of(ssm, "joe").acquire()


def test_one_of_two_takes_a_free_lock_over(ssm: FakeSsm) -> None:
    first = lock_of(ssm)
    first.acquire()
    first.release()
    one, other = lock_of(ssm, "bob"), lock_of(ssm, "eve")
    ssm.before["put_parameter"] = [other.acquire]
    assert "eve@laptop" in refused(one).why
    other.renew()


def test_renewal_that_comes_first_beats_a_takeover(ssm: FakeSsm) -> None:
    holder, other = lock_of(ssm), lock_of(ssm, "bob")
    holder.acquire()
    ssm.seconds = LEASE + GRACE + 1
    ssm.before["put_parameter"] = [holder.renew]
    assert "ann@laptop" in refused(other).why
    holder.renew()


def test_takeover_that_comes_first_beats_a_renewal(ssm: FakeSsm) -> None:
    holder, other = lock_of(ssm), lock_of(ssm, "bob", "down")
    holder.acquire()
    ssm.seconds = LEASE + GRACE + 1
    ssm.before["put_parameter"] = [other.acquire]
    error = lost(holder)
    assert error.why.startswith("it wasn't renewed in time, and `down` of bob@laptop")
    assert "ann@laptop" in ssm.versions[NAME][3][0]
    other.renew()


def test_holder_that_slept_writes_nothing_once_another_has_the_lock(ssm: FakeSsm) -> None:
    holder, other = lock_of(ssm), lock_of(ssm, "bob")
    holder.acquire()
    ssm.seconds = 1000
    other.acquire()
    with pytest.raises(LabError, match="no longer holds"):
        holder.check()
    holder.release()
    assert sorted(ssm.versions[NAME]) == [1, 2]
    other.renew()


def test_holder_that_slept_goes_on_if_nobody_took_the_lock(ssm: FakeSsm) -> None:
    holder = lock_of(ssm)
    holder.acquire()
    ssm.seconds = 1000
    holder.check()
    refused(lock_of(ssm, "bob"))


def test_write_that_was_sent_twice_is_ours(ssm: FakeSsm) -> None:
    """botocore sends a request again when its answer got lost."""
    holder = lock_of(ssm)
    holder.acquire()
    for newest in (3, 5):
        ssm.twice = True
        holder.renew()
        assert max(ssm.versions[NAME]) == newest
    refused(lock_of(ssm, "bob"))
    holder.release()
    lock_of(ssm, "bob").acquire()


def test_lock_whose_creation_was_sent_twice_is_ours(ssm: FakeSsm) -> None:
    ssm.lost["put_parameter"] = [client_error("ParameterAlreadyExists")]
    holder = lock_of(ssm)
    holder.acquire()
    holder.check()
    refused(lock_of(ssm, "bob"))


def test_renewal_finds_that_the_lock_was_deleted(ssm: FakeSsm) -> None:
    holder, other = lock_of(ssm), lock_of(ssm, "bob")
    holder.acquire()
    holder.renew()
    del ssm.versions[NAME]
    assert lost(holder).why == "its parameter was deleted"
    # what the renewal wrote is nobody's lock
    assert sorted(ssm.versions[NAME]) == [1]
    other.acquire()
    other.renew()


def test_holder_whose_lock_was_deleted_and_created_anew_stops(ssm: FakeSsm) -> None:
    """Versions begin again at 1, so the renewal gets just the number that it would have had."""
    holder, other = lock_of(ssm), lock_of(ssm, "bob")
    holder.acquire()
    del ssm.versions[NAME]
    other.acquire()
    assert "bob@laptop" in lost(holder).why
    assert sorted(ssm.versions[NAME]) == [1, 2]
    other.renew()
    refused(lock_of(ssm, "eve"))


def test_lock_is_not_deleted_unless_its_lease_is_fresh(ssm: FakeSsm) -> None:
    holder, other = lock_of(ssm), lock_of(ssm, "bob")
    holder.acquire()
    del ssm.versions[SECRET]
    ssm.seconds = LEASE + GRACE + 1
    other.acquire()
    with pytest.raises(LabError, match="no longer holds"):
        holder.release()
    other.renew()
    before = len(ssm.requests)
    ssm.seconds += 100
    other.release()
    assert ssm.requests[before:] == ["put_parameter", "get_parameter", "get_parameters_by_path", "delete_parameter"]


def test_lock_is_created_soon_after_it_was_deleted(ssm: FakeSsm) -> None:
    """For 30 s AWS may refuse it."""
    ssm.errors["put_parameter"] = [client_error("ParameterAlreadyExists") for _ in range(10)]
    lock_of(ssm).acquire()
    assert 27 <= ssm.seconds <= 36


def test_lock_that_is_never_created_is_an_error(ssm: FakeSsm) -> None:
    ssm.errors["put_parameter"] = [client_error("TooManyUpdates") for _ in range(100)]
    assert "timed out" in refused(lock_of(ssm), "can't be taken").why


def test_failed_renewal_counts_only_when_the_lease_has_run_out(ssm: FakeSsm) -> None:
    holder = lock_of(ssm)
    holder.acquire()
    ssm.errors["put_parameter"] = [client_error("InternalServerError"), client_error("ThrottlingException")]
    with pytest.raises(Exception, match="InternalServerError"):
        holder.renew()
    holder.check()
    ssm.seconds = LEASE
    with pytest.raises(LabError, match="can't renew the lab's lock"):
        holder.check()
    holder.check()


def test_unreachable_aws_is_said_as_such(ssm: FakeSsm) -> None:
    holder = lock_of(ssm)
    holder.acquire()
    ssm.seconds = LEASE
    ssm.errors["get_parameter"] = [Unreachable("AWS doesn't answer")]
    with pytest.raises(Unreachable):
        holder.check()


# --- on moto


def test_only_one_of_many_threads_has_the_lock(account: Account) -> None:
    inside: list[int] = []
    together: list[int] = []
    start = threading.Barrier(6)

    def contend(number: int) -> None:
        client = account("ssm")
        start.wait(30)
        for _ in range(8):
            owner = Owner("arn", f"thread {number}", number, "up")
            lock = AccountLock(client, "blue", owner, wait=lambda _: None)
            try:
                lock.acquire()
            except LabError:
                continue
            inside.append(1)
            together.append(len(inside))
            lock.renew()
            inside.pop()
            lock.release()

    account("ssm").put_parameter(Name=SECRET, Value="secret", Type="String")
    threads = [threading.Thread(target=contend, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert set(together) == {1}
    assert len(together) >= 2


def test_expired_lock_is_taken_over_by_one_of_many_threads(account: Account) -> None:
    crashed = AccountLock(account("ssm"), "blue", Owner("arn", "ann@laptop", 1, "up"), lease=-60.0)
    crashed.acquire()
    start = threading.Barrier(6)
    holders: list[AccountLock] = []

    def contend(number: int) -> None:
        lock = AccountLock(account("ssm"), "blue", Owner("arn", f"thread {number}", number, "up"), wait=lambda _: None)
        start.wait(30)
        try:
            lock.acquire()
        except LabError:
            return
        holders.append(lock)

    threads = [threading.Thread(target=contend, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(holders) == 1
    holders[0].renew()
    found = account("ssm").get_parameter(Name=NAME)["Parameter"]
    assert abs(found["LastModifiedDate"] - datetime.now(timezone.utc)) < timedelta(minutes=5)
    tags = account("ssm").list_tags_for_resource(ResourceType="Parameter", ResourceId=NAME)["TagList"]
    assert tags == [{"Key": "ecsconsul:lab", "Value": "blue"}]
