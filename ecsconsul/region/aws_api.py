"""The region's AWS API as a WSGI application: ECS's services, tasks and instances are our own, moto answers the rest.

Requests come from the request guard, which has verified them and names the service that they are signed for. When a
request creates or terminates EC2 instances, they are booted or stopped before the response is sent.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable
from typing import Any

from ..observe.wire import STATE_PATH, encode_state, since_and_wait
from .ecs.api import EcsApi
from .ecs.request_fields import ApiError
from .ecs.state import Ecs
from .ecs.task_definitions import check_definition
from .ecs_changes import EcsChanges
from .logs_api import LogsApi
from .moto import Moto
from .request_guard import SERVICE

_TARGET, _LOGS_TARGET = "AmazonEC2ContainerServiceV20141113.", "Logs_20140328."
# The services that can launch or terminate instances.
_MAY_CHANGE_INSTANCES = ("ec2", "autoscaling", "cloudformation")

# What moto answers of ECS; everything else that isn't our own is refused, because moto would make up an answer.
BY_MOTO = frozenset(
    {
        "CreateCluster", "DeleteCluster", "DescribeClusters", "ListClusters", "UpdateCluster",
        "PutClusterCapacityProviders", "RegisterTaskDefinition", "DeregisterTaskDefinition", "DeleteTaskDefinitions",
        "ListTaskDefinitions", "ListTaskDefinitionFamilies", "PutAccountSetting", "DeleteAccountSetting",
        "ListAccountSettings", "TagResource", "UntagResource", "ListTagsForResource",
    }
)  # fmt: skip

StartResponse = Callable[..., Any]


class AwsApi:
    """Calls `instances_changed` after each request that may have launched or terminated EC2 instances."""

    def __init__(
        self,
        moto: Moto,
        ecs: Ecs,
        instances_changed: Callable[[], None],
        changes: EcsChanges | None = None,
        logs: LogsApi | None = None,
    ) -> None:
        """With `changes`, clients of the lab can wait for ECS's next state, which AWS has no call for.

        With `logs`, CloudWatch has what tasks print.
        """
        self._logs = logs
        self._moto = moto
        self._ecs = ecs
        self._api = EcsApi(ecs)
        self._instances_changed = instances_changed
        self._changes = changes
        # what moto answers, but accepts too much of
        self._checks = {
            "DeleteCluster": self._require_empty_cluster,
            "PutClusterCapacityProviders": self._api.check_cluster_providers,
            "RegisterTaskDefinition": self._check_definition,
        }
        # what moto answers, without what only the region knows
        self._completed: dict[str, Callable[[dict[str, Any], StartResponse], Iterable[bytes]]] = {
            "DescribeClusters": self._describe_clusters,
            "RegisterTaskDefinition": self._register_task_definition,
        }

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        if target.startswith(_TARGET) and environ[SERVICE] != "ecs":
            why = "Credential should be scoped to correct service: 'ecs'."
            return _fail(start_response, "InvalidSignatureException", why)
        if self._changes and environ["PATH_INFO"] == STATE_PATH:
            state, _ = self._changes.state(*since_and_wait(environ["QUERY_STRING"]))
            return _send(start_response, encode_state(state))
        if target.startswith(_TARGET):
            return self._handle_ecs(target.removeprefix(_TARGET), environ, start_response)
        if self._logs and target.startswith(_LOGS_TARGET):
            return self._handle_logs(self._logs, target.removeprefix(_LOGS_TARGET), environ, start_response)
        response = self._forward_to_moto(environ, start_response)
        if environ[SERVICE] in _MAY_CHANGE_INSTANCES:
            self._instances_changed()
        return response

    def _handle_ecs(self, operation: str, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        try:
            request = json.loads(body or b"{}")
        except ValueError:
            return _fail(start_response, "SerializationException", "The body is not JSON.")
        if not isinstance(request, dict):
            return _fail(start_response, "SerializationException", "The body is not a JSON object.")
        own = self._api.operations.get(operation)
        if own is None and self._api.answers(str(request.get("resourceArn", ""))):
            own = self._api.by_resource.get(operation)
        if own is None and operation not in BY_MOTO:
            why = f"The local region doesn't support {operation}; docs/architecture.md lists what it supports."
            return _fail(start_response, "UnsupportedFeatureException", why)
        try:
            if own and (errors := self._moto.validation_errors(operation, request)):
                raise ApiError("InvalidParameterException", errors)
            with self._ecs.lock:
                if own:
                    return _respond(start_response, own(request))
                if check := self._checks.get(operation):
                    check(request)
        except ApiError as error:
            return _fail(start_response, error.kind, str(error))
        environ["wsgi.input"] = io.BytesIO(body)
        return self._completed.get(operation, self._forward_to_moto)(environ, start_response)

    def _handle_logs(
        self, logs: LogsApi, operation: str, environ: dict[str, Any], start_response: StartResponse
    ) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        own = logs.operations.get(operation)
        request = _json_object(body) if own else None
        if own is None or request is None:
            return self._forward_to_moto(environ, start_response)
        if errors := self._moto.validation_errors(operation, request, "logs"):
            return _fail(start_response, "InvalidParameterException", errors)
        try:
            if logs.answers(request):
                return _respond(start_response, own(request))
        except ApiError as error:
            return _fail(start_response, error.kind, str(error))
        return self._forward_to_moto(environ, start_response)

    def _forward_to_moto(self, environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
        with self._moto.lock:
            response = self._moto.application(environ, start_response)
            try:
                return list(response)
            finally:
                getattr(response, "close", lambda: None)()

    def _describe_clusters(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """moto's response, with the real counts of instances, services and tasks."""
        statuses: list[str] = []
        body = b"".join(self._forward_to_moto(environ, lambda status, headers, *_: statuses.append(status)))
        found = json.loads(body)
        with self._ecs.lock:
            for cluster in found.get("clusters", ()):
                cluster |= self._ecs.cluster_counts(cluster["clusterName"])
        return _respond(start_response, found, statuses[0])

    def _check_definition(self, request: dict[str, Any]) -> None:
        """moto takes definitions that ECS doesn't. Raises ApiError."""
        if errors := self._moto.validation_errors("RegisterTaskDefinition", request):
            raise ApiError("ClientException", errors)
        self._api.check_task_definition(request)
        check_definition(request)

    def _register_task_definition(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """moto's response, with when and by whom the task definition was registered."""
        statuses: list[str] = []
        body = b"".join(self._forward_to_moto(environ, lambda status, headers, *_: statuses.append(status)))
        found = json.loads(body)
        if "taskDefinition" in found:
            with self._ecs.lock:
                found["taskDefinition"] |= self._ecs.record_registration(found["taskDefinition"]["taskDefinitionArn"])
        return _respond(start_response, found, statuses[0])

    def _require_empty_cluster(self, request: dict[str, Any]) -> None:
        """ECS refuses to delete a cluster that is in use; moto doesn't. Raises ApiError."""
        counts = self._ecs.cluster_counts(str(request.get("cluster", "default")).rpartition("/")[2])
        if counts["activeServicesCount"]:
            raise ApiError(
                "ClusterContainsServicesException", "The Cluster cannot be deleted while Services are active."
            )
        if counts["registeredContainerInstancesCount"]:
            raise ApiError(
                "ClusterContainsContainerInstancesException",
                "The Cluster cannot be deleted while Container Instances are active or draining.",
            )
        if counts["runningTasksCount"] or counts["pendingTasksCount"]:
            raise ApiError("ClusterContainsTasksException", "The Cluster cannot be deleted while Tasks are active.")


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(body or b"{}")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _respond(start_response: StartResponse, content: dict[str, Any], status: str = "200 OK") -> list[bytes]:
    return _send(start_response, json.dumps(content).encode(), status)


def _send(start_response: StartResponse, body: bytes, status: str = "200 OK") -> list[bytes]:
    headers = [("Content-Type", "application/x-amz-json-1.1"), ("Content-Length", str(len(body)))]
    start_response(status, headers)
    return [body]


def _fail(start_response: StartResponse, kind: str, message: str) -> list[bytes]:
    return _respond(start_response, {"__type": kind, "message": message}, "400 Bad Request")
