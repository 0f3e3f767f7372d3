"""What is asked of a Consul agent and told to it, against a real one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ecsconsul.registrator.consul_client import Agent, AgentRefuses
from ecsconsul.registrator.ownership import OwnershipTag, marked, read_ownership_tag
from ecsconsul.registrator.rules import Registration
from ecsconsul.registrator.settings import Server
from tests.consul_server import ConsulServer
from tests.registrator.conftest import eventually
from tests.registrator.servers import AgentServer

MARKER = OwnershipTag("ENGINE:1", "c1", "digest")
# IDs may hold what a path may not
ID = "host:a/b?c#d é:80"


@pytest.fixture
def consul(server: ConsulServer) -> Iterator[Agent]:
    agent = Agent(Server(server.host, server.http))
    yield agent
    agent.close()


def test_what_is_registered_is_there_with_its_mark_until_it_is_taken_out(consul: Agent) -> None:
    payload = Registration(ID, "web", "10.0.0.1", 80).payload()
    consul.register(marked(payload, MARKER))
    assert read_ownership_tag(consul.services()[ID]) == MARKER
    eventually(lambda: consul.passing("web") == {ID})
    assert not consul.is_critical(ID)
    consul.deregister(ID)
    consul.deregister(ID)
    assert ID not in consul.services()


def test_a_critical_service_is_known_as_such(consul: Agent) -> None:
    consul.register({"ID": "sick", "Name": "sick", "Check": {"TTL": "600s", "Status": "critical"}})
    assert consul.is_critical("sick")
    assert consul.critical() == {"sick"}
    assert consul.passing("sick") == set()
    assert not consul.is_critical("nobody")
    consul.deregister("sick")


def test_who_the_agent_is(consul: Agent, server: ConsulServer) -> None:
    assert consul.address() == server.host


def test_a_refusal_holds_consuls_words(consul: Agent) -> None:
    with pytest.raises(AgentRefuses) as refused:
        consul.register({"ID": "x", "Name": ""})
    assert refused.value.code == 400
    assert "Missing service name" in refused.value.why


def test_the_token_goes_with_every_request(agent: AgentServer) -> None:
    known = Agent(Server("127.0.0.1", agent.port), "secret")
    known.services()
    known.close()
    assert agent.tokens == {"secret"}
