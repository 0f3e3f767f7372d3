"""The view prints tables that fit 80 and 140 columns, and nothing that a service can forge."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ecsconsul.cli.output import View
from ecsconsul.cli.progress import Progress
from ecsconsul.deploy.step import Change, SubResource

Json = dict[str, Any]
ESCAPE = "\x1b"


def instance(number: int, status: str = "passing", output: str = "HTTP GET: 200 OK", **more: Any) -> Json:
    checks = [
        {"name": "Service 'weather' check", "status": status, "output": output},
        {"name": "Serf Health Status", "status": "passing", "output": "Agent alive and reachable"},
    ]
    return {
        "id": f"i-0a1b:weather:{number}", "node": "i-0a1b2c3d4e5f60718", "address": f"127.0.9.{number}",
        "port": 32768 + number, "status": status, "tags": ["http"], "checks": checks, **more,
    }  # fmt: skip


def service(name: str = "weather", desired: int = 1, running: int = 1, *instances: Json) -> Json:
    passing = sum(one["status"] == "passing" for one in instances)
    return {
        "name": name, "tags": ["http"], "desired": desired, "running": running, "passing": passing,
        "instances": list(instances),
    }  # fmt: skip


def status(*services: Json, **more: Any) -> Json:
    members = [
        {"name": "i-0a1b2c3d4e5f60718", "address": "127.0.9.2", "role": "client", "status": "alive"},
        {"name": "i-0ffffffffffffffff", "address": "127.0.9.1", "role": "server", "status": "alive"},
    ]
    return {
        "lab": "consul-lab", "target": "local", "healthy": True, "portal": "http://127.0.0.1:8080/",
        "aws": {"endpoint": "http://127.0.0.1:5566", "region": "us-east-1"},
        "consul": {"http": "http://127.0.0.1:8500", "dns": "127.0.0.1:8600", "leader": "127.0.9.1:8300",
                   "members": members},
        "steps": [{"name": "cluster", "op": "keep", "detail": "ACTIVE"}],
        "services": list(services), "others": [], **more,
    }  # fmt: skip


def changed(*steps: tuple[str, str, str], **more: Any) -> Json:
    counted = {"created": 0, "updated": 0, "kept": 0, "destroyed": 0}
    for _, op, _ in steps:
        counted[{"create": "created", "update": "updated", "destroy": "destroyed"}.get(op, "kept")] += 1
    named = [{"name": name, "op": op, "detail": detail, "seconds": 0.2} for name, op, detail in steps]
    return {"lab": "consul-lab", "target": "local", "seconds": 3.42, "changes": counted, "steps": named, **more}


class Shown:
    """Prints a document at a width, and returns the output."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys, self._monkeypatch = capsys, monkeypatch

    def __call__(self, verb: str, document: Json, columns: int = 140) -> str:
        self._monkeypatch.setenv("COLUMNS", str(columns))
        getattr(View(as_json=False, no_color=False), verb)(document)
        text = self._capsys.readouterr().out
        assert ESCAPE not in text
        assert max(len(line) for line in text.splitlines()) <= columns
        return text


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shown:
    return Shown(capsys, monkeypatch)


def words(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


WIDTHS = pytest.mark.parametrize("columns", [80, 140])


# --- status


@WIDTHS
def test_status_of_a_healthy_lab(shown: Shown, columns: int) -> None:
    found = words(shown("status", status(service("weather", 1, 1, instance(1))), columns))
    assert found[0] == ["consul-lab", "(local)", "healthy"]
    assert ["portal", "http://127.0.0.1:8080/"] in found
    assert ["aws", "http://127.0.0.1:5566", "(us-east-1)"] in found
    assert ["consul", "http://127.0.0.1:8500,", "DNS", "127.0.0.1:8600"] in found
    assert ["i-0ffffffffffffffff", "127.0.9.1", "server,", "leader", "alive"] in found
    assert ["weather", "1/1", "1/1", "127.0.9.1:32769", "i-0a1b2c3d4e5f60718", "passing"] in found


def test_status_shows_the_amis_of_an_account(shown: Shown) -> None:
    document = status(service("weather", 1, 1, instance(1)))
    ami = {"detail": "ami-1, 40 days old, ami-2 is current", "used_by": ["ECS instances", "Consul servers"]}
    document["aws"]["amis"] = [ami]
    assert "ami    ami-1, 40 days old, ami-2 is current (ECS instances, Consul servers)" in shown("status", document)
    document["aws"]["amis"] = []
    assert "ami " not in shown("status", document)


@WIDTHS
def test_instance_whose_boot_failed_is_shown_with_the_reason(shown: Shown, columns: int) -> None:
    failed = {"instance": "i-0c", "role": "ecs-instance", "state": "terminated", "reason": "gave up: has_image"}
    text = shown("status", status(service("weather", 1, 1, instance(1)), failed_boots=[failed]), columns)
    assert "The boot failed of ecs-instance i-0c (terminated): gave up: has_image" in " ".join(text.split())


@WIDTHS
def test_every_instance_has_a_line(shown: Shown, columns: int) -> None:
    found = words(shown("status", status(service("weather", 2, 2, instance(1), instance(2))), columns))
    assert ["weather", "2/2", "2/2", "127.0.9.1:32769", "i-0a1b2c3d4e5f60718", "passing"] in found
    assert ["127.0.9.2:32770", "i-0a1b2c3d4e5f60718", "passing"] in found


@WIDTHS
def test_endpoints_are_never_folded(shown: Shown, columns: int) -> None:
    long = instance(1, "critical", "x" * 500, address="127.127.127.127")
    text = shown("status", status(service("a-service-of-thirty-two-letters-", 1, 1, long)), columns)
    assert "127.127.127.127:32769" in text
    assert words(text).count(["i-0a1b2c3d4e5f60718"]) == 0
    assert "i-0a1b2c3d4e5f60718" in text.partition("endpoint")[2]


def test_counts_are_relative_to_desired(shown: Shown) -> None:
    three = service("weather", 3, 2, instance(1), instance(2, "critical"))
    assert ["weather", "2/3", "1/3"] in [line[:3] for line in words(shown("status", status(three)))]


def test_failing_check_shows_first_line_of_output(shown: Shown) -> None:
    output = "HTTP GET http://127.0.9.1:32769/health: 500 Internal Server Error\nOutput: <html>\n<body>"
    text = shown("status", status(service("weather", 1, 1, instance(1, "critical", output)), healthy=False))
    assert "critical  HTTP GET http://127.0.9.1:32769/health: 500" in " ".join(text.split("\n"))
    assert "<html>" not in text


@WIDTHS
def test_long_check_output_is_truncated(shown: Shown, columns: int) -> None:
    text = shown("status", status(service("weather", 1, 1, instance(1, "critical", "x" * 5000))), columns)
    assert 0 < text.count("x") < 150


@pytest.mark.parametrize("output", ["", " ", "\n", "\n\n \t"])
def test_check_without_output(shown: Shown, output: str) -> None:
    text = shown("status", status(service("weather", 1, 1, instance(1, "critical", output))))
    assert words(text)[-1][-1] == "critical"


def test_raised_alarms_are_shown(shown: Shown) -> None:
    alarm = {"name": "consul-lab-no-leader", "text": "Consul has no leader", "since": "2026-01-01T00:00:00+00:00"}
    text = shown("status", status(service(), alarms=[alarm]))
    assert "! alarm consul-lab-no-leader  Consul has no leader since 2026-01-01T00:00:00+00:00" in text
    for unknown in ([], None):
        assert "alarm" not in shown("status", status(service(), alarms=unknown))


@WIDTHS
def test_ghosts_and_missing_tasks_are_marked(shown: Shown, columns: int) -> None:
    one = {**service("weather", 2, 2, instance(1)), "ghosts": [instance(1)["id"]], "missing": ["0123456789abcdef"]}
    text = " ".join(shown("status", status(one, healthy=False), columns).split())
    assert "passing ghost" in text
    assert "task 01234567" in text


def test_one_off_tasks_are_shown_apart(shown: Shown) -> None:
    task = {"id": "0123456789abcdef", "definition": "blue-weather:3", "group": "family:blue-weather", "node": "i-0a1b"}
    quiet = {**task, "started_by": "ecsconsul", "registered": []}
    text = shown("status", status(service("weather", 1, 1, instance(1)), tasks=[quiet]))
    assert words(text)[-1] == ["01234567", "blue-weather:3", "ecsconsul", "i-0a1b", "not", "registered"]
    loud = {**task, "started_by": "", "registered": ["weather"]}
    text = shown("status", status(service("weather", 1, 1, instance(1)), tasks=[loud]))
    assert words(text)[-1] == ["01234567", "blue-weather:3", "i-0a1b", "weather"]


def test_service_that_is_not_in_consul(shown: Shown) -> None:
    assert "not in Consul" in shown("status", status(service("weather", 1, 1)))


def test_service_with_zero_desired_tasks(shown: Shown) -> None:
    text = shown("status", status(service("weather", 0, 0)))
    assert ["weather", "0/0", "0/0", "none", "desired"] in words(text)


def test_only_pending_steps_are_shown(shown: Shown) -> None:
    steps = [
        {"name": "cluster", "op": "keep", "detail": "ACTIVE"},
        {"name": "services/weather", "op": "update", "detail": "2/2 running"},
    ]
    text = shown("status", status(service("weather", 1, 1, instance(1)), steps=steps, healthy=False))
    assert ["~", "update", "services/weather", "2/2", "running"] in words(text)
    assert "ACTIVE" not in text
    assert "not healthy" in text


def test_unreachable_consul_shows_error(shown: Shown) -> None:
    consul = {"http": "http://127.0.0.1:8500", "dns": "127.0.0.1:8600", "leader": "", "members": []}
    consul["error"] = "Consul does not answer: Connection refused"
    text = shown("status", status(service("weather", 1, 1), consul=consul, healthy=False))
    assert ["error", "Consul", "does", "not", "answer:", "Connection", "refused"] in words(text)
    assert "consul member" not in text


def test_at_most_ten_other_services_are_listed(shown: Shown) -> None:
    text = shown("status", status(others=[f"other-{n:03}" for n in range(200)]))
    assert "other-009 and 190 more" in text
    assert "other-010" not in text


# --- hostile text


HOSTILE = "[red]not red[/red] [/] :warning: \x1b[2J\x1b]0;title\x07 \x9b31m \x00"


def test_text_is_never_markup_or_control_codes(shown: Shown) -> None:
    bad = instance(1, "critical", HOSTILE, address="[bold]10.0.0.1", node="[blink]node[/blink]:warning:")
    member = {"name": "[link=x]m", "address": "[b]a", "role": "client", "status": "[red]alive"}
    consul = {"http": "h", "dns": "d", "leader": "", "members": [member], "error": HOSTILE}
    steps = [{"name": "stack", "op": "wait", "detail": HOSTILE}]
    text = shown("status", status(service("weather", 1, 1, bad), consul=consul, steps=steps, others=["[red]other"]))
    for said in ("[red]not red[/red] [/] :warning:", "[bold]10.0.0.1", "[link=x]m", "[b]a", "[red]alive", "[red]other"):
        assert said in text
    assert "[blink]node[/blink]:warning:" in text
    assert re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text) == []


def test_step_details_are_never_markup_or_control_codes(shown: Shown) -> None:
    for verb in ("plan", "up", "scale"):
        text = shown(verb, changed(("stack", "create", HOSTILE), portal=None))
        assert verb == "up" or "[red]not red[/red] [/] :warning:" in text
        assert re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text) == []


def test_brackets_in_paths_are_kept(shown: Shown) -> None:
    text = shown("down", changed(("cluster", "destroy", "deleted"), left=["/tmp/[red]/lab"], kept=["logs: /tmp/[b]/x"]))
    assert "/tmp/[red]/lab" in text


def test_json_is_not_sanitized(capsys: pytest.CaptureFixture[str]) -> None:
    document = status(service("weather", 1, 1, instance(1, "critical", HOSTILE)))
    View(as_json=True, no_color=False).status(document)
    printed = capsys.readouterr()
    assert json.loads(printed.out) == document
    assert printed.err == ""


# --- plan, up, scale, down


@WIDTHS
def test_plan(shown: Shown, columns: int) -> None:
    steps = (("cluster", "keep", "ACTIVE"), ("stack", "update", "CREATE_COMPLETE"), ("tasks/weather", "create", ""))
    found = words(shown("plan", changed(*steps), columns))
    assert ["=", "keep", "cluster", "ACTIVE"] in found
    assert ["~", "update", "stack", "CREATE_COMPLETE"] in found
    assert ["+", "create", "tasks/weather"] in found
    assert found[-1] == ["1", "to", "create,", "1", "to", "update,", "1", "unchanged"]


@WIDTHS
def test_plan_shows_what_an_update_of_the_stack_does(shown: Shown, columns: int) -> None:
    document = changed(("stack", "update", "UPDATE_COMPLETE"))
    image = {"name": "LaunchTemplateData.ImageId", "before": "ami-1", "after": "ami-2"}
    unchanged: dict[str, Any] = {"type": "T", "properties": [], "instances": 0, "batch": 0, "causes": []}
    document["steps"][0]["changes"] = [
        {**unchanged, "resource": "Template", "action": "modify", "properties": [image]},
        {**unchanged, "resource": "Group", "action": "roll", "instances": 3, "batch": 1, "causes": ["Template"]},
    ]
    found = words(shown("plan", document, columns))
    assert ["~", "modify", "Template", "ImageId", "ami-1", "→", "ami-2"] in found
    assert ["~", "roll", "Group", "3", "instances", "are", "replaced", "one", "by", "one"] in found


@pytest.mark.parametrize(
    ("ops", "said"),
    [
        ((), "No changes"),
        (("keep", "keep"), "No changes"),
        (("create",), "1 to create"),
        (("destroy", "keep"), "1 to destroy, 1 unchanged"),
    ],
)
def test_plan_ends_with_a_summary(shown: Shown, ops: tuple[str, ...], said: str) -> None:
    text = shown("plan", changed(*((f"step-{n}", op, "") for n, op in enumerate(ops))))
    assert text.splitlines()[-1].strip() == said


def test_up_shows_portal_and_next_commands(shown: Shown) -> None:
    steps = (("cluster", "create", "ACTIVE"), ("services/weather", "create", "1/1 running"))
    text = shown("up", changed(*steps, portal="http://127.0.0.1:8080/"))
    assert "2 created in 3.4 s" in text
    assert "http://127.0.0.1:8080/" in text
    assert "dig weather" in text


def test_up_without_a_portal(shown: Shown) -> None:
    text = shown("up", changed(("cluster", "keep", "ACTIVE"), portal=None))
    assert "No changes in 3.4 s" in text
    assert "Portal" not in text


def test_down_shows_what_is_left_or_kept(shown: Shown) -> None:
    gone = changed(("cluster", "destroy", "deleted"))
    assert "checked that nothing is left." in shown("down", {**gone, "left": [], "kept": []})
    assert "logs: /x" in shown("down", {**gone, "left": [], "kept": ["logs: /x"]})
    text = shown("down", {**gone, "left": ["process 12"], "kept": []})
    assert "process 12" in text
    assert "nothing is left" not in text


# --- progress


def progress(view: View) -> None:
    with view.progress() as observer:
        observer.started("stack", "create")
        observer.progress("stack", "waiting [red]now\x1b[2J")
        observer.finished(Change("stack", "create", "[b]CREATE_COMPLETE\x1b", 1.25))
        observer.finished(Change("cluster", "keep", "ACTIVE"))
        observer.failed("services/weather", ValueError("no [b]room\x1b\nat all"))


def test_progress_lines_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    progress(View(as_json=False, no_color=False))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert ESCAPE not in printed.err
    said, ended, failed = words(printed.err)
    assert said[-2:] == ["waiting", "[red]now"]
    assert ended == ["+", "create", "1.2", "s", "stack", "[b]CREATE_COMPLETE�"]
    assert failed == ["!", "failed", "services/weather", "no", "[b]room�"]


def test_parts_are_plain_lines_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with View(as_json=False, no_color=False).progress() as observer:
        observer.started("stack", "create")
        observer.subresource("stack", SubResource("ConsulServer", "runs", "CREATE_IN_PROGRESS AWS::EC2::Instance"))
        observer.subresource(
            "stack", SubResource("ConsulServer", "failed", "CREATE_FAILED AWS::EC2::Instance no \x1b[2J room")
        )
        observer.still_running("stack", "stack blue: ROLLBACK_IN_PROGRESS")
    printed = capsys.readouterr().err
    assert ESCAPE not in printed
    assert words(printed) == [
        ["…", "create", "stack", "ConsulServer", "CREATE_IN_PROGRESS", "AWS::EC2::Instance"],
        ["!", "create", "stack", "ConsulServer", "CREATE_FAILED", "AWS::EC2::Instance", "no", "room"],
        ["…", "goes", "on", "stack", "stack", "blue:", "ROLLBACK_IN_PROGRESS"],
    ]


def test_terminal_shows_tree_of_running_and_failed_parts() -> None:
    console = Console(width=120, file=io.StringIO())
    progress = Progress(console, live=True)
    progress.started("stack", "create")
    progress.started("images/weather", "create")
    progress.progress("images/weather", "pushing")
    for name, state in (("Role", "runs"), ("Server", "runs"), ("Role", "done"), ("Group", "failed")):
        progress.subresource("stack", SubResource(name, state, f"{state} AWS::X::{name}"))  # type: ignore[arg-type]
    console.print(progress.running())
    assert words(console.file.getvalue()) == [  # type: ignore[attr-defined]
        ["…", "create", "stack", "1", "done"],
        ["├", "…", "Server", "runs", "AWS::X::Server"],
        ["└", "!", "Group", "failed", "AWS::X::Group"],
        ["…", "create", "images/weather", "pushing"],
    ]
    progress.finished(Change("stack", "create", "CREATE_COMPLETE", 180.0))
    assert len(progress.running().renderables) == 1


# --- terminals


SCRIPT = """
import json, sys
from ecsconsul.cli.output import View
from tests.cli.test_output import progress, status, service, instance
view = View(as_json=False, no_color="--no-color" in sys.argv)
progress(view)
view.status(status(service("weather", 1, 1, instance(1, "critical", "x" * 300))))
"""
COLOUR = re.compile(r"\x1b\[[0-9;]*[34][0-9][0-9;]*m")
REDRAWN = re.compile(r"\x1b\[[0-9]*[AKJ]|\x1b\[\?25l")


LONG = """
from ecsconsul.cli.output import View
from tests.cli.test_output import status, service, instance
View(as_json=False, no_color=True).status(status(service("weather", 90, 90, *map(instance, range(90)))))
"""


def run(*arguments: str, stdout_is_terminal: bool, script: str = SCRIPT, **environment: str) -> tuple[str, str]:
    """stdout and what a terminal of 80 columns got, of a script whose stdin and stderr are that terminal."""
    ours, theirs = pty.openpty()
    env = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdin=theirs,
        stdout=theirs if stdout_is_terminal else subprocess.PIPE,
        stderr=theirs,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**env, "TERM": "xterm-256color", **environment},
    )
    os.close(theirs)
    seen = b"".join(iter(lambda: _read(ours), b""))
    out, _ = process.communicate(timeout=20)
    os.close(ours)
    assert process.returncode == 0, seen.decode()
    return out or "", seen.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux raises this when the other side is closed
        return b""


def test_terminal_gets_color_and_redrawn_progress() -> None:
    _, seen = run(stdout_is_terminal=True)
    assert COLOUR.search(seen)
    assert REDRAWN.search(seen)


@pytest.mark.parametrize(("arguments", "environment"), [(("--no-color",), {}), ((), {"NO_COLOR": "1"})])
def test_color_can_be_disabled(arguments: tuple[str, ...], environment: dict[str, str]) -> None:
    _, seen = run(*arguments, stdout_is_terminal=True, **environment)
    assert "critical" in seen
    assert COLOUR.findall(seen) == []


def test_pipe_gets_neither_redrawing_nor_escape_codes() -> None:
    out, seen = run(stdout_is_terminal=False)
    assert "critical" in out
    assert ESCAPE not in out
    assert "waiting" in seen
    assert REDRAWN.findall(seen) == []


def test_what_is_longer_than_the_terminal_goes_through_the_pager() -> None:
    _, seen = run(stdout_is_terminal=True, script=LONG, PAGER="sed s/^/paged:/", LINES="24")
    assert seen.count("paged:") > 90
    _, seen = run(stdout_is_terminal=True, PAGER="sed s/^/paged:/", LINES="24")
    assert "paged:" not in seen, "the screen is long enough"
    out, _ = run(stdout_is_terminal=False, script=LONG, PAGER="sed s/^/paged:/", LINES="24")
    assert "paged:" not in out
    assert out.count("passing") >= 90
