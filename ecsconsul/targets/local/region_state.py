"""Asks a lab's region for ECS's state, and waits there for its next change."""

from __future__ import annotations

from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

from ...errors import Unreachable
from ...observe.states import EcsState
from ...observe.wire import decode_state, state_query
from ...region.runtimes.lab_dir import AccessKey

# beyond the wait itself
TIMEOUT = 10.0


def region_state(endpoint: str, region: str, key: AccessKey, since: int, wait: float) -> EcsState:
    """The state once its version isn't `since`, or after `wait` seconds. Raises LabError."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    path = state_query(since, wait)
    request = AWSRequest("GET", endpoint + path)
    SigV4Auth(Credentials(key.id, key.secret), "ecs", region).add_auth(request)
    connection = HTTPConnection(urlsplit(endpoint).netloc, timeout=wait + TIMEOUT)
    try:
        connection.request("GET", path, headers=dict(request.headers.items()))
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, HTTPException) as error:
        raise _silent(endpoint, str(error) or type(error).__name__) from error
    finally:
        connection.close()
    if answer.status != 200:
        raise _silent(endpoint, f"{answer.status} {body.decode(errors='replace')[:200]}")
    return decode_state(body)


def _silent(endpoint: str, why: str) -> Unreachable:
    return Unreachable("The lab's region does not answer", where=endpoint, why=why, hint="`ecsconsul up` starts it")
