"""Holds the lab's lock in the account while a command runs: renews its lease, and gives it back however that ends."""

from __future__ import annotations

import contextlib
import getpass
import os
import signal
import socket
import threading
from collections.abc import Iterator

from ...errors import LabError
from ..client_errors import client_error
from .account_lock import AccountLock, Owner

RENEW_EVERY = 30.0
# longer than all attempts of a request that is under way
JOIN_SECONDS = 60.0


def owner(arn: str, command: str) -> Owner:
    """This process, as others read it."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # a container's user often has no name
        user = str(os.getuid())
    return Owner(arn, f"{user}@{socket.gethostname()}", os.getpid(), command or "a command")


@contextlib.contextmanager
def kept(lock: AccountLock, *, every: float = RENEW_EVERY) -> Iterator[None]:
    """Hold the lock while the context lasts. Raises LabError if another command has it."""
    stop = threading.Event()
    renewer = threading.Thread(target=_renew, args=(lock, stop, every), name="lease", daemon=True)
    with _until_terminated():
        try:
            lock.acquire()
            renewer.start()
            yield
        finally:
            stop.set()
            if renewer.ident:
                renewer.join(JOIN_SECONDS)
            # the command has its own result; what isn't given back expires
            with contextlib.suppress(LabError, client_error()):
                lock.release()


def _renew(lock: AccountLock, stop: threading.Event, every: float) -> None:
    while not stop.wait(every):
        # A failure may pass before the lease has run out. Once it has, or if the lock is lost, `check` says so.
        with contextlib.suppress(LabError, client_error()):
            lock.renew()


@contextlib.contextmanager
def _until_terminated() -> Iterator[None]:
    """SIGTERM ends the command as Ctrl-C does, so that it gives the lock back."""
    is_ours = (
        threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    )
    if is_ours:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        if is_ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
