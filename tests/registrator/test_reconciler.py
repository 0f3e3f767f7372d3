"""The agent's services follow the engine's running containers, whatever happens to either."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from ecsconsul.errors import Unreachable
from ecsconsul.registrator import probe_schedule
from ecsconsul.registrator.ownership import KEY
from ecsconsul.registrator.rules import Options
from tests.registrator.conftest import Harness, eventually

CHECKED = ["SERVICE_CHECK_TCP=1"]


@pytest.fixture
def listening() -> Iterator[int]:
    """A port that accepts connections for as long as the test runs."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield server.getsockname()[1]


# --- starting and stopping


def test_running_container_is_registered(harness: Harness) -> None:
    harness.docker.run("c1", name="web", port=32768, env=["SERVICE_NAME=shop", "SERVICE_TAGS=a"])
    harness.start()
    harness.await_ids("host:web:80")
    service = dict(harness.consul.services["host:web:80"])
    assert service.pop("TaggedAddresses")[KEY]["Address"].startswith("ENGINE:1/c1/")
    assert service == {
        "ID": "host:web:80", "Service": "shop", "Address": "10.0.0.5", "Port": 32768, "Tags": ["a"], "Meta": {},
    }  # fmt: skip


def test_started_container_is_registered_and_exited_one_deregistered(harness: Harness) -> None:
    harness.start()
    harness.docker.run("c1", port=1)
    harness.await_ids("host:c1:80")
    harness.docker.run("c2", port=2)
    harness.await_ids("host:c1:80", "host:c2:80")
    harness.docker.die("c1")
    harness.await_ids("host:c2:80")


def test_containers_that_changed_while_docker_was_away(harness: Harness) -> None:
    reconciler = harness.start()
    harness.docker.run("c1", port=1)
    harness.docker.run("c2", port=2)
    harness.await_ids("host:c1:80", "host:c2:80")
    harness.docker.stop()
    eventually(lambda: not reconciler.state().docker)
    harness.docker.die("c1")
    harness.docker.run("c3", port=3)
    harness.docker.forget_history()
    harness.docker.start()
    harness.await_ids("host:c2:80", "host:c3:80")
    assert reconciler.state().docker_disconnects == 1


def test_ended_stream_is_reopened(harness: Harness) -> None:
    reconciler = harness.start()
    harness.docker.drop_streams()
    eventually(lambda: reconciler.state().docker_disconnects == 1)
    harness.docker.run("c1", port=1)
    harness.await_ids("host:c1:80")


def test_silent_stream_is_reopened_without_a_warning(harness: Harness) -> None:
    harness.docker.run("c1", port=1)
    reconciler = harness.start(silence=0.3)
    heard = harness.docker.opened
    eventually(lambda: harness.docker.opened > heard)
    harness.docker.run("c2", port=2)
    harness.await_ids("host:c1:80", "host:c2:80")
    assert reconciler.state().docker_disconnects == 0


def test_replacement_under_the_same_name_is_registered(harness: Harness) -> None:
    harness.docker.run("c1", name="web", port=1)
    harness.start()
    harness.await_ids("host:web:80")
    harness.consul.delay = 0.02
    harness.docker.die("c1")
    harness.docker.run("c2", name="web", port=2)
    eventually(lambda: harness.consul.services.get("host:web:80", {}).get("Port") == 2)


def test_rename_changes_the_id(harness: Harness) -> None:
    harness.docker.run("c1", port=1)
    harness.start()
    harness.await_ids("host:c1:80")
    harness.docker.rename("c1", "other")
    harness.await_ids("host:other:80")


def test_last_started_container_wins_an_id_until_it_exits(harness: Harness) -> None:
    harness.start()
    for number in (1, 2):
        harness.docker.run(f"c{number}", port=number, env=["SERVICE_ID=same"])
        eventually(lambda port=number: harness.consul.services.get("same", {}).get("Port") == port)
    harness.docker.die("c2")
    eventually(lambda: harness.consul.services.get("same", {}).get("Port") == 1)


# --- stops, pauses, health


def test_stop_signal_deregisters(harness: Harness) -> None:
    harness.docker.run("c1", port=1)
    harness.start()
    harness.await_ids("host:c1:80")
    harness.docker.kill("c1", "15")
    harness.await_ids()
    assert harness.docker.containers["c1"]["State"]["Running"]


def test_only_stop_signals_deregister(harness: Harness) -> None:
    harness.docker.run("c1", port=1, stop_signal="SIGQUIT")
    harness.docker.run("c2", port=2)
    harness.start()
    harness.await_ids("host:c1:80", "host:c2:80")
    for container in ("c1", "c2"):
        harness.docker.kill(container, "1")
        harness.docker.kill(container, "3")
    harness.await_ids("host:c2:80")


def test_container_that_survives_a_stop_is_registered_again(harness: Harness) -> None:
    harness.docker.run("c1", port=1)
    harness.start(stop_timeout=0.3)
    harness.await_ids("host:c1:80")
    harness.docker.kill("c1", "15")
    eventually(lambda: harness.actions() == ["register", "deregister", "register"], harness.actions)


def test_stop_that_began_before_startup_is_known(harness: Harness) -> None:
    harness.docker.run("c1", port=1)
    harness.docker.run("c2", port=2)
    harness.docker.kill("c1", "15")
    harness.start()
    harness.await_ids("host:c2:80")


def test_restarted_container_is_registered_again(harness: Harness) -> None:
    harness.docker.run("c1", port=1)
    harness.start()
    harness.await_ids("host:c1:80")
    harness.docker.kill("c1", "15")
    harness.docker.die("c1", 143, remove=False)
    harness.await_ids()
    harness.docker.run("c1", port=2)
    harness.await_ids("host:c1:80")
    assert harness.consul.services["host:c1:80"]["Port"] == 2


def test_paused_container_is_deregistered_until_unpaused(harness: Harness) -> None:
    harness.docker.run("c1", port=1)
    harness.start()
    harness.await_ids("host:c1:80")
    harness.docker.change("c1", "pause", Paused=True)
    harness.await_ids()
    harness.docker.change("c1", "unpause", Paused=False)
    harness.await_ids("host:c1:80")


def test_unhealthy_container_is_deregistered_until_healthy(harness: Harness) -> None:
    harness.docker.run("c1", port=1)
    harness.start()
    harness.await_ids("host:c1:80")
    harness.docker.change("c1", "health_status: unhealthy", Health={"Status": "unhealthy"})
    harness.await_ids()
    harness.docker.change("c1", "health_status: healthy", Health={"Status": "healthy"})
    harness.await_ids("host:c1:80")


@pytest.mark.parametrize(("code", "stays"), [(0, False), (137, False), (143, False), (1, True)])
def test_on_success_retains_a_failed_container_until_removed(harness: Harness, code: int, stays: bool) -> None:
    harness.docker.run("c1", port=1)
    harness.docker.run("c2", port=2)
    harness.start(deregister_failed=False)
    harness.await_ids("host:c1:80", "host:c2:80")
    harness.docker.die("c1", code, remove=False)
    harness.docker.die("c2")
    harness.await_ids(*(["host:c1:80"] if stays else []))
    # a restarted Reconciler agrees
    harness.reconcilers[0].close(keep=True, seconds=1)
    harness.start(deregister_failed=False)
    harness.await_ids(*(["host:c1:80"] if stays else []))
    with harness.docker._lock:
        del harness.docker.containers["c1"]
        harness.docker._emit("destroy", "c1")
    harness.await_ids()


# --- Consul outages, ghosts, foreign services


@pytest.mark.parametrize("lose_state", [False, True])
def test_consul_outage_leaves_no_ghosts_and_no_gaps(harness: Harness, lose_state: bool) -> None:
    for number in range(5):
        harness.docker.run(f"c{number}", port=number + 1)
    reconciler = harness.start()
    eventually(lambda: len(harness.ids()) == 5)
    harness.consul.stop(lose_state=lose_state)
    harness.docker.die("c0")
    harness.docker.run("c9", port=9)
    eventually(lambda: not reconciler.state().consul)
    harness.consul.start()
    harness.await_ids(*(f"host:c{number}:80" for number in (1, 2, 3, 4, 9)))


def test_restarted_agent_gets_the_probed_status(harness: Harness, listening: int) -> None:
    """Otherwise every check would be critical until the agent runs it, up to an interval later."""
    harness.docker.run("c1", port=listening, env=CHECKED)
    harness.docker.run("c2", port=2, env=["SERVICE_CHECK_TTL=10s"])
    reconciler = harness.start(rules=options(ip="127.0.0.1"))
    harness.await_ids("host:c1:80", "host:c2:80")
    harness.consul.stop()
    eventually(lambda: not reconciler.state().consul)
    harness.consul.start()
    eventually(lambda: harness.consul.statuses == {"host:c1:80": "passing", "host:c2:80": "critical"})


def test_comparison_writes_only_differences(harness: Harness) -> None:
    for number in range(3):
        harness.docker.run(f"c{number}", port=number + 1)
    harness.start(resync=0.1)
    eventually(lambda: len(harness.ids()) == 3)
    harness.consul.services.pop("host:c1:80")
    eventually(lambda: len(harness.ids()) == 3)
    pause = threading.Event()
    pause.wait(0.4)  # some more comparisons
    assert sorted(harness.consul.writes) == [
        ("register", "host:c0:80"),
        ("register", "host:c1:80"),
        ("register", "host:c1:80"),
        ("register", "host:c2:80"),
    ]


def test_restart_writes_nothing(harness: Harness) -> None:
    harness.docker.run("c1", port=1)
    reconciler = harness.start()
    harness.await_ids("host:c1:80")
    reconciler.close(keep=True, seconds=1)
    harness.consul.writes.clear()
    harness.start()
    assert harness.consul.writes == []


def test_ghosts_under_an_old_host_name_are_deregistered(harness: Harness) -> None:
    harness.docker.run("c1", port=1)
    harness.docker.run("c2", port=2)
    before = harness.start(hostname="old")
    harness.await_ids("old:c1:80", "old:c2:80")
    before.close(keep=True, seconds=1)
    harness.consul.services["old:foreign:80"] = {"ID": "old:foreign:80", "Service": "x"}
    theirs = {"registrator": {"Address": "ENGINE:2/abc/123", "Port": 0}}
    harness.consul.services["theirs"] = {"ID": "theirs", "Service": "x", "TaggedAddresses": theirs}
    harness.docker.die("c2")
    harness.start(hostname="new")
    harness.await_ids("new:c1:80", "old:foreign:80", "theirs")


def test_cleanup_deregisters_services_of_this_host_name(harness: Harness) -> None:
    for service_id in ("host:gone:80", "host:gone:81:udp", "other:gone:80", "consul", "host:gone"):
        harness.consul.services[service_id] = {"ID": service_id, "Service": "x"}
    harness.docker.run("c1", port=1)
    harness.start(cleanup=True)
    harness.await_ids("host:c1:80", "other:gone:80", "consul", "host:gone")


def test_refused_service_is_retried_and_delays_no_other(harness: Harness) -> None:
    harness.consul.refused.add("host:c1:80")
    harness.docker.run("c1", port=1)
    harness.docker.run("c2", port=2)
    reconciler = harness.start()
    harness.await_ids("host:c2:80")
    eventually(lambda: reconciler.state().failures.get("register", 0) >= 1)
    harness.consul.refused.clear()
    harness.await_ids("host:c1:80", "host:c2:80")


# --- probes


@pytest.fixture
def registered_when_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is registered as critical for being slow."""
    monkeypatch.setattr(probe_schedule, "CRITICAL_AFTER", 600.0)


@pytest.mark.usefixtures("registered_when_healthy")
def test_service_is_registered_with_its_probed_status(harness: Harness, listening: int) -> None:
    harness.docker.run("c1", port=listening, env=CHECKED)
    harness.start(rules=options(ip="127.0.0.1"))
    harness.await_ids("host:c1:80")
    assert harness.consul.statuses["host:c1:80"] == "passing"
    assert harness.actions() == ["register"]


@pytest.mark.usefixtures("registered_when_healthy")
def test_slow_service_is_registered_as_passing_once_it_listens(harness: Harness) -> None:
    with closing(socket.socket()) as server:
        server.bind(("127.0.0.1", 0))
        harness.docker.run("c1", port=server.getsockname()[1], env=CHECKED)
        harness.start(rules=options(ip="127.0.0.1"))
        assert harness.ids() == set()
        server.listen()
        harness.await_ids("host:c1:80")
        assert harness.consul.statuses["host:c1:80"] == "passing"


def test_container_is_probed_behind_dockers_proxy(harness: Harness, listening: int) -> None:
    """The published port accepts connections, but nothing listens in the container."""
    harness.docker.run("c1", port=listening, ip="127.9.9.9", env=CHECKED)
    harness.start(rules=options(ip="127.0.0.1"))
    harness.await_ids("host:c1:80")
    assert harness.consul.statuses["host:c1:80"] == "critical"


def test_service_is_critical_after_a_second_and_passing_once_it_listens(harness: Harness) -> None:
    with closing(socket.socket()) as server:
        server.bind(("127.0.0.1", 0))
        harness.docker.run("c1", port=server.getsockname()[1], env=CHECKED)
        harness.start(rules=options(ip="127.0.0.1"))
        harness.await_ids("host:c1:80")
        assert harness.consul.statuses["host:c1:80"] == "critical"
        server.listen()
        eventually(lambda: harness.consul.statuses.get("host:c1:80") == "passing")
    assert harness.actions() == ["register", "register"], "it never left the catalog"


def options(**fields: str) -> Options:
    return Options(hostname="host", **fields)


# --- as a library


def test_container_can_leave_before_it_stops(harness: Harness) -> None:
    harness.docker.run("c1", port=1)
    harness.docker.run("c2", port=2)
    reconciler = harness.start()
    harness.await_ids("host:c1:80", "host:c2:80")
    assert reconciler.is_listed("c1")
    assert reconciler.leave("c1", seconds=60)
    assert harness.ids() == {"host:c2:80"}
    assert not reconciler.is_listed("c1")
    assert reconciler.services("c1") is None


@pytest.mark.parametrize("seconds", [0.0, 0.1])
def test_leave_is_bounded_and_takes_effect_later(harness: Harness, seconds: float) -> None:
    harness.docker.run("c1", port=1)
    reconciler = harness.start()
    harness.await_ids("host:c1:80")
    harness.consul.stop()
    assert not reconciler.leave("c1", seconds=seconds)
    harness.consul.start()
    harness.await_ids()


@pytest.mark.usefixtures("registered_when_healthy")
def test_service_without_a_check_can_wait_for_its_port(harness: Harness) -> None:
    with closing(socket.socket()) as server:
        server.bind(("127.0.0.1", 0))
        harness.docker.run("c1", port=server.getsockname()[1])
        reconciler = harness.start(rules=options(ip="127.0.0.1"), wait_for_port=True)
        assert not reconciler.is_listed("c1")
        server.listen()
        harness.await_ids("host:c1:80")
        assert reconciler.is_listed("c1")


# --- start and close


def test_start_needs_both_servers(harness: Harness) -> None:
    harness.consul.stop()
    with pytest.raises(Unreachable):
        harness.create().start()
    harness.consul.start()
    harness.docker.stop()
    with pytest.raises(Unreachable):
        harness.create().start()
    harness.docker.start()


@pytest.mark.parametrize("keep", [True, False])
def test_close_deregisters_services_unless_kept(harness: Harness, keep: bool) -> None:
    harness.consul.services["foreign"] = {"ID": "foreign", "Service": "x"}
    harness.docker.run("c1", port=1)
    reconciler = harness.start()
    harness.await_ids("host:c1:80", "foreign")
    reconciler.close(keep=keep, seconds=60)
    assert harness.ids() == ({"host:c1:80", "foreign"} if keep else {"foreign"})
    assert reconciler.ended.is_set()


def test_container_that_cannot_be_inspected_blocks_no_other(harness: Harness) -> None:
    for name in ("c1", "c2", "broken"):
        harness.docker.run(name, port=1)
    harness.docker.broken.add("broken")
    harness.consul.services["foreign"] = {"ID": "foreign", "Service": "x"}
    reconciler = harness.create()
    reconciler.start()
    harness.await_ids("host:c1:80", "host:c2:80", "foreign")
    harness.docker.die("c1")
    harness.await_ids("host:c2:80", "foreign")
    reconciler.close(keep=False, seconds=60)
    assert harness.ids() == {"foreign"}


def test_survived_signal_is_ignored_when_the_stream_repeats_it(harness: Harness) -> None:
    harness.docker.run("c1", port=1)
    harness.start(silence=0.05, stop_timeout=0.1)
    harness.await_ids("host:c1:80")
    harness.docker.kill("c1", "15")
    eventually(lambda: harness.consul.writes[1:] == [("deregister", "host:c1:80"), ("register", "host:c1:80")])
    heard = harness.docker.opened
    eventually(lambda: harness.docker.opened > heard + 3)
    assert len(harness.consul.writes) == 3
    harness.docker.kill("c1", "15")
    eventually(lambda: len(harness.consul.writes) == 5)


def test_close_deregisters_a_registration_in_flight(harness: Harness) -> None:
    reconciler = harness.start()
    harness.consul.delay = 0.2
    harness.docker.run("c1", port=1)
    eventually(lambda: reconciler.services("c1") is not None)
    reconciler.close(keep=False, seconds=60)
    assert harness.consul.writes == [("register", "host:c1:80"), ("deregister", "host:c1:80")]


def test_container_that_starts_during_close_is_not_registered(harness: Harness) -> None:
    harness.docker.run("c1", port=1)
    reconciler = harness.start(resync=0.05)
    harness.await_ids("host:c1:80")
    harness.consul.accepts_writes.clear()
    closing = threading.Thread(target=lambda: reconciler.close(keep=False, seconds=60))
    closing.start()
    eventually(lambda: reconciler.services("c1") is None)
    listed = harness.docker.listed
    harness.docker.run("c2", port=2)
    eventually(lambda: harness.docker.listed > listed + 1)
    harness.consul.accepts_writes.set()
    closing.join()
    assert reconciler.services("c2") is None
    assert ("register", "host:c2:80") not in harness.consul.writes


def test_close_does_not_wait_for_retained_services(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    reconciler = harness.start(deregister_failed=False)
    harness.consul.delay = 0.2
    harness.docker.run("c1", port=1)
    eventually(lambda: reconciler.services("c1") is not None)
    harness.docker.die("c1", 1, remove=False)
    eventually(lambda: reconciler.services("c1") is None)
    reconciler.close(keep=False, seconds=60)
    assert "could not deregister all services in time" not in caplog.text
    assert harness.consul.writes == [("register", "host:c1:80")]


@pytest.mark.parametrize("seed", range(6))
def test_random_history_converges(harness: Harness, seed: int) -> None:
    """Containers start, exit, pause and fail, and both servers stop and start, in random order."""
    dice = random.Random(seed)
    harness.start(resync=0.5)
    names = [f"c{number}" for number in range(8)]
    away = ""
    for _ in range(120):
        name = dice.choice(names)
        state = harness.docker.containers.get(name, {}).get("State", {})
        action = dice.choice(("start", "start", "end", "pause", "unpause", "kill", "cut", "agent", "engine"))
        if action == "start" and not state:
            harness.docker.run(name, port=dice.randint(1, 9999))
        elif action == "end" and state:
            harness.docker.die(name, dice.choice((0, 1, 137)))
        elif action == "kill" and state:
            harness.docker.kill(name, "15")
            harness.docker.die(name, 143)
        elif action in ("pause", "unpause") and state:
            harness.docker.change(name, action, Paused=action == "pause")
        elif action == "cut" and away != "engine":
            harness.docker.drop_streams()
        elif action in ("agent", "engine"):
            away = toggle(harness, away, action, lose_state=dice.random() < 0.5)
        time.sleep(dice.random() * 0.004)
    toggle(harness, away, away)
    expected = {
        f"host:{name}:80": int(one["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"])
        for name, one in harness.docker.containers.items()
        if not one["State"]["Paused"]
    }
    eventually(
        lambda: {key: one["Port"] for key, one in list(harness.consul.services.items())} == expected,
        lambda: (list(harness.consul.services.items()), expected),
    )


def toggle(harness: Harness, away: str, which: str, *, lose_state: bool = False) -> str:
    """Stop one server, or start the one that is stopped; returns which one is stopped afterwards."""
    if away == "agent":
        harness.consul.start()
        return ""
    if away == "engine":
        harness.docker.start()
        return ""
    if which == "agent":
        harness.consul.stop(lose_state=lose_state)
    elif which == "engine":
        harness.docker.stop()
    return which


def test_image_given_by_its_id_has_the_images_name(harness: Harness) -> None:
    image = "sha256:27366ffac86397cace0fa45139e7409330f2ae94de7b2644d546fe05ba826da6"
    harness.docker.images[image] = {"Id": image, "RepoTags": ["acme/shop:1"]}
    harness.docker.run("c1", port=8001, image=image, image_id=image)
    harness.docker.run("c2", port=8002, image="27366ffac863", image_id=image.replace("6da6", "0000"))
    harness.start()
    harness.await_ids("host:c1:80", "host:c2:80")
    names = {one["Service"] for one in harness.consul.services.values()}
    # nobody knows the second image's name any more
    assert names == {"shop", "c2"}
