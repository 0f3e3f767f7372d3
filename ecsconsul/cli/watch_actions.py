"""What the keys of `watch` do: other commands of ecsconsul, in the background or with the terminal to themselves."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from ..config.scalars import MAX_TASKS

if TYPE_CHECKING:
    from ..config.lab import Lab
    from .common import Settings
    from .watch_rows import Item

# keys, with what they are called in a message
ACTS = {"+": "scale", "-": "scale", "r": "rollback", "l": "logs", "e": "exec"}
SHELL = "sh"


class Action(msgspec.Struct, frozen=True):
    """A command of ecsconsul without its common options. With a `question` it runs in the background once it's asked.

    Without one it takes the terminal. `refusal` says why there is no such command.
    """

    words: tuple[str, ...] = ()
    question: str = ""
    refusal: str = ""


def action(key: str, item: Item, lab: Lab, verbs: Sequence[str]) -> Action:
    """What a key does to the selected line. `verbs` are those that this ecsconsul has."""
    name, verb = item.service.name, ACTS[key]
    if verb not in verbs:
        return Action(refusal=f"This ecsconsul has no {verb}")
    if item.service.service is None:
        return Action(refusal=f"{name or 'A standalone task'} is no service of this lab")
    if verb == "logs":
        return Action(("logs", "-f", name))
    if verb == "exec":
        chosen = ("--task", item.row.task.id) if item.row and item.row.task else ()
        return Action(("exec", *chosen, name, "--", SHELL))
    spec = lab.service(name)
    if spec is None:
        return Action(refusal=f"The config has no service {name}")
    if verb == "rollback":
        return Action(("rollback", name), f"Roll {name} back to the revision before {item.service.revision}?")
    return _scaling(name, item.service.desired, 1 if key == "+" else -1, is_daemon=spec.is_daemon)


def _scaling(name: str, desired: int, step: int, *, is_daemon: bool) -> Action:
    if is_daemon:
        return Action(refusal=f"{name} runs one task on each instance")
    count = desired + step
    if not 0 <= count <= MAX_TASKS:
        return Action(refusal=f"{name} has {desired} tasks, and that is the limit")
    return Action(("scale", f"{name}={count}"), f"Scale {name} from {desired} to {count}?")


def command_line(words: Sequence[str], given: Settings) -> list[str]:
    """The whole command with this call's options, which follow its verb."""
    options = [("--config", given.config), ("--target", given.target)]
    options += [("--profile", given.profile), ("--region", given.region)]
    added = [word for name, value in options if value for word in (name, str(value))]
    plain = ["--no-color"] if given.colourless else []
    return [sys.executable, "-m", "ecsconsul", words[0], *added, *plain, *words[1:]]


class Background:
    """At most one command that runs beside the screen; `done` is called in a thread with what it said at its end."""

    def __init__(self, done: Callable[[str], None]) -> None:
        self._done = done
        self._process: subprocess.Popen[str] | None = None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, line: Sequence[str], what: str) -> None:
        """Run a command; the terminal's keys and signals don't reach it."""
        self._process = subprocess.Popen(
            line,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        threading.Thread(target=self._wait, args=(self._process, what), name="watch-command", daemon=True).start()

    def close(self) -> None:
        """Interrupt it, as Ctrl-C does: what it has asked ECS for goes on."""
        if self._process and self.is_running:
            self._process.send_signal(signal.SIGINT)

    def _wait(self, process: subprocess.Popen[str], what: str) -> None:
        _, said = process.communicate()
        self._done(outcome(what, process.returncode, said))


def outcome(what: str, code: int, said: str) -> str:
    """The end of a command in one line: its error, if it failed.

    >>> outcome("scale weather=2", 1, "Error: no room\\n  why: memory\\n")
    'scale weather=2 failed: no room: memory'
    """
    if code == 0:
        return f"{what}: done"
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")]
    why = [line.partition(":")[2].strip() for line in lines if line.startswith("why:")]
    return f"{what} failed: " + ": ".join([*errors[:1], *why[:1]] or lines[-1:] or [f"exit code {code}"])
