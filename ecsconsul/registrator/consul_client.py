"""Asks and tells one Consul agent, over TCP, TLS or a Unix socket; what it is told is decided by others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ..errors import LabError
from .http_transport import Answer, HttpClient
from .settings import Server

TIMEOUT = 10.0
CRITICAL = 503  # how the agent answers for a critical service


class AgentRefuses(LabError):
    """The agent answered, and said no; `code` is HTTP's."""

    def __init__(self, code: int, where: str, words: str) -> None:
        super().__init__("Consul refuses", where=where, why=f"{code} {words}")
        self.code = code


class Agent:
    """One agent; threads may share it. Every method raises Unreachable when it does not answer."""

    def __init__(self, server: Server, token: str = "") -> None:
        self.server = server
        self._http = HttpClient("Consul", server, timeout=TIMEOUT, headers={"X-Consul-Token": token} if token else {})

    def leader(self) -> str:
        """The Raft leader's address; empty while there is none."""
        return str(self._get("/v1/status/leader"))

    def address(self) -> str:
        """The address under which the agent's node is known in the datacenter."""
        return str((self._get("/v1/agent/self").get("Member") or {}).get("Addr") or "")

    def services(self) -> dict[str, dict[str, Any]]:
        """Service id -> what this agent holds of it."""
        found: dict[str, dict[str, Any]] = self._get("/v1/agent/services")
        return found

    def is_critical(self, service_id: str) -> bool:
        """Whether the agent has this service and sees it as critical."""
        path = f"/v1/agent/health/service/id/{quote(service_id, safe='')}?format=text"
        return self._http.request("GET", path).code == CRITICAL

    def critical(self) -> set[str]:
        """The ids of the services that this agent sees as critical."""
        checks = self._get("/v1/agent/checks").values()
        return {one["ServiceID"] for one in checks if one.get("ServiceID") and one.get("Status") == "critical"}

    def passing(self, service: str) -> set[str]:
        """The ids of a service's instances that Consul's servers list as passing."""
        found = self._get(f"/v1/health/service/{quote(service, safe='')}?passing=1")
        return {one["Service"]["ID"] for one in found}

    def wait_until_unlisted(self, service: str, service_id: str, seconds: float) -> None:
        """Block until Consul's servers no longer list an instance as passing, `seconds` at most."""
        import time

        end = time.monotonic() + seconds
        while service_id in self.passing(service) and time.monotonic() < end:
            time.sleep(0.01)

    def register(self, payload: Mapping[str, object]) -> None:
        """Registers a service so that it has exactly the payload's checks. Raises AgentRefuses."""
        body = json.dumps(payload).encode()
        self._put("/v1/agent/service/register?replace-existing-checks=true", body)

    def deregister(self, service_id: str) -> None:
        """Takes a service out; one that is not there is fine. Raises AgentRefuses."""
        try:
            self._put(f"/v1/agent/service/deregister/{quote(service_id, safe='')}")
        except AgentRefuses as refusal:
            if refusal.code != 404 and "Unknown service" not in refusal.why:
                raise

    def close(self) -> None:
        self._http.close()

    def _put(self, path: str, body: bytes | None = None) -> None:
        self._granted(path, self._http.request("PUT", path, body))

    def _get(self, path: str) -> Any:
        answer = self._granted(path, self._http.request("GET", path))
        try:
            return json.loads(answer.body)
        except ValueError as error:
            raise AgentRefuses(answer.code, self._where(path), f"no JSON: {error}") from error

    def _granted(self, path: str, answer: Answer) -> Answer:
        if answer.code >= 400:
            raise AgentRefuses(answer.code, self._where(path), answer.words)
        return answer

    def _where(self, path: str) -> str:
        return f"{self.server}{path.partition('?')[0]}"
