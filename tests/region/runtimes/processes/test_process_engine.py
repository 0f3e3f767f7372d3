"""The process runtime's engine, as the Registrator uses it."""

from __future__ import annotations

import threading
from dataclasses import replace

from ecsconsul.region.runtimes.processes.process_engine import ProcessEngine, new_container_id
from ecsconsul.registrator.rules import Container


def a_container(name: str = "web") -> Container:
    return Container(new_container_id(), name, "lab/web:1")


def test_container_is_listed_from_its_start_to_its_removal() -> None:
    engine, one = ProcessEngine("i-1"), a_container()
    assert engine.inspect(one.id) is None
    engine.started(one)
    found = engine.inspect(one.id)
    assert found is not None
    assert (found.running, found.container) == (True, one)
    assert (engine.running(), engine.ended()) == ([one.id], [])
    engine.exited(one.id, 3)
    found = engine.inspect(one.id)
    assert found is not None
    assert (found.running, found.exit_code) == (False, 3)
    assert (engine.running(), engine.ended()) == ([], [one.id])
    engine.removed(one.id)
    assert (engine.inspect(one.id), engine.ended()) == (None, [])


def test_every_reader_gets_all_events_in_order() -> None:
    engine, one = ProcessEngine("i-1"), a_container()
    with engine.events(0) as first, engine.events(0) as second:
        engine.started(one)
        engine.stopping(one.id)
        engine.exited(one.id, 143)
        engine.removed(one.id)
        for stream in (first, second):
            stream.close()
            events = list(stream)
            assert [event.action for event in events] == ["start", "kill", "die", "destroy"]
            assert [(event.signal, event.exit_code) for event in events[1:3]] == [("TERM", 0), ("", 143)]
            assert {event.container for event in events} == {one.id}
            assert [event.at for event in events] == sorted(event.at for event in events)


def test_events_are_not_older_than_the_start_time() -> None:
    """The Registrator ignores events from before a container's last start."""
    engine, one = ProcessEngine("i-1"), a_container()
    with engine.events(0) as stream:
        engine.started(one)
        engine.exited(one.id, 1)
        stream.close()
        found = engine.inspect(one.id)
        assert found is not None
        assert all(event.at >= found.started_at for event in stream)


def test_moved_container_is_as_one_that_was_restarted() -> None:
    engine, one = ProcessEngine("i-1"), a_container()
    engine.started(one)
    with engine.events(0) as stream:
        engine.moved(replace(one, name="elsewhere"))
        engine.moved(a_container("unknown"))
        stream.close()
        assert [event.action for event in stream] == ["die", "start"]
    found = engine.inspect(one.id)
    assert found is not None
    assert (found.running, found.container.name) == (True, "elsewhere")


def test_close_ends_a_waiting_reader() -> None:
    engine = ProcessEngine("i-1")
    with engine.events(0) as stream:
        reader = threading.Thread(target=lambda: list(stream))
        reader.start()
        stream.close()
        reader.join(60)
        assert not reader.is_alive()


def test_unknown_container_causes_no_event() -> None:
    engine = ProcessEngine("i-1")
    with engine.events(0) as stream:
        engine.exited("nobody", 0)
        engine.removed("nobody")
        stream.close()
        assert list(stream) == []
