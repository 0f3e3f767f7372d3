"""One parameter of SSM in memory: versions, history and times as AWS documents them, and a clock that a test moves."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

from botocore.exceptions import ClientError

KEPT = 100


class FakeSsm:
    """SSM's answers; `seconds` is AWS's clock. Hooks run before a request is served, and may send others."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.versions: dict[str, dict[int, tuple[str, datetime]]] = {}
        self.requests: list[str] = []
        # each runs once, before the next request of that operation
        self.before: dict[str, list[Callable[[], None]]] = {}
        # errors for the next requests of an operation; `lost` are served before
        self.errors: dict[str, list[Exception]] = {}
        self.lost: dict[str, list[Exception]] = {}
        # whether the next write is done twice, as when botocore sends it again because its answer got lost
        self.twice = False
        self._lock = threading.RLock()

    @property
    def now(self) -> datetime:
        return datetime(2026, 11, 1, 12, tzinfo=timezone.utc) + timedelta(seconds=self.seconds)

    def get_parameter(self, *, Name: str) -> dict[str, Any]:
        self._begin("get_parameter")
        name, _, wanted = Name.partition(":")
        versions = self.versions.get(name)
        if not versions:
            raise self._error("ParameterNotFound")
        version = int(wanted or max(versions))
        if version not in versions:
            raise self._error("ParameterVersionNotFound")
        value, modified = versions[version]
        found = {"Name": name, "Value": value, "Version": version, "LastModifiedDate": modified}
        return self._answer({"Parameter": found})

    def put_parameter(
        self, *, Name: str, Value: str, Type: str, Description: str, Overwrite: bool = False, Tags: Any = ()
    ) -> dict[str, Any]:
        self._begin("put_parameter")
        assert not (Overwrite and Tags), "SSM refuses tags together with Overwrite"
        with self._lock:
            versions = self.versions.setdefault(Name, {})
            if versions and not Overwrite:
                raise self._error("ParameterAlreadyExists")
            for _ in range(1 + self.twice):
                version = max(versions, default=0) + 1
                versions[version] = (Value, self.now)
                versions.pop(version - KEPT, None)
            self.twice = False
        for error in [*self.lost.get("put_parameter", [])][:1]:
            self.lost["put_parameter"].remove(error)
            raise error
        return self._answer({"Version": version})

    def delete_parameter(self, *, Name: str) -> dict[str, Any]:
        self._begin("delete_parameter")
        if not self.versions.pop(Name, None):
            raise self._error("ParameterNotFound")
        return self._answer({})

    def get_paginator(self, operation: str) -> FakeSsm:
        assert operation == "get_parameters_by_path"
        return self

    def paginate(self, *, Path: str, **_: Any) -> list[dict[str, Any]]:
        self._begin("get_parameters_by_path")
        return [{"Parameters": [{"Name": name} for name in self.versions if name.startswith(f"{Path}/")]}]

    def _begin(self, operation: str) -> None:
        self.requests.append(operation)
        if self.before.get(operation):
            self.before[operation].pop(0)()
        if self.errors.get(operation):
            raise self.errors[operation].pop(0)

    def _answer(self, content: dict[str, Any]) -> dict[str, Any]:
        return {**content, "ResponseMetadata": {"HTTPHeaders": {"date": format_datetime(self.now, usegmt=True)}}}

    def _error(self, code: str) -> ClientError:
        return client_error(code, self._answer({}))


def client_error(code: str, answer: dict[str, Any] | None = None) -> ClientError:
    """AWS's error of that code."""
    return ClientError({**(answer or {}), "Error": {"Code": code, "Message": f"{code}."}}, "PutParameter")  # type: ignore[typeddict-item]
