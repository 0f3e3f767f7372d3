"""A running lab under kill -9: what restarts by itself, what `status` says, what `up` repairs, what `down` leaves."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import psutil
import pytest

from tests.e2e.lab import Lab, Load, becomes, dig, eventually, get, listeners, settles, words_of
from tests.e2e.test_lab import SERVICES

# These tests kill and count processes; test_lab_in_containers.py does the same with containers.
RUNTIMES = ("processes",)
# Consul needs at least 1.3 s after its start to elect a leader.
LEADERLESS_SECONDS = 0.7


def answers(lab: Lab, path: str) -> bool:
    """Whether the portal answers."""
    try:
        return get(f"{lab.portal}{path}")[0] == 200
    except OSError:
        return False


def assert_complete(lab: Lab) -> None:
    """Check that the lab is healthy, with exactly the tasks, processes, members and catalog entries of its config."""
    status = lab.ok("status", "--output", "json").document
    assert status["healthy"] is True
    members = status["consul"]["members"]
    assert sorted((m["role"], m["status"]) for m in members) == [("client", "alive")] * 2 + [("server", "alive")]
    assert len(lab.consuls()) == 3
    assert len(lab.regions()) == 1
    for name in SERVICES:
        tasks = lab.tasks(name)
        assert len(tasks) == 1
        bindings = tasks[0]["containers"][0].get("networkBindings", ())
        assert lab.endpoints(name) == [f"{binding['bindIP']}:{binding['hostPort']}" for binding in bindings]
    gunicorns = {p.pid: p.ppid() for p in lab.processes() if any("gunicorn" in word for word in words_of(p))}
    assert len([pid for pid, parent in gunicorns.items() if parent not in gunicorns]) == 3


def assert_restored(lab: Lab, killed: Sequence[psutil.Process]) -> None:
    """Wait until new agents have replaced the killed ones and all is healthy; then check that the lab is complete."""
    old = {process.pid for process in killed}

    def is_restored() -> bool:
        agents = {process.pid for process in lab.consuls()}
        renewed = len(agents) == 3 and agents.isdisjoint(old)
        return renewed and lab.run("status").code == 0 and answers(lab, "weather/London")

    settles(is_restored, bool)
    becomes(lambda: assert_complete(lab))


@contextmanager
def consul_kept_down(lab: Lab) -> Iterator[list[psutil.Process]]:
    """Kill every agent, and each that replaces one, before they can elect a leader."""
    killed: list[psutil.Process] = []
    done = threading.Event()

    def kill_all() -> None:
        for process in lab.consuls():
            killed.append(process)
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def keep_killing() -> None:
        while not done.wait(LEADERLESS_SECONDS):
            kill_all()

    kill_all()
    thread = threading.Thread(target=keep_killing)
    thread.start()
    try:
        yield killed
    finally:
        done.set()
        thread.join()


def agents(lab: Lab, role: str) -> list[psutil.Process]:
    """Consul's servers or clients."""
    names = [member["name"] for member in lab.status()["consul"]["members"] if member["role"] == role]
    return [process for name in names for process in lab.agents_of(name)]


def listener(endpoint: str) -> psutil.Process:
    """The main process of the task that listens there; its forks listen on the same socket."""
    address, _, port = endpoint.rpartition(":")
    process = next(psutil.Process(pid) for at, pid in listeners() if at == (address, int(port)) and pid)
    parent = process.parent()
    return parent if parent and words_of(parent) == words_of(process) else process


def test_killed_task_is_replaced(lab: Lab) -> None:
    [task], [dead] = lab.tasks("weather"), lab.endpoints("weather")
    listener(dead).kill()
    eventually(lambda: [t["taskArn"] for t in lab.tasks("weather")], lambda found: found not in ([], [task["taskArn"]]))
    [stopped] = [t for t in lab.tasks("weather", "STOPPED") if t["taskArn"] == task["taskArn"]]
    assert stopped["containers"][0]["exitCode"] == 137
    assert stopped["stopCode"] == "EssentialContainerExited"
    # The old endpoint may still be listed for a moment.
    eventually(lambda: lab.endpoints("weather"), lambda found: len(found) == 1 and found != [dead])
    eventually(lambda: dig(lab.dns, "weather.service.consul"), lambda found: len(found) == 1)
    eventually(lambda: answers(lab, "weather/London"), bool)
    becomes(lambda: assert_complete(lab))


def test_no_request_fails_when_one_of_two_tasks_is_killed(lab: Lab) -> None:
    load = Load([f"{lab.portal}weather/London"])
    with lab.scaled("weather=2"):
        dead, _ = lab.endpoints("weather")
        with load.running():
            listener(dead).kill()
            load.wait_for_answers()
        assert load.failures == []
        eventually(lambda: lab.endpoints("weather"), lambda found: len(found) == 2 and dead not in found)


def test_killed_consul_agents_are_restarted(lab: Lab) -> None:
    killed = agents(lab, "client")
    assert len(killed) == 2
    for agent in killed:
        agent.kill()
    eventually(lambda: len(lab.consuls()), lambda count: count == 3)
    for name in SERVICES:
        eventually(lambda name=name: dig(lab.dns, f"{name}.service.consul"), lambda found: len(found) == 1)
    assert_restored(lab, killed)


def test_killed_consul_server_is_restarted(lab: Lab) -> None:
    [server] = agents(lab, "server")
    server.kill()
    assert_restored(lab, [server])


def test_all_agents_killed_at_once_are_restarted(lab: Lab) -> None:
    with consul_kept_down(lab) as killed:
        # the first look may still see what was before
        eventually(lambda: lab.run("status").code, lambda code: code == 4)
    assert_restored(lab, killed)


def test_killed_region_is_reported_and_up_restores_it(lab: Lab) -> None:
    lab.region().kill()
    result = lab.run("status", "--output", "json")
    assert result.code == 4
    assert result.document["healthy"] is False
    plan = lab.run("plan", "--exit-code", "--output", "json")
    assert plan.code == 5
    assert lab.run("dig", "weather").code == 1
    assert "Traceback" not in lab.run("env").err
    lab.up()
    assert answers(lab, "weather/London")
    becomes(lambda: assert_complete(lab))


def test_up_restores_a_killed_region_task_and_agent(lab: Lab) -> None:
    victims = [lab.region(), lab.consuls()[0], listener(lab.endpoints("portal")[0])]
    for process in victims:
        process.kill()
    lab.up()
    becomes(lambda: assert_complete(lab))


def test_hanging_task_is_not_discovered(lab: Lab) -> None:
    """A process that runs but does not answer leaves DNS after its check's interval."""
    load = Load([f"{lab.portal}weather/London"], threads=1)
    with lab.scaled("weather=2"):
        hung, healthy = lab.endpoints("weather")
        with suspended(listener(hung)):
            with load.running():
                load.wait_for_answers(more=2, minimum=0)
            assert load.failures == []
            found = {json.loads(get(f"{lab.portal}api/weather/London")[1])["discovery"]["endpoint"] for _ in range(2)}
            assert found == {healthy}


@contextmanager
def suspended(process: psutil.Process) -> Iterator[None]:
    """Suspend a process and its children."""
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
def addresses(lab: Lab) -> list[tuple[str, int]]:
    """Every address that the running lab listens on."""
    found = lab.addresses()
    assert len(found) > 10
    return found


def test_down_leaves_nothing(lab: Lab, addresses: list[tuple[str, int]]) -> None:
    document = lab.down()
    assert document["left"] == []
    assert document["changes"]["destroyed"] >= 5
    assert_gone(lab, addresses)
    again = lab.down()
    assert again["left"] == []
    assert again["changes"]["destroyed"] == 0
    logs = [path for path in lab.state_dir.rglob("*.log") if path.stat().st_size]
    assert logs, "the logs stay, and `down` names them"
    assert str(logs[0]).startswith(tuple(line.partition(": ")[2] for line in document["kept"]))


def test_down_after_a_crash(lab: Lab) -> None:
    lab.up()
    lab.ok("scale", "weather=2")
    addresses, portal = lab.addresses(), listener(lab.endpoints("portal")[0])
    lab.region().kill()
    portal.kill()
    document = lab.down()
    assert document["left"] == []
    assert_gone(lab, addresses)


def test_down_removes_what_other_clients_started(lab: Lab) -> None:
    """Another client's service and task are removed with the instances, or `down` says why it cannot continue."""
    lab.up()
    ecs = lab.client("ecs")
    definition = lab.described("weather")["taskDefinition"]
    ecs.run_task(cluster=lab.name, taskDefinition=definition, count=1)
    ecs.create_service(cluster=lab.name, serviceName="foreign", taskDefinition=definition, desiredCount=1)
    addresses = lab.addresses()
    result = lab.run("down", "--yes", "--output", "json")
    if result.code:
        assert "foreign" in result.err
        ecs.delete_service(cluster=lab.name, service="foreign", force=True)
        lab.down()
    assert_gone(lab, addresses)


def assert_gone(lab: Lab, addresses: list[tuple[str, int]]) -> None:
    """Check that no process, socket or file is left, apart from logs."""
    assert [(process.pid, words_of(process)) for process in lab.processes()] == []
    assert lab.still_taken(addresses) == []
    assert lab.left() == []
