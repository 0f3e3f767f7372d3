"""How a region on this machine tells its clients ECS's state: a GET that is signed for `ecs`, and a JSON document."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlencode

import msgspec

from ..errors import LabError
from .states import EcsState

STATE_PATH = "/_ecsconsul/state"


def state_query(since: int, wait: float) -> str:
    """The path and query of the question."""
    return f"{STATE_PATH}?{urlencode({'since': since, 'wait': f'{wait:g}'})}"


def since_and_wait(query: str) -> tuple[int, float]:
    """What a query asks; a part that isn't a number counts as absent: the state as it is, now."""
    given = parse_qs(query)
    since, wait = given.get("since", [""])[0], given.get("wait", [""])[0]
    return (
        int(since) if re.fullmatch(r"-?\d{1,18}", since) else -1,
        float(wait) if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", wait) else 0.0,
    )


def encode_state(state: EcsState) -> bytes:
    """The state as JSON."""
    return msgspec.json.encode(state)


def decode_state(body: bytes) -> EcsState:
    """The state of a region's answer. Raises LabError for anything else."""
    try:
        return msgspec.json.decode(body, type=EcsState)
    except msgspec.DecodeError as error:
        raise LabError("The region's answer can't be read", why=str(error)) from error
