"""What a key does to the selected line, and how a command's end is told."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from ecsconsul.cli.common import Settings
from ecsconsul.cli.watch_actions import Action, Background, action, command_line, outcome
from ecsconsul.cli.watch_rows import Item
from ecsconsul.config.lab import Lab, ServiceSpec
from ecsconsul.observe.overview import overview
from tests.observe.samples import TASK_ID, ecs, seen, service, task

VERBS = ("scale", "logs", "exec", "rollback")
LAB = Lab(services=(ServiceSpec(name="weather"), ServiceSpec(name="agent", schedule="daemon")))
TIMEOUT = 60.0


def items(snapshot: object = None) -> list[Item]:
    [weather] = overview(snapshot or seen()).services  # type: ignore[arg-type]
    return [Item(weather), *(Item(weather, row) for row in weather.rows)]


def pressed(key: str, number: int = 0) -> Action:
    return action(key, items()[number], LAB, VERBS)


def test_plus_and_minus_scale_after_a_question() -> None:
    assert pressed("+") == Action(("scale", "weather=2"), "Scale weather from 1 to 2?")
    assert pressed("-", 1) == Action(("scale", "weather=0"), "Scale weather from 1 to 0?")
    none = items(seen(ecs=ecs(services=(service(0, 0),))))[0]
    assert "limit" in action("-", none, LAB, VERBS).refusal


def test_logs_and_a_shell_take_the_terminal() -> None:
    assert pressed("l") == Action(("logs", "-f", "weather"))
    assert pressed("e") == Action(("exec", "weather", "--", "sh"))
    assert pressed("e", 1) == Action(("exec", "--task", TASK_ID, "weather", "--", "sh"))


def test_rollback_is_asked_for_where_there_is_one() -> None:
    assert pressed("r").words == ("rollback", "weather")
    assert action("r", items()[0], LAB, ("scale",)).refusal == "This ecsconsul has no rollback"


def test_what_cannot_be_done_is_refused() -> None:
    agent = overview(seen(ecs=ecs(services=(service(name="agent"),)))).services[0]
    assert "each instance" in action("+", Item(agent), LAB, VERBS).refusal
    alone = overview(seen(ecs=ecs(task(service=""), services=()))).services[0]
    assert "no service" in action("l", Item(alone), LAB, VERBS).refusal
    assert "config" in action("+", items()[0], Lab(), VERBS).refusal


def test_the_command_has_the_options_of_this_call() -> None:
    given = Settings(Path("my config.yaml"), "aws", profile="p", no_color=True)
    assert command_line(("scale", "weather=2"), given) == [
        sys.executable, "-m", "ecsconsul", "scale", "--config", "my config.yaml", "--target", "aws", "--profile", "p",
        "--no-color", "weather=2",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "said", "expected"),
    [
        (0, "", "x: done"),
        (1, "progress\nError: no room\n  where: lab\n  why:   memory\n", "x failed: no room: memory"),
        (2, "Usage: …\n\nNo such option", "x failed: No such option"),
        (3, "", "x failed: exit code 3"),
    ],
)
def test_the_end_of_a_command_is_one_line(code: int, said: str, expected: str) -> None:
    assert outcome("x", code, said) == expected


def test_a_command_in_the_background_says_how_it_ended() -> None:
    said: list[str] = []
    ended = threading.Event()
    background = Background(lambda text: (said.append(text), ended.set()))  # type: ignore[arg-type, func-returns-value]
    background.start([sys.executable, "-c", "import sys; sys.exit('Error: no')"], "scale")
    assert ended.wait(TIMEOUT)
    assert said == ["scale failed: no"]
    assert not background.is_running
