"""The Registrator as a program: from its command line to its last word; what it does meanwhile is sync's business."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from .. import __version__
from ..errors import ExitCode, LabError
from .consul_client import Agent
from .docker_client import Engine
from .flags import BadFlags, HelpWanted
from .log_format import set_up
from .privileges import become
from .reconciler import Reconciler, ReconcilerOptions
from .settings import FOREVER, Retry, Settings, VersionWanted, help_text, read_settings
from .status_page import StatusPage

log = logging.getLogger("ecsconsul.registrator")

PROGRAM = "registrator"
ENDING = {signal.SIGTERM, signal.SIGINT}
LEAVE_SECONDS = 8.0  # Docker kills a container ten seconds after it asked it to stop


def main() -> None:
    """The console script. Ends the process by itself: a request that hangs must not keep it."""
    code = run(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run(argv: Sequence[str]) -> int:
    """Everything from the words after the program's name to the exit code."""
    try:
        settings = read_settings(argv, os.environ)
    except HelpWanted:
        return _say(help_text(PROGRAM), sys.stdout, ExitCode.DONE)
    except VersionWanted:
        return _say(f"{PROGRAM} (ecsconsul {__version__})\n", sys.stdout, ExitCode.DONE)
    except BadFlags as error:
        return _say(f"{error}\n\n{help_text(PROGRAM)}", sys.stderr, ExitCode.WRONG_USAGE)
    set_up(settings.log_format, settings.log_level)
    try:
        return _serve(settings)
    except LabError as error:
        log.error("%s", error.what, extra={"where": error.where, "why": error.why})
        return error.exit_code


def _serve(settings: Settings) -> int:
    asked_to_end = _on_signals()
    agent = Agent(settings.consul, settings.token)
    engine = Engine(settings.docker, settings.label)
    if settings.user:
        become(settings.user, filter(None, (settings.docker.socket, settings.consul.socket)))
    sync = Reconciler(engine, agent, sync_options(settings))
    page = StatusPage(*settings.status, sync.state) if settings.status else None
    log.info("starting", extra={"version": __version__, "consul": settings.consul, "docker": settings.docker})
    if not keep_trying(sync.start, settings.retry, asked_to_end):
        return ExitCode.DONE
    broken = _wait(asked_to_end, sync.ended)
    log.info("ending", extra={"services": "kept" if settings.keep_on_exit else "taken out"})
    sync.close(keep=settings.keep_on_exit or broken, seconds=LEAVE_SECONDS)
    if page is not None:
        page.close()
    return ExitCode.FAILED if broken else ExitCode.DONE


def sync_options(settings: Settings) -> ReconcilerOptions:
    """What the sync needs of the settings."""
    rules = replace(
        settings.options,
        hostname=settings.options.hostname or socket.gethostname(),
        host_address="" if settings.options.internal else settings.options.ip,
    )
    return ReconcilerOptions(
        rules=rules,
        deregister_failed=settings.deregister_failed,
        cleanup=settings.cleanup,
        resync=settings.resync,
        stop_timeout=settings.stop_timeout,
    )


def keep_trying(start: Callable[[], None], retry: Retry, asked_to_end: threading.Event) -> bool:
    """Start, again and again as told; False when it was asked to end meanwhile. Raises the last LabError."""
    attempt = 0
    while not asked_to_end.is_set():
        try:
            start()
            return True
        except LabError as error:
            if retry.attempts != FOREVER and attempt >= retry.attempts:
                raise
            attempt += 1
            log.warning("cannot start yet", extra={"attempt": attempt, "error": str(error)})
        asked_to_end.wait(retry.interval)
    return False


def _on_signals() -> threading.Event:
    """Set when the process is asked to end.

    A thread waits for the signals. A handler would not do: it runs in the main thread, which may hold the event's lock
    just then, or be about to sleep and miss it. All threads that are begun from now on leave them to that thread.
    """
    asked = threading.Event()
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)

    def wait() -> None:
        signal.sigwait(ENDING)
        asked.set()

    threading.Thread(target=wait, name="signals", daemon=True).start()
    return asked


def _wait(asked_to_end: threading.Event, ended: threading.Event) -> bool:
    """Until it is asked to end; True when it has ended by itself, which should not happen."""

    def end_with_it() -> None:
        ended.wait()
        asked_to_end.set()

    threading.Thread(target=end_with_it, daemon=True).start()
    asked_to_end.wait()
    return ended.is_set()


def _say(text: str, stream: object, code: int) -> int:
    print(text, end="", file=stream)  # type: ignore[call-overload]
    return code
