"""The program: exit codes, retries at startup, and shutdown."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ecsconsul.errors import LabError
from ecsconsul.registrator.program import keep_trying, reconciler_options, run
from ecsconsul.registrator.settings import FOREVER, Retry, read_settings
from tests.registrator.conftest import Harness, eventually

TIMEOUT = 60.0


@contextmanager
def spawn(harness: Harness, *flags: str) -> Iterator[subprocess.Popen[str]]:
    """The program, connected to the harness's servers; killed at the end of the context."""
    argv = [sys.executable, "-m", "ecsconsul.registrator", "-log-format=json", "-hostname=host", *flags]
    environment = {**os.environ, "DOCKER_HOST": harness.docker.url}
    uri = f"consul://127.0.0.1:{harness.consul.port}"
    with subprocess.Popen([*argv, uri], env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("line", "code", "out", "err"),
    [
        ("", 2, "", "missing required argument for registry URI"),
        ("consul://a consul://b", 2, "", "extra unparsed arguments: consul://b"),
        ("-nope consul://a", 2, "", "flag provided but not defined: -nope"),
        ("-ttl 5 consul://a", 2, "", "-ttl and -ttl-refresh must be specified together"),
        ("-help", 0, "Usage of registrator:", ""),
        ("-version", 0, "registrator (ecsconsul ", ""),
    ],
)
def test_command_line(capsys: pytest.CaptureFixture[str], line: str, code: int, out: str, err: str) -> None:
    assert run(line.split()) == code
    output = capsys.readouterr()
    assert output.out.startswith(out)
    assert output.err.startswith(err)


def test_retries_end_when_consul_stays_away(harness: Harness) -> None:
    harness.consul.stop()
    with spawn(harness, "-retry-attempts=2", "-retry-interval=10") as process:
        lines = process.communicate(timeout=TIMEOUT)[1].splitlines()
    harness.consul.start()
    assert process.returncode == 1
    assert [json.loads(line)["msg"] for line in lines] == [
        "starting",
        "can't start yet, retrying",
        "can't start yet, retrying",
        "Consul doesn't answer",
    ]


@pytest.mark.parametrize(("flags", "left"), [((), set()), (("-on-exit=keep",), {"host:c1:80"})])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_signal_deregisters_services_unless_kept(
    harness: Harness, flags: tuple[str, ...], left: set[str], number: signal.Signals
) -> None:
    harness.docker.run("c1", port=1)
    with spawn(harness, *flags) as process:
        harness.await_ids("host:c1:80")
        process.send_signal(number)
        lines = process.communicate(timeout=TIMEOUT)[1].splitlines()
    assert process.returncode == 0
    assert harness.ids() == left
    assert [json.loads(line)["level"] for line in lines if "warning" in line or "error" in line] == []


def test_invalid_metadata_is_logged(harness: Harness) -> None:
    harness.docker.run("c1", port=1, env=["SERVICE_CHECK_TTL=soon"])
    with spawn(harness) as process:
        assert process.stderr is not None
        warnings = (line for line in map(json.loads, process.stderr) if line["level"] == "warning")
        assert "check_ttl 'soon' isn't a duration" in next(warnings)["msg"]
        process.terminate()


SIGNAL_SCRIPT = """
import os, signal, threading
from ecsconsul.registrator import program

stop_requested = program._on_signals()
threading.Thread(target=os.kill, args=(os.getpid(), signal.{name})).start()
{meanwhile}
assert stop_requested.wait(30)
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize(
    "meanwhile",
    [
        "pass",
        # the lock of the event is observed by the main thread, in which Python runs handlers of signals
        "with stop_requested._cond: threading.Event().wait(0.2)",
    ],
)
def test_signal_may_arrive_at_any_moment(name: str, meanwhile: str) -> None:
    code = SIGNAL_SCRIPT.format(name=name, meanwhile=meanwhile)
    subprocess.run([sys.executable, "-c", code], check=True, timeout=TIMEOUT)


def test_signals_are_blocked_instead_of_handled() -> None:
    code = (
        "import signal; from ecsconsul.registrator import program; program._on_signals();"
        "assert {signal.SIGTERM, signal.SIGINT} <= signal.pthread_sigmask(signal.SIG_BLOCK, ());"
        "assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=TIMEOUT)


def test_retries_end_on_a_stop_request() -> None:
    stop_requested, attempts = threading.Event(), []

    def start() -> None:
        attempts.append(1)
        if len(attempts) == 3:
            stop_requested.set()
        raise LabError("not yet")

    assert not keep_trying(start, Retry(FOREVER, 0.001), stop_requested)
    assert len(attempts) == 3


def test_retries_raise_the_last_error() -> None:
    def start() -> None:
        raise LabError("not yet")

    with pytest.raises(LabError, match="not yet"):
        keep_trying(start, Retry(1, 0.001), threading.Event())


def test_host_name_and_address() -> None:
    options = reconciler_options(read_settings(["-ip", "10.0.0.1", "consul://a"], {}))
    assert options.rules.hostname
    assert options.rules.host_address == "10.0.0.1"
    assert reconciler_options(read_settings(["-hostname", "h", "consul://a"], {})).rules.hostname == "h"
    internal = reconciler_options(read_settings(["-internal", "-ip", "10.0.0.1", "consul://a"], {}))
    assert internal.rules.host_address == "", "-ip is for published ports"


def test_it_starts_once_docker_is_there(harness: Harness) -> None:
    harness.docker.stop()
    harness.docker.run("c1", port=1)
    with spawn(harness, "-retry-attempts=-1", "-retry-interval=20") as process:
        harness.docker.start()
        harness.await_ids("host:c1:80")
        eventually(lambda: harness.docker.listeners == 1)
        process.terminate()
        assert process.stderr is not None
        process.stderr.read()
