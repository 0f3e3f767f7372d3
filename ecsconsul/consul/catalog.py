"""A client of a Consul agent's HTTP API that converts answers to small types.

It uses python-consul2's HTTP adapter instead of its `Consul` class, because that class lets CONSUL_HTTP_ADDR override
its host and port: a shell that ran `ecsconsul env` for one lab would send commands for another lab to the wrong one.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from ..errors import LabError, Unreachable

CONNECT_SECONDS = 3.0

SEVERITY = ("passing", "warning", "critical")

# serf.MemberStatus, in the order of its numbers
MEMBER_STATUS = ("none", "alive", "leaving", "left", "failed")

T = TypeVar("T")


# gc=False: the structs have no cycles, and thousands of them would trigger collections that traverse all of boto3


class Member(msgspec.Struct, frozen=True, gc=False):
    """A member of the datacenter. `role` is server or client, `status` one of MEMBER_STATUS."""

    name: str
    address: str
    role: str
    status: str


class CheckState(msgspec.Struct, frozen=True, gc=False):
    """A check and its last output. `status` is passing, warning or critical."""

    name: str
    status: str
    output: str


class Instance(msgspec.Struct, frozen=True, gc=False):
    """An endpoint of a service. Its checks are its own followed by its node's, and its status is the worst of them."""

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
    """The instances by service name, sorted by name.

    Instances are created on access, since a lab's own services may be a small part of a big catalog.
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
        """The checks of a service, or with an empty ID those of the node."""
        if node.node not in self._checks_of:
            found = self._checks_of[node.node] = {}
            for check in node.checks or ():
                found.setdefault(check.service_id, []).append(check)
        return tuple(map(_state, self._checks_of[node.node].get(service_id, ())))


class Refused(LabError):
    """Consul rejected a request; `why` is its HTTP status and message."""

    def __init__(self, code: int, where: str, words: str) -> None:
        super().__init__("Consul rejected the request", where=where, why=f"{code} {words}")
        self.code = code


class Consul:
    """A client of one agent. A request takes up to `timeout` seconds, and a blocking one its wait in addition.

    It reuses connections, and threads may share it. Every method raises Unreachable if the agent doesn't answer, and
    Refused with Consul's message if it rejects the request.

    >>> [instance.port for instance in Consul("127.0.0.1", 8500).catalog()["weather"]]
    [32768]
    """

    def __init__(self, host: str, port: int, *, timeout: float = 10.0, token: str = "") -> None:
        from consul.std import HTTPClient  # requests is slow to import

        self._timeout = timeout
        self._http = HTTPClient(host, port, timeout=(CONNECT_SECONDS, timeout))
        # ignores proxies and .netrc: the address is explicit
        self._http.session.trust_env = False
        # compression takes longer than it saves, since the agent is near
        self._headers = {"Accept-Encoding": "identity"} | ({"X-Consul-Token": token} if token else {})

    def leader(self) -> str:
        """The Raft leader's host:port, or an empty string without a leader."""
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
        """The whole catalog, including `consul` itself.

        It takes one request, which Consul's own UI uses as well: with documented endpoints, the number of requests for
        all addresses and checks would grow with the services or nodes.
        """
        return self.next_catalog()[1]

    def next_catalog(self, index: int = 0, wait: float = 0.0) -> tuple[int, Catalog]:
        """The next index and the catalog. Blocks like `passing`, until any service changes."""
        response = self._get("/v1/internal/ui/nodes", _blocking(index, wait), wait if index else 0.0)
        return _index_of(index, response), Catalog(self._decode(response, list[_NodeServices]))

    def passing(self, service: str, index: int = 0, wait: float = 0.0) -> tuple[int, list[Instance]]:
        """The next index, and the instances of a service that pass all their checks.

        Returns at once for index 0, otherwise when something has changed since that index, or after `wait` seconds (up
        to 600): https://developer.hashicorp.com/consul/api-docs/features/blocking
        """
        params = {"passing": "1", **_blocking(index, wait)}
        response = self._get(f"/v1/health/service/{service}", params, wait if index else 0.0)
        found = self._decode(response, list[_Health])
        instances = [_instance(h.service, h.node, _of_services(h.checks) + _of_node(h.checks)) for h in found]
        return _index_of(index, response), instances

    def wait_for(self, service: str, enough: Callable[[list[Instance]], bool], seconds: float) -> list[Instance]:
        """Waits up to `seconds` until the passing instances are `enough`, and returns the latest ones."""
        until = time.monotonic() + seconds
        index, instances = self.passing(service)
        while not enough(instances) and (left := until - time.monotonic()) > 0:
            index, instances = self.passing(service, index, left)
        return instances

    def register(self, payload: dict[str, Any]) -> None:
        """Registers a service with this agent, and replaces its checks by the payload's.

        The payload is described at https://developer.hashicorp.com/consul/api-docs/agent/service#register-service.
        """
        body = msgspec.json.encode(payload)
        self._put("/v1/agent/service/register", {"replace-existing-checks": "true"}, body)

    def deregister(self, service_id: str) -> None:
        """Removes a service from this agent and the catalog. Does nothing if it doesn't exist."""
        try:
            self._put(f"/v1/agent/service/deregister/{service_id}")
        except Refused as refusal:
            if refusal.code != 404:  # newer versions of Consul; 1.8 returns 200
                raise

    def has_service(self, service_id: str) -> bool:
        """Whether a service is registered with this agent."""
        try:
            self._get(f"/v1/agent/service/{service_id}")
        except Refused as refusal:
            if refusal.code != 404:
                raise
            return False
        return True

    def agent_services(self) -> dict[str, dict[str, Any]]:
        """This agent's services by ID, as returned by /v1/agent/services."""
        return self._decode(self._get("/v1/agent/services"), dict[str, dict[str, Any]])

    def _get(self, path: str, params: Mapping[str, str] | None = None, wait: float = 0.0) -> Any:
        return self._send(path, lambda http: http.get(_as_it_is, path, params, self._headers), wait)

    def _put(self, path: str, params: Mapping[str, str] | None = None, body: bytes = b"") -> None:
        self._send(path, lambda http: http.put(_as_it_is, path, params, body, self._headers))

    def _send(self, path: str, call: Callable[[Any], Any], wait: float = 0.0) -> Any:
        """python-consul2's Response (code, headers, body, content) of a successful request."""
        from requests import RequestException

        where = self._http.base_uri + path
        try:
            response = _retry_if_dropped(call, self._with_timeout(wait) if wait else self._http)
        except RequestException as error:
            hint = "is the lab up (ecsconsul status)?"
            raise Unreachable("Consul does not answer", where=where, why=_reason(error), hint=hint) from error
        if response.code >= 400:
            raise Refused(response.code, where, response.body.strip())
        return response

    def _with_timeout(self, wait: float) -> Any:
        """The adapter with a longer timeout and the same session; Consul adds up to 1/16 to a query's wait."""
        http = copy.copy(self._http)
        http.timeout = (CONNECT_SECONDS, self._timeout + wait * 17 / 16)
        return http

    def _decode(self, response: Any, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(response.content, type=kind)
        except msgspec.DecodeError as error:
            where = self._http.base_uri
            raise LabError("The answer isn't from Consul's API", where=where, why=str(error)) from error


def _blocking(index: int, wait: float) -> dict[str, str]:
    """The parameters that make a query block until something changes after the index; none for index 0."""
    return {"index": str(index), "wait": f"{wait * 1000:.0f}ms"} if index else {}


def _index_of(before: int, response: Any) -> int:
    # without an index, Consul answers at once
    return next_index(before, int(response.headers.get("X-Consul-Index", 0)))


def _retry_if_dropped(call: Callable[[Any], Any], http: Any) -> Any:
    """Returns the call's result, and retries once if the connection was closed before an answer.

    The server may close a kept-alive connection just as it gets a request (RFC 9112, 9.3.1 and 9.5). All requests here
    are safe to repeat.
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
    """The index for the next blocking query: 0, to start over, if Consul's index went backwards."""
    return after if after >= before else 0


def worst(checks: tuple[CheckState, ...]) -> str:
    """The worst status, or passing without checks."""
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
    """Converts a check; an unknown status becomes critical."""
    return CheckState(check.name, check.status if check.status in SEVERITY else "critical", check.output)


def _reason(error: BaseException) -> str:
    """The operating system's message if there is one, since the libraries' messages are long and say less."""
    import requests

    if isinstance(error, requests.Timeout):
        return "no answer in time"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return str(error)
