"""Starts and stops the region's process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from ...errors import LabError
from ...paths import HOME_VARIABLE, open_private, state_folder
from ...region import task_logs
from ...region.runtimes.addresses import SHARED_ADDRESS_VARIABLE
from ...region.runtimes.lab_dir import LabDir, RegionInfo, RegionSpec
from ...region.runtimes.lab_processes import await_line, environment, send_input, stop_process
from ..base import Say
from .liveness import why_silent

START_TIMEOUT = 60.0
STOP_TIMEOUT = 60.0
RELOAD_TIMEOUT = 60.0
# for each of five servers that are restarted
RESTORE_TIMEOUT = 160.0


def start_region(lab_dir: LabDir, spec: RegionSpec, meanwhile: Callable[[], None]) -> None:
    """Start the region and wait until it answers; `meanwhile` is called while it starts. Raises LabError."""
    spec = replace(spec, key_is_new=lab_dir.ensure_access_key())
    lab_dir.logs.mkdir(mode=0o700, exist_ok=True)
    log = lab_dir.region_log
    with open_private(log) as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "ecsconsul.region"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment(lab_dir.root, _variables()),
            cwd="/",
            start_new_session=True,
        )
    send_input(process, msgspec.json.encode(spec))
    meanwhile()
    await_line(process, START_TIMEOUT)
    if not (lab_dir.info() or _await_other(lab_dir)):
        raise LabError(
            "The local region does not start",
            where=str(log),
            why="\n".join(task_logs.tail(log, 8)) or f"no answer within {START_TIMEOUT:.0f} s",
            hint="`ecsconsul down` removes what is left of it; then run `ecsconsul up` again",
        )


def stop_region(lab_dir: LabDir, say: Say) -> None:
    """Stop the region, if there is one; a region that hangs is killed at once."""
    info = lab_dir.info()
    if info:
        hangs = bool(why_silent(info))
        say("killing the region, which does not answer" if hangs else "stopping the region")
        stop_process(info.pid, 0.0 if hangs else STOP_TIMEOUT)


def reload_secrets(lab_dir: LabDir, generation: str) -> None:
    """Let the region use its new secrets, and wait until all its parts do. Raises LabError."""
    info = lab_dir.info()
    if info and info.secrets != generation:
        os.kill(info.pid, signal.SIGHUP)
    if not _await_info(lab_dir, lambda now: now.secrets == generation, RELOAD_TIMEOUT):
        hint = "run `ecsconsul rotate` again: both generations are valid until it has finished"
        raise _not_done(lab_dir, "The local region does not use the new secrets", hint)


def restart_servers(lab_dir: LabDir) -> None:
    """Let the region restart Consul's servers after a restore, and wait until they're back. Raises LabError."""
    before = lab_dir.info()
    if before:
        os.kill(before.pid, signal.SIGUSR1)
    if before is None or not _await_info(lab_dir, lambda now: now.restores != before.restores, RESTORE_TIMEOUT):
        hint = "run `ecsconsul snapshot restore` again"
        raise _not_done(lab_dir, "The local region hasn't restarted Consul's servers", hint)


def reread_schedule(lab_dir: LabDir) -> None:
    """Let the region read again when it makes snapshots."""
    info = lab_dir.info()
    if info:
        os.kill(info.pid, signal.SIGUSR2)


def _await_info(lab_dir: LabDir, is_done: Callable[[RegionInfo], bool], seconds: float) -> bool:
    """Whether what the region publishes of itself becomes so in time, and the region lives until then."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and lab_dir.is_alive():
        # one that starts has published nothing yet
        if (info := lab_dir.info()) and is_done(info):
            return True
        time.sleep(0.05)
    return False


def _not_done(lab_dir: LabDir, what: str, hint: str) -> LabError:
    why = "\n".join(task_logs.tail(lab_dir.region_log, 3)) or "it does not say why"
    return LabError(what, where=str(lab_dir.region_log), why=why, hint=hint)


def _await_other(lab_dir: LabDir) -> bool:
    """Whether another `up`, which started first (and may have been killed since), has started a region."""
    return _await_info(lab_dir, lambda info: True, START_TIMEOUT)


def _variables() -> dict[str, str]:
    variables = {HOME_VARIABLE: str(state_folder())}
    if SHARED_ADDRESS_VARIABLE in os.environ:
        variables[SHARED_ADDRESS_VARIABLE] = os.environ[SHARED_ADDRESS_VARIABLE]
    return variables


def clear_engine(home: LabDir, say: Say, *, images: bool) -> None:
    """Remove what an earlier region left on the Docker engine, after a crash or with another runtime."""
    from ...docker.engine import engine_url
    from ...region.runtimes.docker.agent_image import clear_left

    clear_left(engine_url(), home.lab, home.root, say, images=images)
