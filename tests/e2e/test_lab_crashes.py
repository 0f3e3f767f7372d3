"""The running lab under kill -9: what comes back by itself, what `status` says, what `up` mends, what `down` leaves."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import psutil
import pytest

from tests.e2e.lab_at import LabAt, Load, dig, eventually, get, listeners, settles, words_of
from tests.e2e.test_lab import SERVICES

# what is killed and counted here are processes; test_lab_in_containers.py does the like to containers
RUNTIMES = ("processes",)
# Consul has a leader again from 1.3 s after its start on
LEADERLESS_SECONDS = 0.7


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
    assert len(lab.regions()) == 1
    for name in SERVICES:
        [task] = lab.tasks(name)
        binding = task["containers"][0]["networkBindings"][0]
        assert lab.endpoints(name) == [f"{binding['bindIP']}:{binding['hostPort']}"]
    gunicorns = {p.pid: p.ppid() for p in lab.processes() if any("gunicorn" in word for word in words_of(p))}
    assert len([pid for pid, parent in gunicorns.items() if parent not in gunicorns]) == 3


def comes_back(lab: LabAt, killed: Sequence[psutil.Process]) -> None:
    """New agents run in the place of those that were killed, all is healthy, the portal answers: then it is whole."""
    gone = {process.pid for process in killed}

    def is_well() -> bool:
        agents = {process.pid for process in lab.consuls()}
        renewed = len(agents) == 3 and agents.isdisjoint(gone)
        return renewed and lab.ran("status").code == 0 and answers(lab, "weather/London")

    settles(is_well, bool)
    is_whole(lab)


@contextmanager
def consul_kept_down(lab: LabAt) -> Iterator[list[psutil.Process]]:
    """Every agent is killed, and those that are started in their place as well, before they can have a leader."""
    killed: list[psutil.Process] = []
    over = threading.Event()

    def kill_all() -> None:
        for process in lab.consuls():
            killed.append(process)
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def go_on() -> None:
        while not over.wait(LEADERLESS_SECONDS):
            kill_all()

    kill_all()
    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def agents(lab: LabAt, role: str) -> list[psutil.Process]:
    """Consul's servers or clients."""
    names = [member["name"] for member in lab.status()["consul"]["members"] if member["role"] == role]
    return [process for name in names for process in lab.agents_of(name)]


def listener(endpoint: str) -> psutil.Process:
    """The main process of the task that listens there: what a server forks listens on the same socket."""
    address, _, port = endpoint.rpartition(":")
    process = next(psutil.Process(pid) for at, pid in listeners() if at == (address, int(port)) and pid)
    parent = process.parent()
    return parent if parent and words_of(parent) == words_of(process) else process


def test_a_task_that_is_killed_comes_back(lab: LabAt) -> None:
    [task], [dead] = lab.tasks("weather"), lab.endpoints("weather")
    listener(dead).kill()
    eventually(lambda: [t["taskArn"] for t in lab.tasks("weather")], lambda found: found not in ([], [task["taskArn"]]))
    [stopped] = [t for t in lab.tasks("weather", "STOPPED") if t["taskArn"] == task["taskArn"]]
    assert stopped["containers"][0]["exitCode"] == 137
    assert stopped["stopCode"] == "EssentialContainerExited"
    # one stands there from before as well
    eventually(lambda: lab.endpoints("weather"), lambda found: len(found) == 1 and found != [dead])
    eventually(lambda: dig(lab.dns, "weather.service.consul"), lambda found: len(found) == 1)
    assert answers(lab, "weather/London")
    is_whole(lab)


def test_no_request_fails_while_one_of_two_tasks_is_killed(lab: LabAt) -> None:
    load = Load([f"{lab.portal}weather/London"])
    with lab.scaled("weather=2"):
        dead, _ = lab.endpoints("weather")
        with load.running():
            listener(dead).kill()
            load.go_on()
        assert load.failures == []
        eventually(lambda: lab.endpoints("weather"), lambda found: len(found) == 2 and dead not in found)


def test_a_consul_agent_that_is_killed_comes_back(lab: LabAt) -> None:
    killed = agents(lab, "client")
    assert len(killed) == 2
    for agent in killed:
        agent.kill()
    eventually(lambda: len(lab.consuls()), lambda count: count == 3)
    for name in SERVICES:
        eventually(lambda name=name: dig(lab.dns, f"{name}.service.consul"), lambda found: len(found) == 1)
    comes_back(lab, killed)


def test_the_consul_server_that_is_killed_comes_back(lab: LabAt) -> None:
    [server] = agents(lab, "server")
    server.kill()
    comes_back(lab, [server])


def test_all_of_consul_killed_at_once(lab: LabAt) -> None:
    with consul_kept_down(lab) as killed:
        assert lab.ran("status").code == 4, "the truth, right now"
    comes_back(lab, killed)


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
    load = Load([f"{lab.portal}weather/London"], threads=1)
    with lab.scaled("weather=2"):
        hung, well = lab.endpoints("weather")
        with suspended(listener(hung)):
            with load.running():
                load.go_on(more=2, least=0)
            assert load.failures == []
            found = {json.loads(get(f"{lab.portal}api/weather/London")[1])["discovery"]["endpoint"] for _ in range(2)}
            assert found == {well}


@contextmanager
def suspended(process: psutil.Process) -> Iterator[None]:
    """It and all its children live, and do nothing."""
    family = [process, *process.children(recursive=True)]
    for one in family:
        one.suspend()
    try:
        yield
    finally:
        for one in family:
            with suppress(psutil.NoSuchProcess):
                one.resume()


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
    assert [(process.pid, words_of(process)) for process in lab.processes()] == []
    assert lab.still_taken(addresses) == []
    assert lab.left() == []
