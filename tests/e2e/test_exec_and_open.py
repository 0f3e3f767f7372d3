"""A command where a task runs, and the portal's address, whatever the tasks are."""

from __future__ import annotations

import json

from tests.e2e.lab_at import LabAt


def test_exec_has_the_tasks_own_environment_and_folder(lab: LabAt) -> None:
    ran = lab.ran(
        "exec", "weather", "--", "sh", "-c", "echo $PROVIDER $SERVICE_4567_NAME; ls app.py; echo bad >&2; exit 7"
    )
    assert (ran.code, ran.out, ran.err) == (7, "demo weather\napp.py\n", "bad\n")


def test_exec_needs_no_dashes_and_finds_the_tasks_programs(lab: LabAt) -> None:
    assert lab.ok("exec", "weather", "python3", "-c", "import flask; print('has flask')").out == "has flask\n"


def test_exec_of_what_is_not_there(lab: LabAt) -> None:
    assert lab.ran("exec", "weather", "--", "no-such-program").code in (126, 127)
    ran = lab.ran("exec", "wetter", "--", "true")
    assert ran.code == 2
    assert "weather" in ran.err
    assert lab.ran("exec", "weather").code == 2
    assert lab.ran("exec", "weather", "--").code == 2
    ran = lab.ran("exec", "--task", "nosuch", "weather", "--", "true")
    assert ran.code == 2
    assert lab.tasks("weather")[0]["taskArn"].rpartition("/")[2][:8] in ran.err


def test_open_prints_where_the_portal_is_and_opens_nothing_in_a_pipe(lab: LabAt) -> None:
    assert lab.ok("open").out == f"{lab.portal}\n"
    assert json.loads(lab.ok("open", "--output", "json").out) == {"portal": lab.portal, "opened": False}


def test_neither_works_without_a_lab(fresh: LabAt) -> None:
    fresh.ok("init")
    for words in (("open",), ("exec", "weather", "--", "true")):
        ran = fresh.ran(*words)
        assert ran.code == 1
        assert "`ecsconsul up` starts it" in ran.err
