"""The commands on a running lab: they print what really runs, and change only what is requested."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.e2e.lab import TIMEOUT, Json, Lab, Load, dig, eventually, fields, get, interrupted, listens
from tests.require import require

SERVICES = ["portal", "stock-price", "weather"]
READ_ONLY = ("Describe", "List", "Get")


def state(lab: Lab) -> dict[str, Any]:
    """Everything that a write call would change, from the AWS API."""
    ecs, cloudformation = lab.client("ecs"), lab.client("cloudformation")
    services = ecs.describe_services(cluster=lab.name, services=SERVICES, include=["TAGS"])["services"]
    stack = cloudformation.describe_stacks(StackName=lab.name)["Stacks"][0]
    return {
        "services": services,
        "tasks": sorted(ecs.list_tasks(cluster=lab.name)["taskArns"]),
        "definitions": ecs.list_task_definitions()["taskDefinitionArns"],
        "stack": (stack.get("LastUpdatedTime"), stack["Tags"], stack["StackStatus"]),
    }


def pending(document: Json) -> list[str]:
    """The steps that changed something, or would."""
    return [step["name"] for step in document["steps"] if step["op"] != "keep"]


# what runs


def test_all_services_are_passing_and_spread(lab: Lab) -> None:
    result = lab.ok("status", "--output", "json")
    status = result.document
    assert status["healthy"] is True
    assert (status["lab"], status["target"]) == (lab.name, "local")
    assert {step["op"] for step in status["steps"]} == {"keep"}
    assert sorted(service["name"] for service in status["services"]) == SERVICES
    for service in status["services"]:
        assert service["desired"] == service["running"] == service["passing"] == len(service["instances"]) == 1
        [instance] = service["instances"]
        assert instance["status"] == "passing"
        assert {check["status"] for check in instance["checks"]} == {"passing"}
        assert listens(instance["address"], instance["port"])
    members = status["consul"]["members"]
    assert sorted(member["role"] for member in members) == ["client", "client", "server"]
    assert {member["status"] for member in members} == {"alive"}
    assert len({member["address"] for member in members}) == 3, "each instance has an address of its own"
    assert {service["instances"][0]["node"] for service in status["services"]} <= {m["name"] for m in members}


def test_everything_listens_on_loopback_only(lab: Lab) -> None:
    addresses = lab.addresses()
    assert len(addresses) > (10 if lab.runtime == "processes" else 1)
    assert [address for address, _ in addresses if not address.startswith("127.")] == []


def test_status_table(lab: Lab) -> None:
    shown = lab.ok("status").out
    for text in (lab.name, "healthy", "weather", lab.endpoints("weather")[0], lab.portal):
        assert text in shown
    assert "\x1b[" not in shown, "no colours in a pipe"


def test_catalog_lists_the_three_services(lab: Lab) -> None:
    env = lab.ok("env", "--output", "json").document
    _, catalog = get(f"{env['CONSUL_HTTP_ADDR']}/v1/catalog/services")
    assert {"stock-price", "weather", "portal"} <= set(json.loads(catalog))


def test_shell_can_evaluate_env(lab: Lab) -> None:
    line = lab.ok("env").out
    script = f'{line}\necho "$AWS_ENDPOINT_URL $AWS_REGION $CONSUL_HTTP_ADDR"'
    output = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, timeout=60).stdout.split()
    status = lab.status()
    assert output == [status["aws"]["endpoint"], status["aws"]["region"], status["consul"]["http"]]


def test_second_up_makes_no_write_call(lab: Lab) -> None:
    before = state(lab)
    document = lab.up()
    assert document["changes"] == {"created": 0, "updated": 0, "kept": len(document["steps"]), "destroyed": 0}
    plan = lab.ok("plan", "--exit-code", "--output", "json").document
    assert plan["changes"]["kept"] == len(plan["steps"])
    # botocore logs every operation.
    wire = lab.ok("up", "--debug").err
    operations = set(re.findall(r"OperationModel\(name=(\w+)\)", wire))
    assert {"DescribeServices", "DescribeStacks", "DescribeClusters"} <= operations
    assert [name for name in operations if not name.startswith(READ_ONLY)] == []
    assert state(lab) == before


# the portal


def test_portal_finds_services_through_srv(lab: Lab) -> None:
    url = lab.portal
    for path, service, key in (("weather/London", "weather", "temp"), ("stock/AMZN", "stock-price", "price")):
        status, body = get(f"{url}api/{path}")
        assert status == 200, body
        found = json.loads(body)
        assert isinstance(found["data"][key], float)
        assert found["discovery"]["name"] == f"{service}.service.consul."
        assert found["discovery"]["endpoint"] == lab.endpoints(service)[0]


def test_portal_in_a_browser(lab: Lab, browser: Any) -> None:
    page = browser.new_page()
    page.set_default_timeout(60_000)
    page.goto(lab.portal)
    page.get_by_label("City", exact=True).fill("London")
    page.keyboard.press("Enter")
    summary = page.get_by_text(f"Found at {lab.endpoints('weather')[0]}")
    summary.wait_for()
    summary.click()
    page.locator("#weather-results details[open]").get_by_text("weather.service.consul.").wait_for()
    page.get_by_label("Stock symbol", exact=True).fill("AMZN")
    page.keyboard.press("Enter")
    page.get_by_text(f"Found at {lab.endpoints('stock-price')[0]}").wait_for()
    page.locator("#stock-results").get_by_text("Amazon.com, Inc.", exact=False).first.wait_for()
    page.close()


# dig


def test_dig_agrees_with_binds_dig(lab: Lab) -> None:
    server = lab.dns
    for name in SERVICES:
        full = f"{name}.service.consul"
        assert sorted(lab.ok("dig", name, "--short").out.splitlines()) == dig(server, full) != []
        assert sorted(lab.ok("dig", full, "--short", "--tcp").out.splitlines()) == dig(server, full, "+tcp")
    assert sorted(lab.ok("dig", "weather", "--tag", "http", "--short").out.splitlines()) == dig(
        server, "http.weather.service.consul"
    )


def test_dig_with_another_server_and_other_types(lab: Lab) -> None:
    host, _, port = lab.dns.rpartition(":")
    assert lab.ok("dig", "weather", f"@{host}", "-p", port, "--short").out == lab.ok("dig", "weather", "--short").out
    address = lab.endpoints("weather")[0].split(":")[0]
    assert lab.ok("dig", "weather", "-t", "A", "--short").out.split() == [address]
    document = lab.ok("dig", "weather", "--output", "json", "--tcp").document
    assert (document["name"], document["type"], document["rcode"]) == ("weather.service.consul.", "SRV", "NOERROR")
    assert (document["server"], document["transport"]) == (f"{host}:{port}", "tcp")
    assert document["milliseconds"] > 0
    [answer] = document["answers"]
    assert f"{answer['address']}:{answer['port']}" == lab.endpoints("weather")[0]
    assert {"priority", "weight", "target"} <= set(answer)


def test_dig_of_an_unknown_name(lab: Lab) -> None:
    result = lab.run("dig", "wetter")
    assert result.code == 1
    for name in SERVICES:
        assert name in result.err
    assert lab.run("dig", "weather", "--tag", "nope", "--short").code == 1


# logs


def test_logs(lab: Lab) -> None:
    get(f"{lab.portal}weather/Atlantis")
    eventually(lambda: lab.ok("logs", "weather", "-n", "50").out, lambda output: "/weather/Atlantis" in output)
    one = lab.ok("logs", "weather", "-n", "1", "--output", "json").document
    assert one["lines"]
    assert len({line["task"] for line in one["lines"]}) == len(one["lines"]), "one of each task"


def test_logs_follow_until_ctrl_c(lab: Lab) -> None:
    url = lab.portal
    with lab.started("logs", "weather", "-f", "-n", "0") as follower:
        # The first request may precede the follower's first read, and health checks come at any time.
        eventually(lambda: get(f"{url}weather/Cairo") and _line_of(follower), lambda line: "/weather/" in line)
        result = interrupted(follower)
    assert result.code == 130
    assert "Traceback" not in result.err


def _line_of(process: subprocess.Popen[str]) -> str:
    import select

    assert process.stdout
    ready, _, _ = select.select([process.stdout], [], [], 0.2)
    return process.stdout.readline() if ready else ""


# scaling


def running_pids(lab: Lab, service: str) -> set[int]:
    """The processes that listen on the service's endpoints."""
    import psutil

    endpoints = set(lab.endpoints(service))
    return {
        connection.pid or 0
        for connection in psutil.net_connections("tcp4")
        if connection.status == psutil.CONN_LISTEN and f"{connection.laddr.ip}:{connection.laddr.port}" in endpoints
    }


def test_scale_up_and_down(lab: Lab) -> None:
    server = lab.dns
    document = lab.ok("scale", "weather=3", "stock-price=2", "--output", "json").document
    assert document["changes"]["updated"] == 2
    assert len(dig(server, "weather.service.consul")) == 3, "Consul lists them when `scale` ends"
    assert len(dig(server, "stock-price.service.consul")) == 2
    assert sorted(lab.ok("dig", "weather", "--short").out.splitlines()) == dig(server, "weather.service.consul")
    assert len(lab.endpoints("weather")) == 3
    [weather] = (service for service in lab.status()["services"] if service["name"] == "weather")
    assert len({instance["node"] for instance in weather["instances"]}) == 2, "spread"
    answering = {json.loads(get(f"{lab.portal}api/weather/London")[1])["discovery"]["endpoint"] for _ in range(60)}
    assert answering == set(lab.endpoints("weather")), "the portal reaches all of them"
    lab.ok("scale", "weather=0")
    assert dig(server, "weather.service.consul") == []
    assert lab.tasks("weather") == []
    back = lab.up()
    assert sorted(step["name"] for step in back["steps"] if step["op"] == "update") == [
        "services/stock-price", "services/weather",
    ]  # fmt: skip
    assert len(lab.endpoints("weather")) == len(lab.endpoints("stock-price")) == 1
    assert lab.ok("status")


def test_changed_count_updates_only_that_service(lab: Lab) -> None:
    before = {name: lab.tasks(name) for name in SERVICES}
    text = lab.config.read_text()
    first = text.replace("    count: 1", "    count: 2", 1)
    lab.config.write_text(first)
    try:
        plan = lab.run("plan", "--exit-code", "--output", "json")
        assert plan.code == 5
        assert [name for name in pending(plan.document) if name != "discovery"] == ["services/stock-price"]
        assert lab.up()["changes"]["updated"] == 1
        assert len(lab.tasks("stock-price")) == 2
        assert {name: lab.tasks(name) for name in ("portal", "weather")} == {
            name: before[name] for name in ("portal", "weather")
        }
    finally:
        lab.config.write_text(text)
        lab.up()
    assert len(lab.tasks("stock-price")) == 1


def test_plan_names_one_variable_one_tag_one_count_and_one_file(lab: Lab) -> None:
    app = lab.folder / "services" / "weather" / "app.py"
    config, source = lab.config.read_text(), app.read_text()
    try:
        app.write_text(source + "\n# edited\n")
        lab.edit("TEMP_SCALE: C ", "TEMP_SCALE: F ")
        head, portal, tail = lab.config.read_text().partition("  portal:")
        tail = tail.replace("tags: [http]", "tags: [http, blue]")
        lab.config.write_text(head.replace("count: 1 ", "count: 2 ", 1) + portal + tail)
        result = lab.run("plan", "--exit-code", "--output", "json")
        assert result.code == 5
        found = fields(result.document, "old", "new")
        ((path, before, after),) = found.pop("images/weather")
        assert (path, before != after) == ("files/app.py", True)
        assert found == {
            "services/stock-price": [("desiredCount", 1, 2)],
            "tasks/weather": [("containers.weather.environment.TEMP_SCALE", "C", "F")],
            "tasks/portal": [("containers.portal.environment.SERVICE_TAGS", "http", "http,blue")],
        }
        assert lab.run("diff", "--exit-code").code == 0
    finally:
        lab.config.write_text(config)
        app.write_text(source)


# other AWS clients


def test_tasks_follow_another_client_that_scales(lab: Lab) -> None:
    ecs = lab.client("ecs")
    arns = ecs.list_services(cluster=lab.name)["serviceArns"]
    assert sorted(arn.rpartition("/")[2] for arn in arns) == SERVICES
    answer = ecs.update_service(cluster=lab.name, service="weather", desiredCount=3)["service"]
    assert answer["desiredCount"] == 3
    assert answer["runningCount"] == 1, "two of them have not started yet"
    ecs.get_waiter("services_stable").wait(
        cluster=lab.name, services=["weather"], WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    endpoints = eventually(lambda: lab.endpoints("weather"), lambda found: len(found) == 3)
    assert len(running_pids(lab, "weather")) == 3
    bindings = [task["containers"][0]["networkBindings"][0] for task in lab.tasks("weather")]
    assert sorted(f"{b['bindIP']}:{b['hostPort']}" for b in bindings) == endpoints
    assert {binding["containerPort"] for binding in bindings} == {4567}
    lab.up()
    assert len(lab.endpoints("weather")) == 1


def test_no_service_event_looks_like_a_failure(lab: Lab) -> None:
    """Tools such as ecs-deploy fail when a service event says that a task could not be placed."""
    messages = [event["message"] for name in SERVICES for event in lab.described(name)["events"]]
    assert messages
    assert [message for message in messages if "unable" in message] == []


def test_stopped_task_is_replaced_and_has_a_reason(lab: Lab) -> None:
    ecs = lab.client("ecs")
    [task] = lab.tasks("stock-price")
    ecs.stop_task(cluster=lab.name, task=task["taskArn"], reason="maintenance")
    [new] = eventually(
        lambda: lab.tasks("stock-price"),
        lambda found: (
            [t for t in found if t["lastStatus"] == "RUNNING" and t["taskArn"] != task["taskArn"]] == found != []
        ),
    )
    assert new["taskArn"] != task["taskArn"]
    stopped = eventually(
        lambda: next(t for t in lab.tasks("stock-price", "STOPPED") if t["taskArn"] == task["taskArn"]),
        lambda found: found["lastStatus"] == "STOPPED",
    )
    assert stopped["stoppedReason"] == "maintenance"
    assert stopped["stopCode"] == "UserInitiated"
    assert stopped["containers"][0]["exitCode"] == 0, "it exits on SIGTERM"
    eventually(lambda: lab.endpoints("stock-price"), lambda found: len(found) == 1)


def test_up_reverts_another_clients_deployment(lab: Lab) -> None:
    """As `ecs deploy -e` does: the previous definition and its tags with one variable changed."""
    ecs = lab.client("ecs")
    arn = lab.described("weather")["taskDefinition"]
    found = ecs.describe_task_definition(taskDefinition=arn, include=["TAGS"])
    [container] = found["taskDefinition"]["containerDefinitions"]
    for variable in container["environment"]:
        if variable["name"] == "TEMP_SCALE":
            variable["value"] = "F"
    changed = ecs.register_task_definition(
        family=found["taskDefinition"]["family"],
        networkMode=found["taskDefinition"]["networkMode"],
        containerDefinitions=[container],
        tags=found["tags"],
    )["taskDefinition"]["taskDefinitionArn"]
    ecs.update_service(cluster=lab.name, service="weather", taskDefinition=changed)
    ecs.deregister_task_definition(taskDefinition=arn)
    url = f"{lab.portal}weather/London"
    eventually(lambda: get(url)[1], lambda body: "Fahrenheit" in body)
    assert "tasks/weather" in [
        s["name"] for s in lab.ok("plan", "--output", "json").document["steps"] if s["op"] == "update"
    ]
    lab.up()
    assert "Celsius" in get(url)[1]
    assert lab.ok("plan", "--exit-code")


# changes under load


def test_rolling_deploy_under_load(lab: Lab) -> None:
    url, source = lab.portal, lab.folder / "services" / "weather" / "providers.py"
    old = lab.tasks("weather")[0]["taskArn"]
    load = Load([f"{url}weather/London", f"{url}stock/AMZN"])
    with lab.rewritten(source, source.read_text() + "\n# edited\n"):
        with load.running():
            changed = pending(lab.up())
            load.wait_for_answers()
        assert {"images/weather", "tasks/weather", "services/weather"} <= set(changed)
        assert {name.partition("/")[2] for name in changed} <= {"weather", ""}
        assert load.failures == []
        assert [task["taskArn"] for task in lab.tasks("weather")] != [old]


def test_scale_in_under_load(lab: Lab) -> None:
    url = lab.portal
    load = Load([f"{url}stock/AMZN", f"{url}weather/London"])
    with lab.scaled("stock-price=3"):
        with load.running():
            lab.ok("scale", "stock-price=1")
            load.wait_for_answers()
        assert load.failures == []


def test_rolling_deploy_of_the_portal(lab: Lab) -> None:
    url = lab.portal
    load = Load([f"{url}health", f"{url}weather/London"])
    with load.running(), lab.edited("    environment: {}", "    environment: {EDITED: yes}"):
        lab.up()
        load.wait_for_answers()
    assert load.failures == []


# failures


def test_service_that_crashes_at_start(lab: Lab) -> None:
    before = {name: [task["taskArn"] for task in lab.tasks(name)] for name in SERVICES}
    folder = lab.folder / "crasher"
    folder.mkdir()
    (folder / "Dockerfile").write_text(
        'ARG BASE=python:3.12-slim\nFROM ${BASE}\nWORKDIR /srv\nCOPY . .\nCMD ["python3", "main.py"]\n'
    )
    (folder / "main.py").write_text("import sys\nprint('no database here')\nsys.exit(17)\n")
    with lab.edited("services:\n", "services:\n  crasher:\n    path: crasher\n"):
        result = lab.run("up")
        assert result.code == 1
        assert not re.search("timed out|circuit breaker", result.err), "`up` waited for what ends it at last"
        assert "crasher" in result.err
        assert "code 17" in result.err
        assert "no database here" in result.err
        assert "Traceback" not in result.err
        assert {name: [task["taskArn"] for task in lab.tasks(name)] for name in SERVICES} == before
        status = lab.run("status", "--output", "json")
        assert status.code == 4
        crasher = next(s for s in status.document["services"] if s["name"] == "crasher")
        assert (crasher["desired"], crasher["passing"]) == (1, 0)
        (folder / "main.py").write_text(
            "import http.server, os, signal\n"
            # A container's first process ignores signals that it doesn't handle.
            "signal.signal(signal.SIGTERM, lambda *_: os._exit(0))\n"
            "http.server.HTTPServer((os.environ.get('HOST', ''), int(os.environ.get('PORT', 4567))),"
            " http.server.SimpleHTTPRequestHandler).serve_forever()\n"
        )
        lab.up()
        assert len(lab.endpoints("crasher")) == 1
    # The config is restored, and `up` has removed the service.
    server = lab.dns
    assert "crasher" not in [s["name"] for s in lab.status()["services"]]
    assert dig(server, "crasher.service.consul") == []
    assert lab.client("ecs").list_task_definitions(familyPrefix=f"{lab.name}-crasher")["taskDefinitionArns"] == []
    assert lab.ok("status")


def test_failed_deploy_keeps_the_old_version_running(lab: Lab) -> None:
    url, app = lab.portal, lab.folder / "services" / "weather" / "app.py"
    load = Load([f"{url}weather/London"])
    with load.running(), lab.rewritten(app, "raise SystemExit('a bad edit')\n"):
        result = lab.run("up")
        assert result.code == 1
        assert "a bad edit" in result.err
        assert not re.search("timed out|circuit breaker", result.err), "`up` waited for what ends it at last"
    assert load.failures == []
    assert lab.ok("status")
    assert len(lab.tasks("weather")) == 1


def test_concurrent_ups(lab: Lab) -> None:
    with lab.edited("PROVIDER: demo\n      TEMP_SCALE: C", "PROVIDER: demo\n      TEMP_SCALE: F"):
        with lab.started("up", "--output", "json") as one, lab.started("up", "--output", "json") as other:
            both = [one, other]
            ends = [process.communicate(timeout=TIMEOUT) for process in both]
        assert 0 in [process.returncode for process in both], ends
        assert all("Traceback" not in err for _, err in ends)
        lab.up()
        assert len(lab.tasks("weather")) == 1
        assert "Fahrenheit" in get(f"{lab.portal}weather/London")[1]


def test_console_script(lab: Lab) -> None:
    script = Path(sys.executable).with_name("ecsconsul")
    require("console script", script.exists(), "ecsconsul is not installed in this environment")
    output = subprocess.run([script, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
    assert output.startswith("ecsconsul")
