"""A client of a Consul agent's HTTP API that converts answers to small types.

It uses python-consul2's HTTP adapter instead of its `Consul` class, because that class lets CONSUL_HTTP_ADDR override
its host and port: a shell that ran `ecsconsul env` for one lab would send commands for another lab to the wrong one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any, Literal, TypeVar

import msgspec

from ..errors import LabError, Unreachable

CONNECT_SECONDS = 3.0
# the longest time without a byte of a file: the leader writes all of its data to a file first, or reads all of it
FILE_SECONDS = 300.0
FILE_CHUNK = 1 << 20

SEVERITY = ("passing", "warning", "critical")

# Consul's default, and every lab's
DATACENTER = "dc1"
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


class _NodeServices(msgspec.Struct, rename="pascal", gc=False):
    node: str
    address: str
    services: list[_Service] | None
    checks: list[_Check] | None


class _Node(msgspec.Struct, rename="pascal", gc=False):
    node: str
    address: str


class _Healthy(msgspec.Struct, rename="pascal", gc=False):
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


class Consul:
    """A client of one agent. A request takes up to `timeout` seconds, and a blocking one its wait in addition.

    It reuses connections, and threads may share it. Every method raises Unreachable if the agent doesn't answer, and
    Refused with Consul's message if it rejects the request.

    >>> [instance.port for instance in Consul("127.0.0.1", 8500).catalog()["weather"]]
    [32768]
    """

    def __init__(
        self, host: str, port: int, *, timeout: float = 10.0, token: str = "", ca_file: str = "", server_name: str = ""
    ) -> None:
        """With `ca_file` over TLS: the server must have a certificate of that authority, with that name."""
        from consul.std import HTTPClient  # requests is slow to import

        self._timeout = timeout
        scheme, verify = ("https", ca_file) if ca_file else ("http", True)
        self._http = HTTPClient(host, port, scheme, verify, timeout=(CONNECT_SECONDS, timeout))
        if ca_file:
            self._http.session.mount("https://", _named_server(server_name))
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
        """The next index and the catalog.

        Returns at once for index 0, otherwise when any service has changed since that index, or after `wait` seconds
        (up to 600): https://developer.hashicorp.com/consul/api-docs/features/blocking
        """
        # without a time above zero, Consul waits for its own default of minutes
        params = {"index": str(index), "wait": f"{max(wait * 1000, 1):.0f}ms"} if index else {}
        response = self._get("/v1/internal/ui/nodes", params, wait if index else 0.0)
        # without an index, Consul answers at once
        index = next_index(index, int(response.headers.get("X-Consul-Index", 0)))
        return index, Catalog(self._decode(response, list[_NodeServices]))

    def passing(self, name: str) -> list[Instance]:
        """The instances of a service of which all checks pass; none if Consul doesn't know the name.

        https://developer.hashicorp.com/consul/api-docs/health#list-service-instances-for-service
        """
        response = self._get(f"/v1/health/service/{name}", {"passing": "true"})
        return [
            _instance(one.service, one.node, tuple(map(_state, one.checks)))
            for one in self._decode(response, list[_Healthy])
        ]

    def send(self, method: Literal["get", "put", "post", "delete"], path: str, body: object = None) -> Any:
        """A request with a JSON body; the decoded answer, or None if it has none."""
        content = {"data": msgspec.json.encode(body)} if body is not None else {}

        def request() -> Any:
            return getattr(self._http, method)(lambda answer: answer, path, headers=self._headers, **content)

        response = self._answered(path, request)
        return msgspec.json.decode(response.content) if response.content.strip() else None

    def download(self, path: str, file: IO[bytes]) -> None:
        """Write the body of a GET to a file as it arrives."""
        options = {"headers": self._headers, "verify": self._http.verify, "stream": True}
        with self._file_request("get", path, **options) as response:
            for chunk in response.iter_content(FILE_CHUNK):
                file.write(chunk)

    def upload(self, path: str, file: IO[bytes]) -> None:
        """PUT a file, as it is read."""
        with self._file_request("put", path, headers=self._headers, verify=self._http.verify, data=file):
            pass

    @contextmanager
    def _file_request(self, method: str, path: str, **options: Any) -> Iterator[Any]:
        """A response of requests, closed at the end. A request with a file isn't repeated."""
        from requests import RequestException

        where = self._http.base_uri + path
        try:
            send = getattr(self._http.session, method)
            with send(where, timeout=(CONNECT_SECONDS, FILE_SECONDS), **options) as response:
                if not response.ok:
                    raise Refused("Consul rejected the request", where=where, why=_answer(response))
                yield response
        except RequestException as error:
            raise _unreachable(where, error) from error

    def _get(self, path: str, params: Mapping[str, str] | None = None, wait: float = 0.0) -> Any:
        """python-consul2's Response (code, headers, body, content) of a successful request."""
        # Consul adds up to 1/16 to a query's wait
        http = copy.copy(self._http)
        http.timeout = (CONNECT_SECONDS, self._timeout + wait * 17 / 16)
        return self._answered(path, lambda: http.get(lambda answer: answer, path, params, self._headers))

    def _answered(self, path: str, request: Callable[[], Any]) -> Any:
        from requests import RequestException

        where = self._http.base_uri + path
        try:
            response = _retry_if_dropped(request)
        except RequestException as error:
            raise _unreachable(where, error) from error
        _require_success(where, response)
        return response

    def _decode(self, response: Any, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(response.content, type=kind)
        except msgspec.DecodeError as error:
            where = self._http.base_uri
            raise LabError("The answer isn't from Consul's API", where=where, why=str(error)) from error


def version_of_agent(consul: Consul) -> str:
    """The version that a client's agent runs; the client needs a token that may read the agent. Raises LabError."""
    return str(consul.send("get", "/v1/agent/self")["Config"]["Version"])


def _unreachable(where: str, error: Exception) -> Unreachable:
    hint = "is the lab up (ecsconsul status)?"
    return Unreachable("Consul does not answer", where=where, why=_reason(error), hint=hint)


def _answer(response: Any) -> str:
    return f"{response.status_code} {response.text.strip()}"


def _require_success(where: str, response: Any) -> None:
    if response.code >= 400:
        raise Refused("Consul rejected the request", where=where, why=f"{response.code} {response.body.strip()}")


def _named_server(name: str) -> Any:
    """An adapter of requests that asks for a server by this name, whatever its address is called."""
    from requests.adapters import HTTPAdapter

    class NamedServer(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **options: Any) -> None:
            super().init_poolmanager(*args, server_hostname=name, assert_hostname=name, **options)

    return NamedServer()


def _retry_if_dropped(call: Callable[[], T]) -> T:
    """Returns the call's result, and retries once if the connection was closed before an answer.

    The server may close a kept-alive connection just as it gets a request (RFC 9112, 9.3.1 and 9.5).
    """
    from requests import ConnectionError
    from urllib3.exceptions import ProtocolError

    try:
        return call()
    except ConnectionError as error:
        if not (error.args and isinstance(error.args[0], ProtocolError)):
            raise
    return call()


def next_index(before: int, after: int) -> int:
    """The index for the next blocking query: 0, to start over, if Consul's index went backwards."""
    return after if after >= before else 0


def worst(checks: tuple[CheckState, ...]) -> str:
    """The worst status, or passing without checks."""
    return max((check.status for check in checks), key=SEVERITY.index, default="passing")


def _instance(service: _Service, node: _NodeServices | _Node, checks: tuple[CheckState, ...]) -> Instance:
    return Instance(
        id=service.id,
        node=node.node,
        address=service.address or node.address,
        port=service.port,
        status=worst(checks),
        tags=service.tags or (),
        checks=checks,
    )


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
