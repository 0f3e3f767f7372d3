"""The running lab under kill -9: what comes back by itself, what `status` says, what `up` mends, what `down` leaves."""

from __future__ import annotations

import json

import psutil
import pytest

from tests.e2e.lab_at import LabAt, Load, dig, eventually, get, listens
from tests.e2e.test_lab import SERVICES

# what is killed and counted here are processes; test_lab_in_containers.py does the like to containers
RUNTIMES = ("processes",)


def answers(lab: LabAt, path: str) -> bool:
    """Whether the portal answers."""
    try:
        return get(f"{lab.portal}{path}")[0] == 200
    except OSError:
        return False


def is_whole(lab: LabAt) -> None:
    """Healthy, without anything twice: as many tasks, processes, members and catalog entries as the config wants."""
    status = lab.ok("status", "--output", "json").document
    assert status["healthy"] is True
    members = status["consul"]["members"]
    assert sorted((m["role"], m["status"]) for m in members) == [("client", "alive")] * 2 + [("server", "alive")]
    assert len(lab.consuls()) == 3
    regions = [process for process in lab.processes() if "ecsconsul.local.region" in process.cmdline()]
    assert len(regions) == 1
    for name in SERVICES:
        [task] = lab.tasks(name)
        binding = task["containers"][0]["networkBindings"][0]
        assert lab.endpoints(name) == [f"{binding['bindIP']}:{binding['hostPort']}"]
    gunicorns = [p for p in lab.processes() if any("gunicorn" in word for word in p.cmdline())]
    masters = [p for p in gunicorns if p.ppid() not in {g.pid for g in gunicorns}]
    assert len(masters) == 3


def listener(endpoint: str) -> psutil.Process:
    """The main process of the task that listens there: what a server forks listens on the same socket."""
    address, _, port = endpoint.rpartition(":")
    process = next(
        psutil.Process(connection.pid)
        for connection in psutil.net_connections("tcp4")
        if connection.status == psutil.CONN_LISTEN and connection.laddr == (address, int(port)) and connection.pid
    )
    parent = process.parent()
    return parent if parent and parent.cmdline() == process.cmdline() else process


def test_a_task_that_is_killed_comes_back(lab: LabAt) -> None:
    [task] = lab.tasks("weather")
    listener(lab.endpoints("weather")[0]).kill()
    eventually(lambda: [t["taskArn"] for t in lab.tasks("weather")], lambda found: found not in ([], [task["taskArn"]]))
    [stopped] = [t for t in lab.tasks("weather", "STOPPED") if t["taskArn"] == task["taskArn"]]
    assert stopped["containers"][0]["exitCode"] == 137
    assert stopped["stopCode"] == "EssentialContainerExited"
    eventually(lambda: dig(lab.dns, "weather.service.consul"), lambda found: len(found) == 1)
    assert answers(lab, "weather/London")
    is_whole(lab)


def test_no_request_fails_while_one_of_two_tasks_is_killed(lab: LabAt) -> None:
    lab.ok("scale", "weather=2")
    load = Load([f"{lab.portal}weather/London"], threads=2)
    with load.running():
        listener(lab.endpoints("weather")[0]).kill()
        eventually(lambda: len(load.answers), lambda count: count > 100)
    assert load.failures == []
    eventually(lambda: lab.endpoints("weather"), lambda found: len(found) == 2)
    lab.up()


def test_a_consul_agent_that_is_killed_comes_back(lab: LabAt) -> None:
    clients = {m["name"] for m in lab.status()["consul"]["members"] if m["role"] == "client"}
    agents = [p for p in lab.consuls() if any(name in word for name in clients for word in p.cmdline())]
    assert len(agents) == 2
    for agent in agents:
        agent.kill()
    eventually(lambda: len(lab.consuls()), lambda count: count == 3)
    for name in SERVICES:
        eventually(lambda name=name: dig(lab.dns, f"{name}.service.consul"), lambda found: len(found) == 1)
    eventually(lambda: lab.ran("status").code, lambda code: code == 0)
    assert answers(lab, "weather/London")
    is_whole(lab)


def test_the_consul_server_that_is_killed_comes_back(lab: LabAt) -> None:
    [server] = [m for m in lab.status()["consul"]["members"] if m["role"] == "server"]
    [process] = [p for p in lab.consuls() if any(server["name"] in word for word in p.cmdline())]
    process.kill()
    eventually(lambda: lab.ran("status").code, lambda code: code == 0, seconds=30)
    assert answers(lab, "weather/London")
    is_whole(lab)


def test_all_of_consul_killed_at_once(lab: LabAt) -> None:
    for process in lab.consuls():
        process.kill()
    assert lab.ran("status").code == 4, "the truth, right now"
    eventually(lambda: lab.ran("status").code, lambda code: code == 0, seconds=30)
    assert answers(lab, "weather/London")
    is_whole(lab)


def test_the_region_that_is_killed_is_told_and_mended(lab: LabAt) -> None:
    lab.region().kill()
    ran = lab.ran("status", "--output", "json")
    assert ran.code == 4
    assert ran.document["healthy"] is False
    plan = lab.ran("plan", "--exit-code", "--output", "json")
    assert plan.code == 5
    assert lab.ran("dig", "weather").code == 1
    assert "Traceback" not in lab.ran("env").err
    lab.up()
    assert answers(lab, "weather/London")
    is_whole(lab)


def test_the_region_killed_together_with_a_task_and_an_agent(lab: LabAt) -> None:
    victims = [lab.region(), lab.consuls()[0], listener(lab.endpoints("portal")[0])]
    for process in victims:
        process.kill()
    lab.up()
    is_whole(lab)


def test_a_task_that_hangs_is_not_found(lab: LabAt) -> None:
    """A process that lives and does not answer leaves DNS after its check's interval; here the region is asked to."""
    lab.ok("scale", "weather=2")
    hung, well = lab.endpoints("weather")
    process = listener(hung)
    family = [process, *process.children(recursive=True)]
    for one in family:
        one.suspend()
    try:
        load = Load([f"{lab.portal}weather/London"], threads=1)
        with load.running():
            eventually(lambda: len(load.answers), lambda count: count >= 3, seconds=30)
        assert load.failures == []
        found = {json.loads(get(f"{lab.portal}api/weather/London")[1])["discovery"]["endpoint"] for _ in range(2)}
        assert found == {well}
    finally:
        for one in family:
            one.resume()
    lab.up()


@pytest.fixture
def addresses(lab: LabAt) -> list[tuple[str, int]]:
    """Everything that the lab listens on while it runs."""
    found = lab.addresses()
    assert len(found) > 10
    return found


def test_down_leaves_nothing(lab: LabAt, addresses: list[tuple[str, int]]) -> None:
    document = lab.down()
    assert document["left"] == []
    assert document["changes"]["destroyed"] >= 5
    is_gone(lab, addresses)
    again = lab.down()
    assert again["left"] == []
    assert again["changes"]["destroyed"] == 0
    logs = [path for path in lab.home.rglob("*.log") if path.stat().st_size]
    assert logs, "the logs stay, and `down` names them"
    assert str(logs[0]).startswith(tuple(line.partition(": ")[2] for line in document["kept"]))


def test_down_after_a_crash(lab: LabAt) -> None:
    lab.up()
    lab.ok("scale", "weather=2")
    addresses, portal = lab.addresses(), listener(lab.endpoints("portal")[0])
    lab.region().kill()
    portal.kill()
    document = lab.down()
    assert document["left"] == []
    is_gone(lab, addresses)


def test_down_with_what_others_have_started(lab: LabAt) -> None:
    """Another client's service and task go with the cluster's instances, or `down` says why it cannot go on."""
    lab.up()
    ecs = lab.client("ecs")
    definition = lab.described("weather")["taskDefinition"]
    ecs.run_task(cluster=lab.name, taskDefinition=definition, count=1)
    ecs.create_service(cluster=lab.name, serviceName="foreign", taskDefinition=definition, desiredCount=1)
    addresses = lab.addresses()
    ran = lab.ran("down", "--yes", "--output", "json")
    if ran.code:
        assert "foreign" in ran.err
        ecs.delete_service(cluster=lab.name, service="foreign", force=True)
        lab.down()
    is_gone(lab, addresses)


def is_gone(lab: LabAt, addresses: list[tuple[str, int]]) -> None:
    """No process, no socket, no file but logs."""
    assert [(process.pid, process.cmdline()) for process in lab.processes()] == []
    assert [f"{address}:{port}" for address, port in addresses if listens(address, port)] == []
    assert lab.left() == []
