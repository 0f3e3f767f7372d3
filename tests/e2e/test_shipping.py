"""`deploy`, `rollback` and `history` under load: no request fails, and what fails is taken back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.lab import Json, Lab, Load, dig, eventually, get

BROKEN = "raise SystemExit('a bad edit')\n"
# passes its check for a moment, then exits
SHORT_LIVED = "\nimport os, threading\nthreading.Timer(3, os._exit, (7,)).start()\n"


@contextmanager
def restored(lab: Lab) -> Iterator[Load]:
    """A load on weather while the block runs, in which no request may fail; restores the lab afterwards."""
    load = Load([f"{lab.portal}weather/London"])
    try:
        with load.running():
            yield load
            load.wait_for_answers(10, 20)
        assert load.failures == []
    finally:
        lab.up()


def history(lab: Lab) -> list[Json]:
    found: list[Json] = lab.ok("history", "weather", "--output", "json").document["revisions"]
    return found


def current(lab: Lab) -> int:
    return next(int(one["revision"]) for one in history(lab) if one["current"])


def test_deploy_and_rollback_under_load(lab: Lab) -> None:
    before = current(lab)
    with restored(lab):
        deployed = lab.ok("deploy", "weather", "--env", "TEMP_SCALE=F", "--output", "json").document
        assert (deployed["service"], deployed["differs"]) == ("weather", ["TEMP_SCALE"])
        assert deployed["revision"] > before
        assert "Fahrenheit" in get(f"{lab.portal}weather/London")[1]
        # the config wins, and `plan` says so
        assert lab.run("plan", "--exit-code").code == 5

        old = {task["taskArn"] for task in lab.tasks("weather")}
        with lab.started("rollback", "weather", "--output", "json") as process:
            answered = eventually(lambda: _answer_of_another(lab, old), bool)
            out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert f'"revision": {before}' in out
        assert answered and "Celsius" in get(f"{lab.portal}weather/London")[1]
        newest = history(lab)[0]
        assert newest["rolled_back"] and not newest["current"]
        assert lab.ok("status")


def _answer_of_another(lab: Lab, old: set[str]) -> list[str]:
    """SRV answers with the port of a task that isn't one of the old ones."""
    answers = dig(lab.dns, "weather.service.consul")
    new = [task for task in lab.tasks("weather") if task["taskArn"] not in old]
    ports = {str(b["hostPort"]) for task in new for b in task["containers"][0].get("networkBindings", ())}
    return [line for line in answers if line.split()[2] in ports]


def test_broken_deploy_is_taken_back(lab: Lab) -> None:
    app, before = lab.folder / "services" / "weather" / "app.py", current(lab)
    text = app.read_text()
    with restored(lab):
        app.write_text(BROKEN)
        try:
            result = lab.run("deploy", "weather")
        finally:
            app.write_text(text)
        assert result.code == 1
        assert "a bad edit" in result.err
        assert f"now: revision {before} runs" in result.err
        assert result.err.count("Error:") == 1
        assert current(lab) == before
        assert len(lab.endpoints("weather")) == 1


def test_canary_that_dies_goes_back(lab: Lab) -> None:
    app, before = lab.folder / "services" / "weather" / "app.py", current(lab)
    text = app.read_text()
    with restored(lab):
        app.write_text(text + SHORT_LIVED)
        try:
            result = lab.run("deploy", "weather", "--canary", "1", "--canary-time", "20s")
        finally:
            app.write_text(text)
        assert result.code == 1
        assert "The canary of weather" in result.err
        assert f"now: revision {before} runs as before" in result.err
        assert current(lab) == before
        assert len(lab.endpoints("weather")) == 1


def test_canary_of_a_killed_deploy_and_one_that_goes_on(lab: Lab) -> None:
    before = current(lab)
    with restored(lab):
        with lab.started("deploy", "weather", "--canary", "1", "--canary-time", "10m", "--env", "A=1"):
            eventually(lambda: lab.endpoints("weather"), lambda found: len(found) == 2)
        status = lab.status()
        weather = next(one for one in status["services"] if one["name"] == "weather")
        assert (weather["canary"], weather["passing"], weather["ghosts"]) == (1, 2, [])
        plan = lab.ok("plan", "--output", "json").document
        assert [s["op"] for s in plan["steps"] if s["name"] == "canary/weather"] == ["destroy"]
        words = ("deploy", "weather", "--canary", "1", "--canary-time", "1s", "--env", "A=2", "--output", "json")
        document = lab.ok(*words).document
        assert [s["op"] for s in document["steps"] if s["name"] == "canary/weather"] == ["destroy"]
        assert document["revision"] > before
        assert len(lab.endpoints("weather")) == 1
        assert [one["canary"] for one in lab.status()["services"] if one["name"] == "weather"] == [0]
