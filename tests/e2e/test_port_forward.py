"""`port-forward`, in both runtimes."""

from __future__ import annotations

import json
import signal
import urllib.request

from tests.e2e.lab import Lab

SECONDS = 30.0


def answer(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=SECONDS) as response:
        return int(response.status)


def test_forwarded_port_survives_a_new_task(lab: Lab) -> None:
    with lab.started("port-forward", "weather", "4567", "--output", "json") as process:
        assert process.stdout and process.stderr
        document = json.loads(process.stdout.readline())
        assert document == {
            "address": "127.0.0.1",
            "port": document["port"],
            "service": "weather",
            "name": "weather",
            "container_port": 4567,
            "task": None,
        }
        assert answer(document["port"]) == 200
        before = lab.endpoints("weather")
        ecs = lab.client("ecs")
        ecs.update_service(cluster=lab.name, service="weather", forceNewDeployment=True)
        ecs.get_waiter("services_stable").wait(
            cluster=lab.name, services=["weather"], WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )
        assert not set(before) & set(lab.endpoints("weather"))
        assert answer(document["port"]) == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 130
        assert "Traceback" not in process.stderr.read()


def test_port_that_is_taken_and_services_without_instances_are_refused(lab: Lab) -> None:
    taken = lab.portal.rstrip("/").rpartition(":")[2]
    result = lab.run("port-forward", "weather", f"{taken}:")
    assert result.code == 1
    assert f"Port {taken} is taken" in result.err
    result = lab.run("port-forward", "wether")
    assert result.code == 2
    assert "did you mean weather?" in result.err
