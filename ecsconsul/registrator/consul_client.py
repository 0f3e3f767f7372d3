"""A client for one Consul agent's HTTP API, over TCP, TLS or a Unix socket."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ..errors import LabError
from .http_transport import HttpClient, Response
from .settings import Server

TIMEOUT = 10.0
MAX_WAIT = 60.0  # seconds that one blocking query may last


class ConsulRefused(LabError):
    """The agent answered with an error; `code` is the HTTP status code."""

    def __init__(self, code: int, where: str, text: str) -> None:
        super().__init__("Consul refused the request", where=where, why=f"{code} {text}")
        self.code = code


class ConsulClient:
    """One agent; threads may share a client. Every method raises Unreachable when the agent doesn't answer."""

    def __init__(self, server: Server, token: str = "") -> None:
        self.server = server
        self._http = HttpClient("Consul", server, timeout=TIMEOUT)
        self.use_token(token)

    def use_token(self, token: str) -> None:
        """Send this ACL token from the next request on; "" for none."""
        self._http.use_headers({"X-Consul-Token": token} if token else {})

    def leader(self) -> str:
        """The Raft leader's address; "" if there is none."""
        return str(self._get("/v1/status/leader"))

    def address(self) -> str:
        """The address of the agent's node in its datacenter."""
        return str((self._get("/v1/agent/self").get("Member") or {}).get("Addr") or "")

    def services(self) -> dict[str, dict[str, Any]]:
        """The services registered with this agent, by ID."""
        services: dict[str, dict[str, Any]] = self._get("/v1/agent/services")
        return services

    def critical_check(self, service_id: str) -> str:
        """The ID of this service's critical check; "" if it has none."""
        return self._critical_checks().get(service_id, "")

    def critical(self) -> set[str]:
        """The IDs of this agent's critical services."""
        return set(self._critical_checks())

    def _critical_checks(self) -> dict[str, str]:
        """By service."""
        found = self._get("/v1/agent/checks").items()
        return {one["ServiceID"]: key for key, one in found if one.get("ServiceID") and one.get("Status") == "critical"}

    def passing(self, service: str) -> set[str]:
        """The IDs of a service's instances that Consul's servers list as passing."""
        return _ids(self._get(f"/v1/health/service/{quote(service, safe='')}?passing=1"))

    def wait_until_unlisted(self, service: str, service_id: str, seconds: float) -> None:
        """Wait until Consul's servers no longer list this ID as passing, or the time is over.

        The index follows https://developer.hashicorp.com/consul/api-docs/features/blocking: it restarts at 0 when it
        goes backwards, and is never below 1 after an answer.
        """
        index, end = 0, time.monotonic() + seconds
        while (remaining := end - time.monotonic()) > 0:
            wait = min(remaining, MAX_WAIT)
            query = f"passing=1&index={index}&wait={max(1, int(wait * 1000))}ms"
            path = f"/v1/health/service/{quote(service, safe='')}?{query}"
            # Consul adds up to a sixteenth of the wait, so that not all clients return at once
            response = self._checked(path, self._http.request("GET", path, timeout=wait * 17 / 16 + TIMEOUT))
            if service_id not in _ids(self._decoded(path, response)):
                return
            index = _next_index(index, response.headers.get("X-Consul-Index", ""))

    def register(self, payload: Mapping[str, object]) -> None:
        """Register a service with exactly the payload's checks. Raises ConsulRefused."""
        self.put("/v1/agent/service/register?replace-existing-checks=true", payload)

    def deregister(self, service_id: str) -> None:
        """Deregister a service; does nothing if the agent doesn't have it. Raises ConsulRefused."""
        try:
            self._put(f"/v1/agent/service/deregister/{quote(service_id, safe='')}")
        except ConsulRefused as refusal:
            if refusal.code != 404 and "Unknown service" not in refusal.why:
                raise

    def put(self, path: str, payload: Mapping[str, object]) -> None:
        """A PUT of a JSON object. Raises ConsulRefused."""
        self._put(path, json.dumps(payload).encode())

    def close(self) -> None:
        self._http.close()

    def _put(self, path: str, body: bytes | None = None) -> None:
        self._checked(path, self._http.request("PUT", path, body))

    def _get(self, path: str) -> Any:
        return self._decoded(path, self._checked(path, self._http.request("GET", path)))

    def _decoded(self, path: str, response: Response) -> Any:
        try:
            return json.loads(response.body)
        except ValueError as error:
            raise ConsulRefused(response.code, self._where(path), f"not JSON: {error}") from error

    def _checked(self, path: str, response: Response) -> Response:
        if response.code >= 400:
            raise ConsulRefused(response.code, self._where(path), response.text)
        return response

    def _where(self, path: str) -> str:
        return f"{self.server}{path.partition('?')[0]}"


def _ids(instances: Any) -> set[str]:
    return {one["Service"]["ID"] for one in instances}


def _next_index(index: int, header: str) -> int:
    """The index of the next blocking query."""
    answered = int(header) if header.isascii() and header.isdigit() else 0
    return 0 if answered < index else max(answered, 1)
