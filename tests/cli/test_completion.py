"""Completion in real shells: verbs, options, services and tasks, and nothing where there is nothing to offer."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Running, Shell
from tests.deploy.world import client
from tests.require import require

SECONDS = 60.0
BASH = """
eval "$(ecsconsul completion bash)"
complete_line() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _ecsconsul_completion ecsconsul; }
complete_line %s
printf '%%s\\n' "${COMPREPLY[@]}"
"""


def variables(shell: Shell) -> dict[str, str]:
    """With the command on PATH, as it is once it's installed."""
    folder = shell.folder / "bin"
    folder.mkdir(exist_ok=True)
    program = folder / "ecsconsul"
    program.write_text(f"#!{sys.executable}\nfrom ecsconsul.cli.app import main\nmain()\n")
    program.chmod(0o755)
    root = Path(__file__).parents[2]
    return {**shell.variables, "PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(root)}


def run(shell: Shell, *words: str) -> list[str]:
    done = subprocess.run(
        words, cwd=shell.folder, env=variables(shell), capture_output=True, text=True, timeout=SECONDS, check=True
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def in_bash(shell: Shell, line: str) -> list[str]:
    require("bash", shutil.which("bash") is not None, "bash is missing")
    return [word for word in run(shell, "bash", "-c", BASH % line) if word]


def task_arns(running: Running) -> list[str]:
    assert running.world is not None
    ecs = client("ecs", running.world.endpoint("region"))
    found: list[str] = ecs.list_tasks(cluster="cli-lab", serviceName="weather")["taskArns"]
    return found


LINES = {
    "ecsconsul sta": ["status"],
    "ecsconsul scale we": ["weather="],
    "ecsconsul scale weather=2 ''": ["portal="],
    "ecsconsul dig ''": ["weather", "portal"],
    "ecsconsul exec we": ["weather"],
    "ecsconsul --target l": ["local"],
    "ecsconsul up --upd": ["--update-ami"],
    "ecsconsul completion f": ["fish"],
}


@pytest.mark.parametrize("line", LINES)
def test_bash_completes(shell: Shell, line: str) -> None:
    assert in_bash(shell, line) == LINES[line]


def test_nothing_is_said_about_a_command_that_does_not_exist(shell: Shell) -> None:
    assert in_bash(shell, "ecsconsul nothing --no-s") == []


def test_nothing_is_offered_or_printed_while_the_config_has_mistakes(shell: Shell) -> None:
    (shell.folder / "config.yaml").write_text("services: [\n")
    assert in_bash(shell, "ecsconsul dig ''") == []


def test_tasks_of_a_lab_that_does_not_run_are_not_offered(shell: Shell) -> None:
    assert in_bash(shell, "ecsconsul exec --task ''") == []


def test_running_tasks_are_offered(running: Running) -> None:
    running.run("up")
    tasks = [arn.rpartition("/")[2] for arn in task_arns(running)]
    assert len(tasks) == 2
    assert sorted(in_bash(running, "ecsconsul exec weather --task ''")) == sorted(tasks)
    # before the service is typed, as the usage has it, those of all
    assert set(in_bash(running, "ecsconsul exec --task ''")) > set(tasks)


def test_fish_completes(shell: Shell) -> None:
    require("fish", shutil.which("fish") is not None, "fish is missing")
    script = "ecsconsul completion fish | source; complete -C 'ecsconsul scale '; complete -C 'ecsconsul sta'"
    found = run(shell, "fish", "--no-config", "-c", script)
    assert [line.split("\t")[0] for line in found] == ["portal=", "weather=", "status"]


def test_zsh_completes(shell: Shell) -> None:
    require("zsh", shutil.which("zsh") is not None, "zsh is missing")
    (shell.folder / ".zshrc").write_text(
        'PS1="ready> "\nautoload -Uz compinit; compinit -u\neval "$(ecsconsul completion zsh)"\n'
    )
    environment = {**variables(shell), "ZDOTDIR": str(shell.folder), "TERM": "dumb"}
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(shell.folder)
        os.execvpe("zsh", ["zsh", "-i"], environment)
    try:
        read_until(terminal, r"ready> ")
        os.write(terminal, b"ecsconsul scale we\t")
        assert "weather=" in read_until(terminal, r"weather=")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)


def read_until(terminal: int, pattern: str) -> str:
    """What a terminal shows, up to a pattern."""
    shown, end = "", time.monotonic() + SECONDS
    while not re.search(pattern, shown):
        assert time.monotonic() < end, shown
        if select.select([terminal], [], [], 1.0)[0]:
            shown += os.read(terminal, 4096).decode(errors="replace")
    return shown
