"""A command holds the lab's lock in the account for as long as it runs, and gives it back however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ecsconsul.errors import LabError
from ecsconsul.targets.aws.account_lock import LEASE, AccountLock, Owner
from ecsconsul.targets.aws.lease import kept, owner
from ecsconsul.targets.aws.target import AwsTarget
from tests.targets.aws.conftest import lab_of
from tests.targets.aws.ssm_fake import FakeSsm, client_error
from tests.targets.aws.test_account_lock import NAME, SECRET, lock_of

Account = Callable[[str], Any]
TIMEOUT = 60.0


@pytest.fixture
def ssm() -> Iterator[FakeSsm]:
    found = FakeSsm()
    found.versions[SECRET] = {1: ("secret", found.now)}
    yield found


def is_free(ssm: FakeSsm) -> bool:
    return bool(json.loads(ssm.versions[NAME][max(ssm.versions[NAME])][0])["free"])


def written(ssm: FakeSsm, times: int) -> threading.Event:
    """Set once the lock has been written so many times more."""
    done = threading.Event()
    ssm.before["put_parameter"] = [*[lambda: None] * times, done.set]
    return done


def test_lease_is_renewed_while_the_command_runs(ssm: FakeSsm) -> None:
    with kept(lock_of(ssm), every=0.01):
        assert written(ssm, 5).wait(TIMEOUT)
        assert not is_free(ssm)
    assert is_free(ssm)
    assert not [thread for thread in threading.enumerate() if thread.name == "lease"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), LabError("no"), SystemExit(1)])
def test_lock_is_given_back_after_an_error(ssm: FakeSsm, error: BaseException) -> None:
    with pytest.raises(type(error)), kept(lock_of(ssm)):
        raise error
    assert is_free(ssm)


def test_renewal_is_tried_again(ssm: FakeSsm) -> None:
    lock = lock_of(ssm)
    with kept(lock, every=0.01):
        ssm.errors["put_parameter"] = [client_error("InternalServerError"), client_error("ThrottlingException")]
        assert written(ssm, 5).wait(TIMEOUT)
        lock.check()


def test_lost_lock_stops_the_command_and_stays_with_the_other(ssm: FakeSsm) -> None:
    lock, other = lock_of(ssm), lock_of(ssm, "bob")
    with kept(lock, every=3600):
        ssm.seconds = 2 * LEASE
        other.acquire()
        with pytest.raises(LabError, match="no longer holds"):
            lock.check()
    other.renew()


def test_refused_command_leaves_the_other_alone(ssm: FakeSsm) -> None:
    holder = lock_of(ssm)
    holder.acquire()
    with pytest.raises(LabError, match="Another command"), kept(lock_of(ssm, "bob")):
        pytest.fail("two hold it")
    holder.renew()


def test_failure_to_give_it_back_hides_nothing(ssm: FakeSsm) -> None:
    with kept(lock_of(ssm)):
        ssm.errors["put_parameter"] = [client_error("InternalServerError")]
    assert not is_free(ssm)


def test_owner_is_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "ann")
    found = owner("arn:me", "up")
    assert found == Owner("arn:me", f"ann@{os.uname().nodename}", os.getpid(), "up")


PROGRAM = """\
import sys, threading
from tests.targets.aws.conftest import lab_of
from ecsconsul.targets.aws.target import AwsTarget
with AwsTarget(lab_of(sys.argv[1])).lock("up"):
    print("held", flush=True)
    threading.Event().wait(60)
"""


@pytest.mark.parametrize(("number", "free"), [(signal.SIGTERM, True), (signal.SIGINT, True), (signal.SIGKILL, False)])
def test_signals_end_a_command_that_holds_it(account: Account, tmp_path: Path, number: int, free: bool) -> None:
    account("ssm").put_parameter(Name=SECRET, Value="secret", Type="String")
    argv = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        timer = threading.Timer(TIMEOUT, process.kill)
        timer.start()
        assert process.stdout.readline() == "held\n"
        with pytest.raises(LabError, match="Another command is changing this lab"):
            other_machine(tmp_path).acquire()
        process.send_signal(number)
        process.wait(TIMEOUT)
        timer.cancel()
    value = json.loads(account("ssm").get_parameter(Name=NAME)["Parameter"]["Value"])
    assert value["free"] is free
    # This machine knows that its command is dead.
    with AwsTarget(lab_of(tmp_path)).lock("up"):
        pass


def other_machine(folder: Path) -> AccountLock:
    """The lock as another machine sees it: without this one's file."""
    return AccountLock(AwsTarget(lab_of(folder)).client("ssm"), "blue", Owner("arn", "bob@desk", 1, "down"))


# --- as the target uses it


def test_target_leaves_nothing_of_a_lab_that_was_never_made(account: Account, tmp_path: Path) -> None:
    target = AwsTarget(lab_of(tmp_path))
    with target.lock("up"):
        value = json.loads(account("ssm").get_parameter(Name=NAME)["Parameter"]["Value"])
        assert (value["command"], value["pid"]) == ("up", os.getpid())
        assert value["arn"].startswith("arn:aws:")
        assert target.leftovers() == []
    assert account("ssm").describe_parameters()["Parameters"] == []


def test_lock_is_none_of_the_secrets(account: Account, tmp_path: Path) -> None:
    target = AwsTarget(lab_of(tmp_path))
    with target.lock("up"):
        target.bootstrap(lambda _: None)
        assert target.prerequisites()
        target.teardown(lambda _: None)
        names = [one["Name"] for one in account("ssm").describe_parameters()["Parameters"]]
        assert names == [NAME]
    assert account("ssm").describe_parameters()["Parameters"] == []


def test_no_request_is_sent_without_the_lock(account: Account, tmp_path: Path) -> None:
    target = AwsTarget(lab_of(tmp_path))
    client = target.client("ecs")
    with pytest.raises(LabError, match="the step failed"), target.lock("up"):
        client.list_clusters()
        raise LabError("the step failed")
    # a step's thread that is still busy
    with pytest.raises(LabError, match="has given the lab's lock back"):
        client.list_clusters()


def test_command_goes_on_after_the_lock(account: Account, tmp_path: Path) -> None:
    target = AwsTarget(lab_of(tmp_path))
    with target.lock("down"):
        pass
    assert target.leftovers() == []


def test_lock_that_another_took_over_stops_the_next_request(account: Account, tmp_path: Path) -> None:
    target = AwsTarget(lab_of(tmp_path))
    with pytest.raises(LabError, match="no longer holds the lab's lock"), target.lock("up"):
        account("ssm").delete_parameter(Name=NAME)
        other = other_machine(tmp_path)
        other.acquire()
        renew_now(target)
        target.client("ecs").list_clusters()
    other.renew()


def renew_now(target: AwsTarget) -> None:
    """What the renewing thread does every 30 s; it keeps its failures to itself."""
    guard = target._session.guard
    assert guard
    lock = guard.__self__  # type: ignore[attr-defined]
    with pytest.raises(LabError):
        lock.renew()
