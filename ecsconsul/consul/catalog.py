"""Talks to one Consul agent's HTTP API and folds its answers into small types of ours; decides nothing.

Requests go through python-consul2's HTTP adapter and not through its `Consul` class, because that class
lets CONSUL_HTTP_ADDR override the host and port that it is given: a shell that ran `ecsconsul env` for one
lab would send the commands for another lab astray.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from ..errors import LabError, Unreachable

CONNECT_SECONDS = 3.0
LEAVE_SECONDS = 30.0

SEVERITY = ("passing", "warning", "critical")

# serf.MemberStatus, in the order of its numbers.
MEMBER_STATUS = ("none", "alive", "leaving", "left", "failed")

T = TypeVar("T")


# Without cycles there is nothing to collect, and thousands of them would have the collector walk all of boto3 besides.


class Member(msgspec.Struct, frozen=True, gc=False):
    """An agent that gossips in the datacenter; `role` server or client, `status` one of MEMBER_STATUS."""

    name: str
    address: str
    role: str
    status: str


class CheckState(msgspec.Struct, frozen=True, gc=False):
    """A check and what it last saw; `status` passing, warning or critical."""

    name: str
    status: str
    output: str


class Instance(msgspec.Struct, frozen=True, gc=False):
    """One endpoint of a service; its checks are its own and then its node's, its status the worst of them."""

    id: str
    node: str
    address: str
    port: int
    status: str
    tags: tuple[str, ...]
    checks: tuple[CheckState, ...]


class _Service(msgspec.Struct, rename="pascal", gc=False):
    id: str = msgspec.field(name="ID")
    service: str
    address: str
    port: int
    tags: tuple[str, ...] | None


class _Check(msgspec.Struct, rename="pascal", gc=False):
    name: str
    status: str
    output: str
    service_id: str = msgspec.field(name="ServiceID")


class _Node(msgspec.Struct, rename="pascal", gc=False):
    node: str
    address: str


class _NodeServices(_Node):
    services: list[_Service] | None
    checks: list[_Check] | None


class _Health(msgspec.Struct, rename="pascal", gc=False):
    node: _Node
    service: _Service
    checks: list[_Check]


class _Member(msgspec.Struct, rename="pascal", gc=False):
    name: str
    addr: str
    status: int
    tags: dict[str, str]


class Catalog(Mapping[str, list[Instance]]):
    """Service name -> instances, sorted by name.

    An instance is put together when it is asked for: of a big catalog, a lab's own services are a small part.
    """

    def __init__(self, nodes: Sequence[_NodeServices]) -> None:
        held: dict[str, list[tuple[_NodeServices, _Service]]] = {}
        for node in nodes:
            for service in node.services or ():
                held.setdefault(service.service, []).append((node, service))
        self._held = dict(sorted(held.items()))
        self._checks_of: dict[str, dict[str, list[_Check]]] = {}

    def __getitem__(self, name: str) -> list[Instance]:
        return [
            _instance(service, node, self._checks(node, service.id) + self._checks(node, ""))
            for node, service in self._held[name]
        ]

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def _checks(self, node: _NodeServices, service_id: str) -> tuple[CheckState, ...]:
        """The node's own have no service ID."""
        if node.node not in self._checks_of:
            found = self._checks_of[node.node] = {}
            for check in node.checks or ():
                found.setdefault(check.service_id, []).append(check)
        return tuple(map(_state, self._checks_of[node.node].get(service_id, ())))


class Refused(LabError):
    """Consul answered, and said no; `why` holds its HTTP code and words."""

    def __init__(self, code: int, where: str, words: str) -> None:
        super().__init__("Consul refuses", where=where, why=f"{code} {words}")
        self.code = code


class Consul:
    """One agent's HTTP API. A request takes `timeout` seconds at most, a blocking one its wait besides.

    Connections are kept and reused; threads may share one Consul (its session's pool is locked, and nothing
    else of it changes). Every method raises Unreachable when the agent does not answer, and Refused with
    Consul's own words when it says no.
    """

    def __init__(self, host: str, port: int, *, timeout: float = 10.0, token: str = "") -> None:
        from consul.std import HTTPClient  # requests is heavy, so not before it is needed

        self._timeout = timeout
        self._http = HTTPClient(host, port, timeout=(CONNECT_SECONDS, timeout))
        # The address was given: no proxy or .netrc of the environment has a say in it.
        self._http.session.trust_env = False
        # On the way to a near agent, packing and unpacking takes longer than what it saves.
        self._headers = {"Accept-Encoding": "identity"} | ({"X-Consul-Token": token} if token else {})

    def leader(self) -> str:
        """The Raft leader's host:port; empty while there is none."""
        return self._decode(self._get("/v1/status/leader"), str)

    def members(self) -> list[Member]:
        """The LAN members as this agent sees them."""
        found = self._decode(self._get("/v1/agent/members"), list[_Member])
        return [
            Member(
                name=member.name,
                address=member.addr,
                role="server" if member.tags.get("role") == "consul" else "client",
                status=MEMBER_STATUS[member.status],
            )
            for member in found
        ]

    def catalog(self) -> Catalog:
        """The whole catalog, `consul` itself included.

        In one request, the one that Consul's own UI begins with: no documented endpoint gives all services'
        addresses and checks in a number of requests that does not grow with the services or the nodes.
        """
        return self.next_catalog()[1]

    def next_catalog(self, index: int = 0, wait: float = 0.0) -> tuple[int, Catalog]:
        """The index to go on from, and the catalog; answers when `passing` does, whatever service has changed."""
        response = self._get("/v1/internal/ui/nodes", _blocking(index, wait), wait if index else 0.0)
        return _index_of(index, response), Catalog(self._decode(response, list[_NodeServices]))

    def passing(self, service: str, index: int = 0, wait: float = 0.0) -> tuple[int, list[Instance]]:
        """The index to go on from, and the instances of a service that pass all their checks.

        Answers at once for index 0, else when something changed since, or after `wait` seconds (600 at most)
        (https://developer.hashicorp.com/consul/api-docs/features/blocking).
        """
        params = {"passing": "1", **_blocking(index, wait)}
        response = self._get(f"/v1/health/service/{service}", params, wait if index else 0.0)
        found = self._decode(response, list[_Health])
        instances = [_instance(h.service, h.node, _of_services(h.checks) + _of_node(h.checks)) for h in found]
        return _index_of(index, response), instances

    def wait_for(self, service: str, enough: Callable[[list[Instance]], bool], seconds: float) -> list[Instance]:
        """Watches the passing instances until they are `enough`, `seconds` at most; returns the last seen."""
        until = time.monotonic() + seconds
        index, instances = self.passing(service)
        while not enough(instances) and (left := until - time.monotonic()) > 0:
            index, instances = self.passing(service, index, left)
        return instances

    def register(self, payload: dict[str, Any]) -> None:
        """Registers a service with this agent, so that it has exactly the payload's checks.

        The payload is that of https://developer.hashicorp.com/consul/api-docs/agent/service#register-service.
        """
        body = msgspec.json.encode(payload)
        self._put("/v1/agent/service/register", {"replace-existing-checks": "true"}, body)

    def deregister(self, service_id: str) -> None:
        """Takes a service off this agent and off the catalog; one that is not there is fine."""
        try:
            self._put(f"/v1/agent/service/deregister/{service_id}")
        except Refused as refusal:
            if refusal.code != 404:  # newer Consuls answer so, 1.8 answers 200
                raise

    def has_service(self, service_id: str) -> bool:
        """Whether this agent holds a service."""
        try:
            self._get(f"/v1/agent/service/{service_id}")
        except Refused as refusal:
            if refusal.code != 404:
                raise
            return False
        return True

    def agent_services(self) -> dict[str, dict[str, Any]]:
        """Service id -> what this agent holds of it, as Consul's /v1/agent/services gives it."""
        return self._decode(self._get("/v1/agent/services"), dict[str, dict[str, Any]])

    def leave(self) -> None:
        """Lets this agent leave the datacenter and end: some 4 s for a client, 11 s for a server."""
        self._put("/v1/agent/leave", wait=LEAVE_SECONDS)

    def _get(self, path: str, params: Mapping[str, str] | None = None, wait: float = 0.0) -> Any:
        return self._send(path, lambda http: http.get(_as_it_is, path, params, self._headers), wait)

    def _put(self, path: str, params: Mapping[str, str] | None = None, body: bytes = b"", wait: float = 0.0) -> None:
        self._send(path, lambda http: http.put(_as_it_is, path, params, body, self._headers), wait)

    def _send(self, path: str, call: Callable[[Any], Any], wait: float = 0.0) -> Any:
        """python-consul2's Response (code, headers, body, content) of a request that Consul granted."""
        from requests import RequestException

        where = self._http.base_uri + path
        try:
            response = _again_if_dropped(call, self._patient(wait) if wait else self._http)
        except RequestException as error:
            hint = "is the lab up (ecsconsul status)?"
            raise Unreachable("Consul does not answer", where=where, why=_reason(error), hint=hint) from error
        if response.code >= 400:
            raise Refused(response.code, where, response.body.strip())
        return response

    def _patient(self, wait: float) -> Any:
        """The adapter, same session, with more time; Consul adds up to a sixteenth to the wait of a query."""
        http = copy.copy(self._http)
        http.timeout = (CONNECT_SECONDS, self._timeout + wait * 17 / 16)
        return http

    def _decode(self, response: Any, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(response.content, type=kind)
        except msgspec.DecodeError as error:
            where = self._http.base_uri
            raise LabError("that is not what Consul's API answers", where=where, why=str(error)) from error


def _blocking(index: int, wait: float) -> dict[str, str]:
    """What makes a query wait until something has changed since the index; nothing does for index 0."""
    return {"index": str(index), "wait": f"{wait * 1000:.0f}ms"} if index else {}


def _index_of(before: int, response: Any) -> int:
    # without one, each question is answered at once
    return next_index(before, int(response.headers.get("X-Consul-Index", 0)))


def _again_if_dropped(call: Callable[[Any], Any], http: Any) -> Any:
    """What the call returns; made once more when its connection ended before anything was answered.

    A kept connection may be closed by the other side at the very moment of a request (RFC 9112, 9.3.1 and 9.5).
    All that is asked here may be asked twice.
    """
    from requests import ConnectionError
    from urllib3.exceptions import ProtocolError

    try:
        return call(http)
    except ConnectionError as error:
        if not (error.args and isinstance(error.args[0], ProtocolError)):
            raise
    return call(http)


def _as_it_is(response: T) -> T:
    return response


def next_index(before: int, after: int) -> int:
    """The index for the next blocking query: 0, to begin anew, when Consul's went backwards."""
    return after if after >= before else 0


def worst(checks: tuple[CheckState, ...]) -> str:
    """The worst status; passing when there are no checks."""
    return max((check.status for check in checks), key=SEVERITY.index, default="passing")


def _instance(service: _Service, node: _Node, checks: tuple[CheckState, ...]) -> Instance:
    return Instance(
        id=service.id,
        node=node.node,
        address=service.address or node.address,
        port=service.port,
        status=worst(checks),
        tags=service.tags or (),
        checks=checks,
    )


def _of_services(checks: list[_Check]) -> tuple[CheckState, ...]:
    return tuple(_state(check) for check in checks if check.service_id)


def _of_node(checks: list[_Check]) -> tuple[CheckState, ...]:
    return tuple(_state(check) for check in checks if not check.service_id)


def _state(check: _Check) -> CheckState:
    """A status that Consul does not have yet is folded into critical."""
    return CheckState(check.name, check.status if check.status in SEVERITY else "critical", check.output)


def _reason(error: BaseException) -> str:
    """The operating system's words where there are any below; the libraries' own are long and say less."""
    import requests

    if isinstance(error, requests.Timeout):
        return "no answer in time"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return str(error)
