"""What each command prints, and its exit code, while no lab is running."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Shell


def test_plan_would_create_everything(shell: Shell) -> None:
    document = shell.document("plan")
    assert document.keys() >= {"lab", "target", "seconds", "changes", "steps"}
    assert (document["lab"], document["target"]) == ("cli-lab", "local")
    assert document["changes"] == {"created": 10, "updated": 0, "kept": 0, "destroyed": 0}
    assert {step["op"] for step in document["steps"]} == {"create"}
    assert all(step.keys() >= {"name", "op", "detail", "seconds"} for step in document["steps"])
    assert not (shell.folder / "home").exists()


def test_plan_exits_with_5_for_pending_changes_on_request(shell: Shell) -> None:
    assert shell.run("plan").returncode == 0
    assert shell.run("plan", "--exit-code").returncode == 5


def test_status_is_unhealthy_and_shows_what_is_missing(shell: Shell) -> None:
    done = shell.run("status")
    assert done.returncode == 4
    assert "not healthy" in done.stdout
    assert "services/weather" in done.stdout
    assert not (shell.folder / "home").exists()


def test_status_as_json(shell: Shell) -> None:
    document = shell.document("status")
    assert document["healthy"] is False
    assert document["consul"]["members"] == []
    assert [(s["name"], s["desired"], s["running"], s["passing"]) for s in document["services"]] == [
        ("weather", 2, 0, 0),
        ("portal", 1, 0, 0),
    ]


@pytest.mark.parametrize("words", [("env",), ("dig", "weather"), ("scale", "weather=1")])
def test_commands_that_need_a_lab_say_how_to_start_it(shell: Shell, words: tuple[str, ...]) -> None:
    done = shell.run(*words)
    assert (done.returncode, done.stdout) == (1, "")
    assert "The lab cli-lab is not running" in done.stderr
    assert "ecsconsul up" in done.stderr


@pytest.mark.parametrize("words", [("logs", "registrator"), ("exec", "registrator", "--", "env")])
def test_the_registrator_is_no_service_on_this_machine(shell: Shell, words: tuple[str, ...]) -> None:
    done = shell.run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "The registrator isn't a service here" in done.stderr
    assert "the region itself registers tasks" in done.stderr
    assert f"the region's log is {shell.folder / 'home' / 'cli-lab' / 'logs' / 'region.log'}" in done.stderr


def test_logs_of_a_service_that_never_ran(shell: Shell) -> None:
    done = shell.run("logs", "weather")
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_down_without_a_lab_succeeds(shell: Shell) -> None:
    for _ in range(2):
        done = shell.run("down", "--yes")
        assert done.returncode == 0, done.stderr
        assert "Removed everything" in done.stdout
    document = shell.document("down", "--yes")
    assert document["left"] == []
    assert document["changes"]["destroyed"] == 0


# --- confirmation


def test_no_changes_nothing(shell: Shell) -> None:
    done = shell.run("down", stdin="n\n")
    assert done.returncode == 1  # 130 is for interrupting a running change
    assert "Remove the lab cli-lab (local)?" in done.stderr
    assert "Nothing was removed." in done.stderr
    assert done.stdout == ""


def test_enter_means_no(shell: Shell) -> None:
    assert shell.run("down", stdin="\n").returncode == 1


def test_yes_can_be_piped(shell: Shell) -> None:
    done = shell.run("down", stdin="y\n")
    assert done.returncode == 0
    assert "Removed everything" in done.stdout


def test_closed_stdin_is_wrong_usage(shell: Shell) -> None:
    done = shell.run("down", stdin="")
    assert done.returncode == 2
    assert "--yes" in done.stderr


def test_question_is_not_part_of_the_document(shell: Shell) -> None:
    done = shell.run("down", "--output", "json", stdin="y\n")
    assert done.stdout.startswith("{")
