"""The program: its exit codes, its tries at the start, and its end."""

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
from ecsconsul.registrator.program import keep_trying, run, sync_options
from ecsconsul.registrator.settings import FOREVER, Retry, read_settings
from tests.registrator.conftest import Runtime, eventually

PATIENCE = 60.0


@contextmanager
def spawn(world: Runtime, *words: str) -> Iterator[subprocess.Popen[str]]:
    """The program between the world's servers; it ends with the context."""
    argv = [sys.executable, "-m", "ecsconsul.registrator", "-log-format=json", "-hostname=host", *words]
    environment = {**os.environ, "DOCKER_HOST": world.engine.url}
    uri = f"consul://127.0.0.1:{world.agent.port}"
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
def test_how_a_command_line_ends(capsys: pytest.CaptureFixture[str], line: str, code: int, out: str, err: str) -> None:
    assert run(line.split()) == code
    said = capsys.readouterr()
    assert said.out.startswith(out)
    assert said.err.startswith(err)


def test_without_consul_it_ends_after_its_tries(world: Runtime) -> None:
    world.agent.stop()
    with spawn(world, "-retry-attempts=2", "-retry-interval=10") as process:
        lines = process.communicate(timeout=PATIENCE)[1].splitlines()
    world.agent.start()
    assert process.returncode == 1
    assert [json.loads(line)["msg"] for line in lines] == [
        "starting",
        "cannot start yet",
        "cannot start yet",
        "Consul does not answer",
    ]


@pytest.mark.parametrize(("words", "left"), [((), set()), (("-on-exit=keep",), {"host:c1:80"})])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_end_it_takes_its_services_out_unless_told(
    world: Runtime, words: tuple[str, ...], left: set[str], number: signal.Signals
) -> None:
    world.engine.run("c1", port=1)
    with spawn(world, *words) as process:
        world.await_ids("host:c1:80")
        process.send_signal(number)
        lines = process.communicate(timeout=PATIENCE)[1].splitlines()
    assert process.returncode == 0
    assert world.ids() == left
    assert [json.loads(line)["level"] for line in lines if "warning" in line or "error" in line] == []


def test_it_says_what_it_cannot_register(world: Runtime) -> None:
    world.engine.run("c1", port=1, env=["SERVICE_CHECK_TTL=soon"])
    with spawn(world) as process:
        assert process.stderr is not None
        warnings = (line for line in map(json.loads, process.stderr) if line["level"] == "warning")
        assert "check_ttl 'soon' is no duration" in next(warnings)["msg"]
        process.terminate()


ASKED = """
import os, signal, threading
from ecsconsul.registrator import program

asked = program._on_signals()
threading.Thread(target=os.kill, args=(os.getpid(), signal.{name})).start()
{meanwhile}
assert asked.wait(30)
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize(
    "meanwhile",
    [
        "pass",
        # the lock of the event is held by the main thread, in which Python runs handlers of signals
        "with asked._cond: threading.Event().wait(0.2)",
    ],
)
def test_a_signal_may_come_at_any_moment(name: str, meanwhile: str) -> None:
    code = ASKED.format(name=name, meanwhile=meanwhile)
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE)


def test_no_handler_is_left_that_a_sleeping_main_thread_could_miss() -> None:
    code = (
        "import signal; from ecsconsul.registrator import program; program._on_signals();"
        "assert {signal.SIGTERM, signal.SIGINT} <= signal.pthread_sigmask(signal.SIG_BLOCK, ());"
        "assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE)


def test_tries_end_when_it_is_asked_to_end() -> None:
    asked, tries = threading.Event(), []

    def start() -> None:
        tries.append(1)
        if len(tries) == 3:
            asked.set()
        raise LabError("not yet")

    assert not keep_trying(start, Retry(FOREVER, 0.001), asked)
    assert len(tries) == 3


def test_tries_end_with_the_last_error() -> None:
    def start() -> None:
        raise LabError("not yet")

    with pytest.raises(LabError, match="not yet"):
        keep_trying(start, Retry(1, 0.001), threading.Event())


def test_the_hosts_name_is_its_own_unless_told() -> None:
    told = sync_options(read_settings(["-ip", "10.0.0.1", "consul://a"], {}))
    assert told.rules.hostname
    assert told.rules.host_address == "10.0.0.1"
    assert sync_options(read_settings(["-hostname", "h", "consul://a"], {})).rules.hostname == "h"
    inside = sync_options(read_settings(["-internal", "-ip", "10.0.0.1", "consul://a"], {}))
    assert inside.rules.host_address == "", "the address told is for published ports"


def test_it_starts_when_docker_comes_later(world: Runtime) -> None:
    world.engine.stop()
    world.engine.run("c1", port=1)
    with spawn(world, "-retry-attempts=-1", "-retry-interval=20") as process:
        world.engine.start()
        world.await_ids("host:c1:80")
        eventually(lambda: world.engine.listeners == 1)
        process.terminate()
        assert process.stderr is not None
        process.stderr.read()
