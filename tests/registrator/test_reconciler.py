"""One agent's services are those of one engine's running containers, whatever happens to either."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from ecsconsul.errors import Unreachable
from ecsconsul.registrator import catalog_writer as teller
from ecsconsul.registrator import probe_schedule as looks
from ecsconsul.registrator.ownership import KEY
from ecsconsul.registrator.rules import Options
from tests.registrator.conftest import Runtime, eventually

CHECKED = ["SERVICE_CHECK_TCP=1"]


@pytest.fixture
def listening() -> Iterator[int]:
    """A port at which somebody listens for as long as the test runs."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield server.getsockname()[1]


# --- coming and going


def test_what_runs_is_registered_as_the_rules_say(world: Runtime) -> None:
    world.engine.run("c1", name="web", port=32768, env=["SERVICE_NAME=shop", "SERVICE_TAGS=a"])
    world.sync()
    world.await_ids("host:web:80")
    service = dict(world.agent.services["host:web:80"])
    assert service.pop("TaggedAddresses")[KEY]["Address"].startswith("ENGINE:1/c1/")
    assert service == {
        "ID": "host:web:80", "Service": "shop", "Address": "10.0.0.5", "Port": 32768, "Tags": ["a"], "Meta": {},
    }  # fmt: skip


def test_what_starts_comes_and_what_ends_goes(world: Runtime) -> None:
    world.sync()
    world.engine.run("c1", port=1)
    world.await_ids("host:c1:80")
    world.engine.run("c2", port=2)
    world.await_ids("host:c1:80", "host:c2:80")
    world.engine.end("c1")
    world.await_ids("host:c2:80")


def test_what_started_while_nobody_listened_is_found(world: Runtime) -> None:
    sync = world.sync()
    world.engine.run("c1", port=1)
    world.engine.run("c2", port=2)
    world.await_ids("host:c1:80", "host:c2:80")
    world.engine.stop()
    eventually(lambda: not sync.state().docker)
    world.engine.end("c1")
    world.engine.run("c3", port=3)
    world.engine.forget_history()
    world.engine.start()
    world.await_ids("host:c2:80", "host:c3:80")
    assert sync.state().docker_losses == 1


def test_a_stream_that_ends_is_opened_again(world: Runtime) -> None:
    sync = world.sync()
    world.engine.cut()
    eventually(lambda: sync.state().docker_losses == 1)
    world.engine.run("c1", port=1)
    world.await_ids("host:c1:80")


def test_a_stream_that_falls_silent_is_opened_again_without_a_word(world: Runtime) -> None:
    world.engine.run("c1", port=1)
    sync = world.sync(silence=0.3)
    heard = world.engine.opened
    eventually(lambda: world.engine.opened > heard)
    world.engine.run("c2", port=2)
    world.await_ids("host:c1:80", "host:c2:80")
    assert sync.state().docker_losses == 0


def test_a_container_that_follows_another_under_its_name_stays(world: Runtime) -> None:
    world.engine.run("c1", name="web", port=1)
    world.sync()
    world.await_ids("host:web:80")
    world.agent.delay = 0.02
    world.engine.end("c1")
    world.engine.run("c2", name="web", port=2)
    eventually(lambda: world.agent.services.get("host:web:80", {}).get("Port") == 2)


def test_a_rename_changes_the_id(world: Runtime) -> None:
    world.engine.run("c1", port=1)
    world.sync()
    world.await_ids("host:c1:80")
    world.engine.rename("c1", "other")
    world.await_ids("host:other:80")


def test_of_two_with_one_id_the_last_counts_and_then_the_first_again(world: Runtime) -> None:
    world.sync()
    for number in (1, 2):
        world.engine.run(f"c{number}", port=number, env=["SERVICE_ID=same"])
        eventually(lambda port=number: world.agent.services.get("same", {}).get("Port") == port)
    world.engine.end("c2")
    eventually(lambda: world.agent.services.get("same", {}).get("Port") == 1)


# --- stops, pauses, health


def test_a_container_leaves_when_it_is_asked_to_stop(world: Runtime) -> None:
    world.engine.run("c1", port=1)
    world.sync()
    world.await_ids("host:c1:80")
    world.engine.signal("c1", "15")
    world.await_ids()
    assert world.engine.containers["c1"]["State"]["Running"]


def test_its_own_stop_signal_counts_and_others_do_not(world: Runtime) -> None:
    world.engine.run("c1", port=1, stop_signal="SIGQUIT")
    world.engine.run("c2", port=2)
    world.sync()
    world.await_ids("host:c1:80", "host:c2:80")
    for container in ("c1", "c2"):
        world.engine.signal(container, "1")
        world.engine.signal(container, "3")
    world.await_ids("host:c2:80")


def test_one_that_runs_on_after_the_stop_timeout_is_back(world: Runtime) -> None:
    world.engine.run("c1", port=1)
    world.sync(stop_timeout=0.3)
    world.await_ids("host:c1:80")
    world.engine.signal("c1", "15")
    eventually(lambda: world.deeds() == ["register", "deregister", "register"], world.deeds)


def test_a_stop_that_began_before_the_registrator_did_is_known(world: Runtime) -> None:
    world.engine.run("c1", port=1)
    world.engine.run("c2", port=2)
    world.engine.signal("c1", "15")
    world.sync()
    world.await_ids("host:c2:80")


def test_a_container_that_is_started_again_is_back(world: Runtime) -> None:
    world.engine.run("c1", port=1)
    world.sync()
    world.await_ids("host:c1:80")
    world.engine.signal("c1", "15")
    world.engine.end("c1", 143, remove=False)
    world.await_ids()
    world.engine.run("c1", port=2)
    world.await_ids("host:c1:80")
    assert world.agent.services["host:c1:80"]["Port"] == 2


def test_paused_is_out_and_unpaused_is_back(world: Runtime) -> None:
    world.engine.run("c1", port=1)
    world.sync()
    world.await_ids("host:c1:80")
    world.engine.change("c1", "pause", Paused=True)
    world.await_ids()
    world.engine.change("c1", "unpause", Paused=False)
    world.await_ids("host:c1:80")


def test_unhealthy_is_out_and_healthy_is_back(world: Runtime) -> None:
    world.engine.run("c1", port=1)
    world.sync()
    world.await_ids("host:c1:80")
    world.engine.change("c1", "health_status: unhealthy", Health={"Status": "unhealthy"})
    world.await_ids()
    world.engine.change("c1", "health_status: healthy", Health={"Status": "healthy"})
    world.await_ids("host:c1:80")


@pytest.mark.parametrize(("code", "stays"), [(0, False), (137, False), (143, False), (1, True)])
def test_on_success_what_failed_stays_until_it_is_removed(world: Runtime, code: int, stays: bool) -> None:
    world.engine.run("c1", port=1)
    world.engine.run("c2", port=2)
    world.sync(deregister_failed=False)
    world.await_ids("host:c1:80", "host:c2:80")
    world.engine.end("c1", code, remove=False)
    world.engine.end("c2")
    world.await_ids(*(["host:c1:80"] if stays else []))
    # one that is started anew knows it as well
    world.syncs[0].close(keep=True, seconds=1)
    world.sync(deregister_failed=False)
    world.await_ids(*(["host:c1:80"] if stays else []))
    with world.engine._lock:
        del world.engine.containers["c1"]
        world.engine._say("destroy", "c1")
    world.await_ids()


# --- Consul away, ghosts, foreign services


@pytest.mark.parametrize("lose_state", [False, True])
def test_consul_away_forgets_nothing_and_leaves_no_ghost(world: Runtime, lose_state: bool) -> None:
    for number in range(5):
        world.engine.run(f"c{number}", port=number + 1)
    sync = world.sync()
    eventually(lambda: len(world.ids()) == 5)
    world.agent.stop(lose_state=lose_state)
    world.engine.end("c0")
    world.engine.run("c9", port=9)
    eventually(lambda: not sync.state().consul)
    world.agent.start()
    world.await_ids(*(f"host:c{number}:80" for number in (1, 2, 3, 4, 9)))


def test_an_agent_that_starts_anew_is_shown_what_is_well(world: Runtime, listening: int) -> None:
    """It would say critical of everything until its own first look, up to an interval later."""
    world.engine.run("c1", port=listening, env=CHECKED)
    world.engine.run("c2", port=2, env=["SERVICE_CHECK_TTL=10s"])
    sync = world.sync(rules=options(ip="127.0.0.1"))
    world.await_ids("host:c1:80", "host:c2:80")
    world.agent.stop()
    eventually(lambda: not sync.state().consul)
    world.agent.start()
    eventually(lambda: world.agent.statuses == {"host:c1:80": "passing", "host:c2:80": "critical"})


def test_a_comparison_writes_only_what_differs(world: Runtime) -> None:
    for number in range(3):
        world.engine.run(f"c{number}", port=number + 1)
    world.sync(resync=0.1)
    eventually(lambda: len(world.ids()) == 3)
    world.agent.services.pop("host:c1:80")
    eventually(lambda: len(world.ids()) == 3)
    pause = threading.Event()
    pause.wait(0.4)  # some more comparisons
    assert sorted(world.agent.writes) == [
        ("register", "host:c0:80"),
        ("register", "host:c1:80"),
        ("register", "host:c1:80"),
        ("register", "host:c2:80"),
    ]


def test_one_that_is_started_anew_writes_nothing(world: Runtime) -> None:
    world.engine.run("c1", port=1)
    sync = world.sync()
    world.await_ids("host:c1:80")
    sync.close(keep=True, seconds=1)
    world.agent.writes.clear()
    world.sync()
    assert world.agent.writes == []


def test_ghosts_of_another_host_name_go_and_what_is_foreign_stays(world: Runtime) -> None:
    world.engine.run("c1", port=1)
    world.engine.run("c2", port=2)
    before = world.sync(hostname="old")
    world.await_ids("old:c1:80", "old:c2:80")
    before.close(keep=True, seconds=1)
    world.agent.services["old:foreign:80"] = {"ID": "old:foreign:80", "Service": "x"}
    theirs = {"registrator": {"Address": "ENGINE:2/abc/123", "Port": 0}}
    world.agent.services["theirs"] = {"ID": "theirs", "Service": "x", "TaggedAddresses": theirs}
    world.engine.end("c2")
    world.sync(hostname="new")
    world.await_ids("new:c1:80", "old:foreign:80", "theirs")


def test_cleanup_takes_what_bears_this_hosts_name(world: Runtime) -> None:
    for service_id in ("host:gone:80", "host:gone:81:udp", "other:gone:80", "consul", "host:gone"):
        world.agent.services[service_id] = {"ID": service_id, "Service": "x"}
    world.engine.run("c1", port=1)
    world.sync(cleanup=True)
    world.await_ids("host:c1:80", "other:gone:80", "consul", "host:gone")


def test_a_refusal_costs_the_others_nothing_and_is_tried_again(world: Runtime) -> None:
    world.agent.refused.add("host:c1:80")
    world.engine.run("c1", port=1)
    world.engine.run("c2", port=2)
    sync = world.sync()
    world.await_ids("host:c2:80")
    eventually(lambda: sync.state().failures.get("register", 0) >= 1)
    world.agent.refused.clear()
    world.await_ids("host:c1:80", "host:c2:80")


# --- the first look


@pytest.fixture
def shown_when_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the second had not passed after which one that is not well yet is shown all the same."""
    for module in (looks, teller):
        monkeypatch.setattr(module, "SHOWN_AFTER", 600.0)


@pytest.mark.usefixtures("shown_when_well")
def test_it_is_registered_as_it_was_seen(world: Runtime, listening: int) -> None:
    world.engine.run("c1", port=listening, env=CHECKED)
    world.sync(rules=options(ip="127.0.0.1"))
    world.await_ids("host:c1:80")
    assert world.agent.statuses["host:c1:80"] == "passing"
    assert world.deeds() == ["register"]


@pytest.mark.usefixtures("shown_when_well")
def test_one_that_listens_later_is_passing_as_soon_as_it_does(world: Runtime) -> None:
    with closing(socket.socket()) as server:
        server.bind(("127.0.0.1", 0))
        world.engine.run("c1", port=server.getsockname()[1], env=CHECKED)
        world.sync(rules=options(ip="127.0.0.1"))
        assert world.ids() == set()
        server.listen()
        world.await_ids("host:c1:80")
        assert world.agent.statuses["host:c1:80"] == "passing"


def test_the_container_itself_is_asked_where_a_proxy_would_accept(world: Runtime, listening: int) -> None:
    """Something accepts at the published port, and nothing listens at the container's own."""
    world.engine.run("c1", port=listening, ip="127.9.9.9", env=CHECKED)
    world.sync(rules=options(ip="127.0.0.1"))
    world.await_ids("host:c1:80")
    assert world.agent.statuses["host:c1:80"] == "critical"


def test_one_that_never_listens_is_shown_as_critical_and_then_as_it_is(world: Runtime) -> None:
    with closing(socket.socket()) as server:
        server.bind(("127.0.0.1", 0))
        world.engine.run("c1", port=server.getsockname()[1], env=CHECKED)
        world.sync(rules=options(ip="127.0.0.1"))
        world.await_ids("host:c1:80")
        assert world.agent.statuses["host:c1:80"] == "critical"
        server.listen()
        eventually(lambda: world.agent.statuses.get("host:c1:80") == "passing")
    assert world.deeds() == ["register", "deregister", "register"]


def options(**told: str) -> Options:
    return Options(hostname="host", **told)


# --- in another program


def test_a_container_can_be_taken_out_before_it_is_stopped(world: Runtime) -> None:
    world.engine.run("c1", port=1)
    world.engine.run("c2", port=2)
    sync = world.sync()
    world.await_ids("host:c1:80", "host:c2:80")
    assert sync.is_listed("c1")
    assert sync.leave("c1", seconds=60)
    assert world.ids() == {"host:c2:80"}
    assert not sync.is_listed("c1")
    assert sync.services("c1") is None


def test_leaving_waits_no_longer_than_told(world: Runtime) -> None:
    world.engine.run("c1", port=1)
    sync = world.sync()
    world.await_ids("host:c1:80")
    world.agent.stop()
    assert not sync.leave("c1", seconds=0.1)
    world.agent.start()
    world.await_ids()


@pytest.mark.usefixtures("shown_when_well")
def test_one_without_a_check_can_wait_until_it_listens(world: Runtime) -> None:
    with closing(socket.socket()) as server:
        server.bind(("127.0.0.1", 0))
        world.engine.run("c1", port=server.getsockname()[1])
        sync = world.sync(rules=options(ip="127.0.0.1"), until_it_listens=True)
        assert not sync.is_listed("c1")
        server.listen()
        world.await_ids("host:c1:80")
        assert sync.is_listed("c1")


# --- beginning and ending


def test_it_does_not_start_without_its_servers(world: Runtime) -> None:
    world.agent.stop()
    with pytest.raises(Unreachable):
        world.unstarted().start()
    world.agent.start()
    world.engine.stop()
    with pytest.raises(Unreachable):
        world.unstarted().start()
    world.engine.start()


@pytest.mark.parametrize("keep", [True, False])
def test_it_takes_its_services_out_unless_they_are_kept(world: Runtime, keep: bool) -> None:
    world.agent.services["foreign"] = {"ID": "foreign", "Service": "x"}
    world.engine.run("c1", port=1)
    sync = world.sync()
    world.await_ids("host:c1:80", "foreign")
    sync.close(keep=keep, seconds=60)
    assert world.ids() == ({"host:c1:80", "foreign"} if keep else {"foreign"})
    assert sync.ended.is_set()


def test_one_container_that_cannot_be_inspected_does_not_keep_the_others_in(world: Runtime) -> None:
    for name in ("c1", "c2", "broken"):
        world.engine.run(name, port=1)
    world.engine.broken.add("broken")
    world.agent.services["foreign"] = {"ID": "foreign", "Service": "x"}
    sync = world.unstarted()
    sync.start()
    world.await_ids("host:c1:80", "host:c2:80", "foreign")
    world.engine.end("c1")
    world.await_ids("host:c2:80", "foreign")
    sync.close(keep=False, seconds=60)
    assert world.ids() == {"foreign"}


def test_a_signal_that_was_survived_is_not_heeded_again_when_the_stream_repeats_it(world: Runtime) -> None:
    world.engine.run("c1", port=1)
    world.sync(silence=0.05, stop_timeout=0.1)
    world.await_ids("host:c1:80")
    world.engine.signal("c1", "15")
    eventually(lambda: world.agent.writes[1:] == [("deregister", "host:c1:80"), ("register", "host:c1:80")])
    heard = world.engine.opened
    eventually(lambda: world.engine.opened > heard + 3)
    assert len(world.agent.writes) == 3
    world.engine.signal("c1", "15")
    eventually(lambda: len(world.agent.writes) == 5)


def test_what_is_being_registered_when_it_closes_is_taken_out_too(world: Runtime) -> None:
    sync = world.sync()
    world.agent.delay = 0.2
    world.engine.run("c1", port=1)
    eventually(lambda: sync.services("c1") is not None)
    sync.close(keep=False, seconds=60)
    assert world.agent.writes == [("register", "host:c1:80"), ("deregister", "host:c1:80")]


def test_what_is_found_while_it_closes_is_not_registered(world: Runtime) -> None:
    world.engine.run("c1", port=1)
    sync = world.sync(resync=0.05)
    world.await_ids("host:c1:80")
    world.agent.heeds_writes.clear()
    closing = threading.Thread(target=lambda: sync.close(keep=False, seconds=60))
    closing.start()
    eventually(lambda: sync.services("c1") is None)
    listed = world.engine.listed
    world.engine.run("c2", port=2)
    eventually(lambda: world.engine.listed > listed + 1)
    world.agent.heeds_writes.set()
    closing.join()
    assert sync.services("c2") is None
    assert ("register", "host:c2:80") not in world.agent.writes


def test_what_is_left_alone_is_not_waited_for_when_it_closes(world: Runtime, caplog: pytest.LogCaptureFixture) -> None:
    sync = world.sync(deregister_failed=False)
    world.agent.delay = 0.2
    world.engine.run("c1", port=1)
    eventually(lambda: sync.services("c1") is not None)
    world.engine.end("c1", 1, remove=False)
    eventually(lambda: sync.services("c1") is None)
    sync.close(keep=False, seconds=60)
    assert "not all services could be taken out" not in caplog.text
    assert world.agent.writes == [("register", "host:c1:80")]


@pytest.mark.parametrize("seed", range(6))
def test_any_history_ends_in_step(world: Runtime, seed: int) -> None:
    """Containers come, go, pause and fail, and both servers go away and come back, in a random order."""
    dice = random.Random(seed)
    world.sync(resync=0.5)
    names = [f"c{number}" for number in range(8)]
    away = ""
    for _ in range(120):
        name = dice.choice(names)
        state = world.engine.containers.get(name, {}).get("State", {})
        deed = dice.choice(("start", "start", "end", "pause", "unpause", "kill", "cut", "agent", "engine"))
        if deed == "start" and not state:
            world.engine.run(name, port=dice.randint(1, 9999))
        elif deed == "end" and state:
            world.engine.end(name, dice.choice((0, 1, 137)))
        elif deed == "kill" and state:
            world.engine.signal(name, "15")
            world.engine.end(name, 143)
        elif deed in ("pause", "unpause") and state:
            world.engine.change(name, deed, Paused=deed == "pause")
        elif deed == "cut" and away != "engine":
            world.engine.cut()
        elif deed in ("agent", "engine"):
            away = turn(world, away, deed, lose_state=dice.random() < 0.5)
        time.sleep(dice.random() * 0.004)
    turn(world, away, away)
    expected = {
        f"host:{name}:80": int(one["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"])
        for name, one in world.engine.containers.items()
        if not one["State"]["Paused"]
    }
    eventually(
        lambda: {key: one["Port"] for key, one in world.agent.services.items()} == expected,
        lambda: (world.agent.services, expected),
    )


def turn(world: Runtime, away: str, which: str, *, lose_state: bool = False) -> str:
    """Let one server go away, or come back when it is; who is away afterwards."""
    if away == "agent":
        world.agent.start()
        return ""
    if away == "engine":
        world.engine.start()
        return ""
    if which == "agent":
        world.agent.stop(lose_state=lose_state)
    elif which == "engine":
        world.engine.stop()
    return which
