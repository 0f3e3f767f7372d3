"""The `registrator` program: command line, signals, startup and shutdown."""

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
from .consul_client import ConsulClient
from .docker_client import DockerClient
from .flags import BadFlags, HelpRequested
from .log_format import configure
from .privileges import drop_privileges
from .reconciler import Reconciler, ReconcilerOptions
from .settings import FOREVER, Retry, Settings, VersionRequested, help_text, read_settings
from .status_page import StatusPage

log = logging.getLogger("ecsconsul.registrator")

PROGRAM = "registrator"
STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}
CLOSE_SECONDS = 8.0  # Docker kills a container ten seconds after asking it to stop


def main() -> None:
    """The console script. Exits with os._exit, because a request that hangs would keep the process alive."""
    code = run(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run(argv: Sequence[str]) -> int:
    """Run the Registrator with these arguments; returns the exit code."""
    try:
        settings = read_settings(argv, os.environ)
    except HelpRequested:
        return _print(help_text(PROGRAM), sys.stdout, ExitCode.DONE)
    except VersionRequested:
        return _print(f"{PROGRAM} (ecsconsul {__version__})\n", sys.stdout, ExitCode.DONE)
    except BadFlags as error:
        return _print(f"{error}\n\n{help_text(PROGRAM)}", sys.stderr, ExitCode.WRONG_USAGE)
    configure(settings.log_format, settings.log_level)
    try:
        return _serve(settings)
    except LabError as error:
        log.error("%s", error.what, extra={"where": error.where, "why": error.why})
        return error.exit_code


def _serve(settings: Settings) -> int:
    stop_requested = _on_signals()
    consul = ConsulClient(settings.consul, settings.token)
    docker = DockerClient(settings.docker, settings.label)
    if settings.user:
        drop_privileges(settings.user, filter(None, (settings.docker.socket, settings.consul.socket)))
    reconciler = Reconciler(docker, consul, reconciler_options(settings))
    page = StatusPage(*settings.status, reconciler.state) if settings.status else None
    log.info("starting", extra={"version": __version__, "consul": settings.consul, "docker": settings.docker})
    if not keep_trying(reconciler.start, settings.retry, stop_requested):
        return ExitCode.DONE
    failed = _wait(stop_requested, reconciler.ended)
    log.info("stopping", extra={"services": "kept" if settings.keep_on_exit else "deregistered"})
    reconciler.close(keep=settings.keep_on_exit or failed, seconds=CLOSE_SECONDS)
    if page is not None:
        page.close()
    return ExitCode.FAILED if failed else ExitCode.DONE


def reconciler_options(settings: Settings) -> ReconcilerOptions:
    """The settings that concern the reconciler."""
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


def keep_trying(start: Callable[[], None], retry: Retry, stop_requested: threading.Event) -> bool:
    """Start, with retries; False if a stop was requested meanwhile. Raises the last LabError."""
    attempt = 0
    while not stop_requested.is_set():
        try:
            start()
            return True
        except LabError as error:
            if retry.attempts != FOREVER and attempt >= retry.attempts:
                raise
            attempt += 1
            log.warning("can't start yet, retrying", extra={"attempt": attempt, "error": str(error)})
        stop_requested.wait(retry.interval)
    return False


def _on_signals() -> threading.Event:
    """An event that is set when the process receives a stop signal.

    A thread waits for the signals, because a handler runs in the main thread, which may hold the event's lock at that
    moment. Threads that start after this one inherit the blocked signals.
    """
    received = threading.Event()
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)

    def wait() -> None:
        signal.sigwait(STOP_SIGNALS)
        received.set()

    threading.Thread(target=wait, name="signals", daemon=True).start()
    return received


def _wait(stop_requested: threading.Event, ended: threading.Event) -> bool:
    """Wait for a stop request; True if the reconciler failed instead."""

    def stop_when_ended() -> None:
        ended.wait()
        stop_requested.set()

    threading.Thread(target=stop_when_ended, daemon=True).start()
    stop_requested.wait()
    return ended.is_set()


def _print(text: str, stream: object, code: int) -> int:
    print(text, end="", file=stream)  # type: ignore[call-overload]
    return code
