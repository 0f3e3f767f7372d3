"""The lab's lock in its account, so that two people on two machines don't change one lab at once.

The lock is the parameter `/ecsconsul/<lab>/operator/lock` in SSM, which knows two things that exclude others: to create
a parameter only if there is none, and version numbers, one higher with each write
(https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-versions.html). It can neither write nor
delete on condition of a version. So a write can't be prevented from coming too late; but everybody can see that it did:

- Each version is a *claim*, with an id of its own. It names the id of the claim that it follows, as its writer read it.
- A claim is valid if that is the last valid one before it; the others are as if they had never been written. The last
  valid claim is the state of the lock: who holds it, or that it is free.

A claim that follows the version right before its own is valid, because its writer read that one as valid. It is nearly
always so, and seen by reading two versions. Otherwise the versions before are read too; SSM keeps the last 100.

What can happen at the same time:

- Two commands want a lock that doesn't exist: one creates it, the other gets ParameterAlreadyExists.
- Two take over an expired or free lock of version 5. They get 6 and 7, both follow 5: 6 is valid, and who got 7 knows.
- A holder renews its lease while another takes the lock over: whichever SSM numbered first is valid.
- A holder sleeps (a suspended laptop) and writes after somebody took over: its claim isn't valid, it learns so, and the
  one who took over doesn't notice. Before it writes again after such a sleep, it reads.
- SSM did a write and its answer got lost, so botocore wrote again: the first of the two is valid, and ours.
- The holder deletes the parameter, after `down`. That destroys all claims, so it only does so with a fresh lease. If it
  were held up for the whole lease within this one request, or if a person deletes the parameter, a claim of somebody
  else goes too. Versions begin again at 1, but not ids: that command's next renewal follows nothing, and it stops.

When a lease expires is AWS's clock alone: its `Date` header and the time that SSM gives each version. The holder itself
counts from the start of its last request, with a clock that goes on while the machine sleeps, so it gives up first.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, NoReturn

import msgspec

from ...aws_tags import LAB_TAG, as_items
from ...errors import LabError
from ...polling import PollingPolicy, poll_until
from ..client_errors import client_error, error_code, items_of
from .session import refused
from .ssm_parameter import folder_of

# below the lab's folder, where only whoever runs ecsconsul may read and write
LOCK = "operator/lock"
LEASE = 180.0
# what others wait beyond the lease: AWS's servers have clocks of their own, and `Date` is in whole seconds
GRACE = 10.0
# Deletes only with this much of the lease left: more than all attempts of a request take.
TO_DELETE = 120.0
# "After deleting a parameter, wait for at least 30 seconds to create a parameter with the same name":
# https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_DeleteParameter.html
ACQUIRING = PollingPolicy(delay=3.0, attempts=13)
_ABSENT = {"ParameterNotFound", "ParameterVersionNotFound"}
# what another writer or a deletion at the same moment answers with
_NOT_NOW = {"ParameterAlreadyExists", "TooManyUpdates", *_ABSENT}


class Owner(NamedTuple):
    """Who holds a lock: the caller's ARN, user@host, the process, and the command."""

    arn: str
    at: str
    pid: int
    command: str


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """The value of one version of the parameter. `id` and `holder` are random, one for each write and for each run."""

    id: str
    follows: str
    holder: str
    seconds: float
    free: bool = False
    arn: str = ""
    at: str = ""
    pid: int = 0
    command: str = ""
    since: str = ""
    until: str = ""


class Record(NamedTuple):
    """A claim, and what SSM knows of it."""

    version: int
    claim: Claim
    modified: datetime


class Seen(NamedTuple):
    """The parameter's newest version (0: there is none), the last valid claim, and what time it is in AWS."""

    top: int
    valid: Record | None
    now: datetime

    @property
    def is_held(self) -> bool:
        """Whether somebody holds the lock and isn't over the time."""
        return bool(self.valid and not self.valid.claim.free and self.left + GRACE >= 0)

    @property
    def left(self) -> float:
        """The seconds that the lease still has; negative once it has expired."""
        if self.valid is None:
            return 0.0
        return self.valid.claim.seconds - (self.now - self.valid.modified).total_seconds()


def last_valid(records: Iterable[Record], before: str) -> Record | None:
    """The last valid claim of successive versions; `before` is the id of the valid one before them, or empty."""
    found = None
    for record in records:
        if record.claim.follows == before:
            found, before = record, record.claim.id
    return found


def uptime() -> float:
    """Seconds by a clock that goes on while the machine sleeps: time.monotonic() doesn't."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class AccountLock:
    """The lock of one lab, for one run of a command. `check`, `renew` and `release` may be called by any thread.

    `ssm` must answer within a bounded time; `lease` and the clock are seconds. `dead` is the `holder` of a command that
    certainly runs no more: its lock is taken at once.
    """

    def __init__(
        self,
        ssm: Any,
        lab: str,
        owner: Owner,
        *,
        dead: str = "",
        lease: float = LEASE,
        clock: Callable[[], float] = uptime,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._ssm = ssm
        self._lab = lab
        self._owner = owner
        self._lease = lease
        self._clock = clock
        self._wait = wait
        self.name = f"{folder_of(lab)}/{LOCK}"
        self.holder = uuid.uuid4().hex
        # set once the lab has been removed
        self.lab_is_gone = False
        self._dead = dead
        self._mutex = threading.Lock()
        # of our last valid claim; empty: we don't hold the lock
        self._id = ""
        self._since = ""
        self._deadline = 0.0
        # AWS's time in its last answer, and ours then
        self._dated = (datetime.now(timezone.utc), clock())
        self._over: LabError | None = None

    def acquire(self) -> None:
        """Take the lock. Raises LabError if another command holds it, or the caller may not write it."""
        try:
            poll_until(self._try, ACQUIRING, self._wait)
        except TimeoutError as error:
            raise self._error(
                "The lab's lock can't be taken", f"its parameter changes all the time; {error}"
            ) from error
        except client_error() as error:
            raise refused("The lab's lock can't be taken", error, where=self._where) from error

    def check(self) -> None:
        """Raises LabError unless this command still holds the lock. Asks AWS only when the lease has run out."""
        if self._over:
            raise self._over
        if self._clock() >= self._deadline:
            try:
                self.renew()
            except client_error() as error:
                raise self._error("This command can't renew the lab's lock", str(error)) from error

    def renew(self) -> None:
        """Make the lease as long as at first. Raises LabError when the lock is lost or AWS unreachable, ClientError."""
        with self._mutex:
            if self._over:
                raise self._over
            self._renew()

    def release(self) -> None:
        """Give the lock back; from then on `check` raises. Safe to repeat. Raises LabError, ClientError."""
        with self._mutex:
            if self._id and not self._over:
                self._over = self._error("This command has given the lab's lock back", "it has ended")
                self._release()

    def _try(self) -> bool | None:
        """True if the lock is ours now, None if it's worth another attempt."""
        try:
            seen = self._read()
            if seen.is_held and seen.valid and seen.valid.claim.holder not in (self.holder, self._dead):
                raise self._held(seen, seen.valid)
            self._since = _text(seen.now)
            valid = self._write(seen.valid.claim.id if seen.valid else "", create=not seen.top)
        except client_error() as error:
            if error_code(error) not in _NOT_NOW:
                raise
            return None
        return self._is_ours(valid) or None

    def _is_ours(self, valid: Record | None) -> bool:
        return valid is not None and valid.claim.holder == self.holder

    def _renew(self) -> None:
        if self._clock() >= self._deadline:
            # Most likely somebody else has the lock: don't write then.
            found = self._read().valid
            if not self._is_ours(found):
                self._lose(found)
        valid = self._write(self._id)
        if not self._is_ours(valid):
            self._lose(valid)

    def _release(self) -> None:
        if self._clock() >= self._deadline - TO_DELETE:
            self._renew()
        if self.lab_is_gone or self._is_alone():
            self._ssm.delete_parameter(Name=self.name)
        else:
            # To delete it would have the next command wait until AWS lets it be created again.
            self._write(self._id, free=True)

    def _is_alone(self) -> bool:
        """Whether the lab has no other parameters: it has been removed, or was never made."""
        request = {"Path": folder_of(self._lab), "Recursive": True, "WithDecryption": False}
        found = items_of(self._ssm, "get_parameters_by_path", "Parameters", **request)
        return all(one["Name"] == self.name for one in found)

    def _lose(self, valid: Record | None) -> NoReturn:
        """Raises LabError, now and from now on."""
        why = "its parameter was deleted"
        if valid:
            why = f"it wasn't renewed in time, and {_described(valid.claim)} has taken it over"
        self._over = self._error("This command no longer holds the lab's lock", why)
        raise self._over

    # the parameter

    def _read(self) -> Seen:
        try:
            answer = self._ssm.get_parameter(Name=self.name)
        except client_error() as error:
            if error_code(error) not in _ABSENT:
                raise
            return Seen(0, None, self._date(getattr(error, "response", {})))
        record = self._record(answer)
        # the time first: the claims before cost requests
        now = self._date(answer)
        return Seen(record.version, self._valid(record), now)

    def _write(self, follows: str, *, create: bool = False, free: bool = False) -> Record | None:
        """Write a claim; returns the last valid one, which is ours if that came in time. Raises ClientError."""
        claim = self._claim(follows, free=free)
        tags = as_items({LAB_TAG: self._lab}, key="Key", value="Value")
        # SSM takes no tags together with Overwrite
        more: dict[str, Any] = {"Tags": tags} if create else {"Overwrite": True}
        begun = self._clock()
        answer = self._ssm.put_parameter(
            Name=self.name,
            Description="Says which command is changing the lab",
            Type="String",
            Value=msgspec.json.encode(claim).decode(),
            **more,
        )
        valid = self._valid(Record(int(answer["Version"]), claim, self._date(answer)))
        if valid and self._is_ours(valid):
            self._id, self._deadline = valid.claim.id, begun + self._lease
        return valid

    def _valid(self, newest: Record) -> Record | None:
        """The last valid claim up to this one."""
        records = [newest]
        while records[0].version > 1:
            before = self._record(self._ssm.get_parameter(Name=f"{self.name}:{records[0].version - 1}"))
            if before.claim.id == records[0].claim.follows:
                return last_valid(records, before.claim.id)
            records.insert(0, before)
        return last_valid(records, "")

    def _claim(self, follows: str, *, free: bool) -> Claim:
        date, then = self._dated
        until = date + timedelta(seconds=self._clock() - then + self._lease)
        who = {**self._owner._asdict(), "since": self._since, "until": _text(until)}
        one = Claim(id=uuid.uuid4().hex, follows=follows, holder=self.holder, seconds=self._lease, free=free)
        return one if free else msgspec.structs.replace(one, **who)

    def _record(self, answer: dict[str, Any]) -> Record:
        found = answer["Parameter"]
        try:
            claim = msgspec.json.decode(found["Value"], type=Claim)
        except msgspec.DecodeError as error:
            hint = f"`aws ssm delete-parameter --name {self.name}` removes it, if no command is changing the lab"
            raise LabError("The lab's lock can't be read", where=self._where, why=str(error), hint=hint) from error
        return Record(int(found["Version"]), claim, found["LastModifiedDate"])

    def _date(self, answer: dict[str, Any]) -> datetime:
        """AWS's time. Only an emulator may answer without `Date`; its clock is this machine's, or beside it."""
        header = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
        date = parsedate_to_datetime(header) if header else datetime.now(timezone.utc)
        self._dated = (date, self._clock())
        return date

    # errors

    @property
    def _where(self) -> str:
        return f"lab {self._lab}, SSM parameter {self.name}"

    def _error(self, what: str, why: str) -> LabError:
        hint = "`ecsconsul status` shows the lab; the same command goes on from there once nobody else changes it"
        return LabError(what, where=self._where, why=why, hint=hint)

    def _held(self, seen: Seen, valid: Record) -> LabError:
        claim, silent = valid.claim, (seen.now - valid.modified).total_seconds()
        age = f"for {_span((seen.now - _time(claim.since, valid.modified)).total_seconds())}"
        why = f"{_described(claim)} has held its lock {age}, and last renewed it {_span(silent)} ago"
        hint = f"wait until it has finished; if it was killed, its lock expires in {_span(seen.left + GRACE)}"
        return LabError("Another command is changing this lab", where=self._where, why=why, hint=hint)


def _described(claim: Claim) -> str:
    return f"`{claim.command}` of {claim.at} (process {claim.pid}, {claim.arn})" if claim.command else "another command"


def _text(when: datetime) -> str:
    return when.astimezone(timezone.utc).isoformat(timespec="seconds")


def _time(text: str, otherwise: datetime) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return otherwise
    return found if found.tzinfo else otherwise


def _span(seconds: float) -> str:
    whole = max(0, round(seconds))
    if whole < 120:
        return f"{whole} s"
    minutes = whole // 60
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
