"""`exec` and `open`, in both runtimes."""

from __future__ import annotations

import json

from tests.e2e.lab import Lab


def test_exec_uses_the_tasks_environment_and_folder(lab: Lab) -> None:
    result = lab.run(
        "exec", "weather", "--", "sh", "-c", "echo $PROVIDER $SERVICE_4567_NAME; ls app.py; echo bad >&2; exit 7"
    )
    assert (result.code, result.out, result.err) == (7, "demo weather\napp.py\n", "bad\n")


def test_exec_works_without_dashes_and_finds_the_tasks_programs(lab: Lab) -> None:
    assert lab.ok("exec", "weather", "python3", "-c", "import flask; print('has flask')").out == "has flask\n"


def test_exec_of_unknown_commands_services_and_tasks(lab: Lab) -> None:
    assert lab.run("exec", "weather", "--", "no-such-program").code in (126, 127)
    result = lab.run("exec", "wetter", "--", "true")
    assert result.code == 2
    assert "weather" in result.err
    assert lab.run("exec", "weather").code == 2
    assert lab.run("exec", "weather", "--").code == 2
    result = lab.run("exec", "--task", "nosuch", "weather", "--", "true")
    assert result.code == 2
    assert lab.tasks("weather")[0]["taskArn"].rpartition("/")[2][:8] in result.err


def test_open_prints_the_portals_address_in_a_pipe(lab: Lab) -> None:
    assert lab.ok("open").out == f"{lab.portal}\n"
    assert json.loads(lab.ok("open", "--output", "json").out) == {"portal": lab.portal, "opened": False}


def test_exec_and_open_need_a_lab(fresh: Lab) -> None:
    fresh.ok("init")
    for words in (("open",), ("exec", "weather", "--", "true")):
        result = fresh.run(*words)
        assert result.code == 1
        assert "`ecsconsul up` starts it" in result.err
