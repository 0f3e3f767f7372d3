"""The commands on a running lab: what they do, and their JSON documents."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.cli.conftest import PATIENCE, Running
from tests.test_architecture import loaded

CHANGE_KEYS = {"lab", "target", "seconds", "changes", "steps"}
COUNT_KEYS = {"created", "updated", "kept", "destroyed"}
SERVICE = {"name", "tags", "desired", "running", "passing", "instances"}
INSTANCE = {"id", "node", "address", "port", "status", "checks"}


@pytest.fixture
def up(running: Running) -> Running:
    """The lab after `ecsconsul up`."""
    done = running.run("up", "--output", "json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document.keys() >= CHANGE_KEYS
    assert document["changes"] == {
        "created": 8,
        "updated": 0,
        "kept": 2,
        "destroyed": 0,
    }  # the prerequisites and discovery exist
    assert {step["op"] for step in document["steps"]} == {"create", "keep"}
    return running


def test_second_up_changes_nothing(up: Running) -> None:
    document = up.document("up")
    assert document["changes"].keys() >= COUNT_KEYS
    assert {step["op"] for step in document["steps"]} == {"keep"}
    assert up.run("plan", "--exit-code").returncode == 0


def test_status(up: Running) -> None:
    done = up.run("status", "--output", "json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["healthy"]) == (0, True)
    assert document.keys() >= {"lab", "target", "healthy", "portal", "aws", "consul", "steps", "services"}
    assert document["aws"].keys() >= {"endpoint", "region"}
    assert document["consul"].keys() >= {"http", "dns", "leader", "members"}
    assert all(m.keys() >= {"name", "address", "role", "status"} for m in document["consul"]["members"])
    assert all(s.keys() >= {"name", "op", "detail"} for s in document["steps"])
    assert [(s["name"], s["desired"], s["running"], s["passing"]) for s in document["services"]] == [
        ("weather", 2, 2, 2),
        ("portal", 1, 1, 1),
    ]
    for service in document["services"]:
        assert service.keys() >= SERVICE
        for instance in service["instances"]:
            assert instance.keys() >= INSTANCE
            assert all(check.keys() >= {"name", "status", "output"} for check in instance["checks"])


def test_status_is_unhealthy_if_an_instance_is_critical(up: Running) -> None:
    assert up.consul is not None
    up.consul.deregister("w2")
    up.register("w3", "weather", "critical")
    done = up.run("status")
    assert done.returncode == 4
    assert "critical" in done.stdout
    assert "not healthy" in done.stdout


def test_plan_after_an_edit_updates_image_task_and_service(up: Running) -> None:
    (up.folder / "app" / "app.py").write_text("print()")
    document = up.document("plan")
    changed = {step["name"] for step in document["steps"] if step["op"] != "keep"}
    assert changed == {f"{kind}/{name}" for kind in ("images", "tasks", "services") for name in ("weather", "portal")}
    assert document["changes"] == {"created": 0, "updated": 6, "kept": 4, "destroyed": 0}
    assert up.run("plan", "--exit-code").returncode == 5


def test_plan_of_another_number_of_instances_shows_the_group(up: Running) -> None:
    config = up.folder / "config.yaml"
    config.write_text(config.read_text().replace("instances: 1", "instances: 2"))
    (step,) = [step for step in up.document("plan")["steps"] if step["op"] != "keep"]
    (change,) = step["changes"]
    assert change.keys() >= {"resource", "type", "action", "properties", "instances", "batch", "causes"}
    assert (step["name"], change["resource"], change["action"], change["instances"]) == (
        "stack", "EcsInstances", "modify", 0,
    )  # fmt: skip
    assert change["properties"][0] == {"name": "DesiredCapacity", "before": "1", "after": "2"}


@pytest.mark.parametrize("verb", ["up", "plan"])
def test_lab_on_this_machine_has_no_ami_to_update(running: Running, verb: str) -> None:
    done = running.run(verb, "--update-ami")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--update-ami is for labs in AWS" in done.stderr


def test_up_restores_the_count_after_scale(up: Running) -> None:
    up.register("w3", "weather")
    document = up.document("scale", "weather=3")
    assert [(step["name"], step["op"]) for step in document["steps"]] == [
        ("services/weather", "update"),
        ("discovery", "keep"),
    ]
    assert up.document("status")["services"][0]["running"] == 3
    assert up.consul is not None
    up.consul.deregister("w3")
    changed = [step["name"] for step in up.document("up")["steps"] if step["op"] == "update"]
    assert changed == ["services/weather"]


def test_dig(up: Running) -> None:
    document = up.document("dig", "weather")
    assert document.keys() >= {"name", "type", "rcode", "server", "transport", "milliseconds", "answers"}
    assert (document["name"], document["type"], document["rcode"]) == ("weather.service.consul.", "SRV", "NOERROR")
    assert [answer["port"] for answer in document["answers"]] == [32768]
    assert document["answers"][0].keys() >= {"priority", "weight", "port", "target", "address"}
    assert up.run("dig", "weather", "--short").stdout.split()[2] == "32768"


def test_dig_imports_nothing_heavy_besides_dns_and_the_config(running: Running) -> None:
    found = loaded("dig", "weather", folder=running.folder, environment=running.variables)
    assert found >= {"dns", "yaml", "msgspec"}
    assert found & {"boto3", "botocore", "moto", "consul", "requests", "rich", "docker", "flask"} == set()


def test_dig_of_an_unknown_name_lists_known_ones(up: Running) -> None:
    done = up.run("dig", "wether")
    assert done.returncode == 1
    assert "NXDOMAIN" in done.stdout + done.stderr
    assert all(name in done.stderr for name in ("weather", "portal"))


def test_shell_can_evaluate_env(up: Running) -> None:
    script = 'eval "$("$0" -m ecsconsul env)"; printf "%s\\n" "$AWS_ENDPOINT_URL" "$AWS_REGION" "$CONSUL_HTTP_ADDR"'
    done = subprocess.run(
        ["sh", "-c", script, sys.executable],
        cwd=up.folder,
        env=up.variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    found = up.document("status")
    assert done.stdout.split() == [found["aws"]["endpoint"], found["aws"]["region"], found["consul"]["http"]]


def test_removed_service_is_destroyed(up: Running) -> None:
    config = up.folder / "config.yaml"
    config.write_text(config.read_text().partition("  portal:")[0])
    (step,) = [step for step in up.document("up")["steps"] if step["op"] == "destroy"]
    assert step["name"] == "services/portal"


def test_blocked_up_changes_nothing(running: Running) -> None:
    (running.folder / "app" / "Dockerfile").unlink()
    done = running.run("up")
    assert done.returncode != 0
    assert done.stdout == ""
    assert "Dockerfile" in done.stderr
    assert {s["op"] for s in running.document("status")["steps"] if s["name"] in ("cluster", "stack")} == {"create"}


def test_foreign_cluster_blocks_up_and_is_kept(running: Running) -> None:
    from tests.deploy.world import client

    assert running.world is not None
    ecs = client("ecs", running.world.endpoint("region"))
    ecs.create_cluster(clusterName="cli-lab")
    done = running.run("up")
    assert done.returncode == 1
    assert "A cluster named cli-lab already exists, and this lab did not make it" in done.stderr
    assert ecs.describe_clusters(clusters=["cli-lab"])["clusters"][0]["status"] == "ACTIVE"


def test_progress_is_on_stderr_and_the_result_on_stdout(running: Running) -> None:
    done = running.run("up")
    assert "created" in done.stdout
    assert "+ create" in done.stderr
    assert "+ create" not in done.stdout


def test_up_resumes_after_ctrl_c(running: Running) -> None:
    """`up` waits for the second weather, which isn't in Consul, until Ctrl-C."""
    assert running.consul is not None
    running.consul.deregister("w2")
    with running.spawn("up") as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if "discovery" in line and "weather 1/2 passing" in line:
                    break
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert (process.returncode, out) == (130, "")
    assert "Interrupted" in err
    assert "Traceback" not in err
    running.register("w2", "weather")
    assert {step["op"] for step in running.document("up")["steps"]} == {"keep"}


def test_up_resumes_after_a_closed_pipe(running: Running) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    done = running.run_apart("up", stdout=theirs, stderr=subprocess.STDOUT)
    os.close(theirs)
    assert done.returncode in (0, 1)
    assert running.run("up").returncode == 0
