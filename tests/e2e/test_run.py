"""One-off tasks, by `ecsconsul run` and by RunTask, in both runtimes."""

from __future__ import annotations

import json
import signal
import time

from tests.e2e.lab import Lab, eventually


def test_output_and_exit_code(lab: Lab) -> None:
    script = "echo $PROVIDER $MODE; ls app.py; echo bad >&2; printf end; exit 7"
    result = lab.run("run", "--env", "MODE=once", "weather", "--", "sh", "-c", script)
    lines = result.out.splitlines()
    assert (result.code, sorted(lines)) == (7, ["app.py", "bad", "demo once", "end"])
    # Docker keeps no order between the two streams
    assert [line for line in lines if line != "bad"] == ["demo once", "app.py", "end"]
    result = lab.run("run", "--output", "json", "weather", "true")
    assert (result.code, result.document["exit_code"], result.document["service"]) == (0, 0, "weather")
    result = lab.run("run", "weather", "no-such-program")
    assert result.code == 1
    assert "CannotStartContainerError" in result.err


def test_interrupted_run_stops_its_task(lab: Lab) -> None:
    with lab.started(
        "run", "weather", "--", "sh", "-c", "trap 'echo bye; exit' TERM; echo on; sleep 600 & wait"
    ) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "on\n"
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=60)
    assert (run.returncode, out) == (130, "bye\n")
    assert "Interrupted." in err
    assert lab.status()["tasks"] == []


def test_one_off_tasks_are_no_instances_of_their_service(lab: Lab) -> None:
    """Neither one that stays out of Consul, nor one of another client, which Consul lists."""
    ecs = lab.client("ecs")
    task = lab.ok("run", "--detach", "weather", "sleep", "600").out.strip()
    loud = ecs.run_task(cluster=lab.name, taskDefinition=f"{lab.name}-weather")["tasks"][0]["taskArn"]
    try:
        found = eventually(lambda: [one for one in lab.status()["tasks"] if one["registered"]], bool)
        assert [(one["id"], one["registered"]) for one in found] == [(loud.rpartition("/")[2], ["weather"])]
        status = lab.status()
        assert status["healthy"], json.dumps(status, indent=1)
        assert {(one["id"], one["started_by"]) for one in status["tasks"]} >= {(task, "ecsconsul")}
        weather = next(one for one in status["services"] if one["name"] == "weather")
        assert (weather["running"], weather["passing"], weather["ghosts"]) == (
            weather["desired"],
            weather["desired"],
            [],
        )
    finally:
        for arn in (task, loud):
            ecs.stop_task(cluster=lab.name, task=arn, reason="the test has ended")
    ecs.get_waiter("tasks_stopped").wait(cluster=lab.name, tasks=[task, loud], WaiterConfig={"Delay": 1})
    stopped = ecs.describe_tasks(cluster=lab.name, tasks=[task, loud])["tasks"]
    assert {one["stoppedReason"] for one in stopped} == {"the test has ended"}


def test_output_is_in_cloudwatch_too(lab: Lab) -> None:
    """As `aws logs tail --follow` asks for it: since a time, in a loop, across all streams."""
    logs, begin = lab.client("logs"), int(time.time() * 1000) - 2000
    task = lab.ok("run", "--detach", "weather", "--", "sh", "-c", "echo first; sleep 1; echo second").out.strip()

    def read() -> list[str]:
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=f"/ecsconsul/{lab.name}", startTime=begin)
        events = [event for page in pages for event in page["events"]]
        return [one["message"] for one in events if one["logStreamName"] == f"weather/weather/{task}"]

    eventually(read, lambda found: found == ["first", "second"])
