"""The question for ECS's state, and its answer."""

from __future__ import annotations

import pytest

from ecsconsul.errors import LabError
from ecsconsul.observe.wire import STATE_PATH, decode_state, encode_state, since_and_wait, state_query
from tests.observe.samples import ecs, service, task


def test_state_survives_the_way() -> None:
    state = ecs(task(), services=(service(1, 1, "steady"),))
    assert decode_state(encode_state(state)) == state


def test_question_survives_the_way() -> None:
    path, _, query = state_query(7, 2.5).partition("?")
    assert (path, since_and_wait(query)) == (STATE_PATH, (7, 2.5))


@pytest.mark.parametrize("query", ["", "since=x&wait=inf", "since=1e9&wait=-1", "wait=nan", "since=" + "9" * 400])
def test_what_is_no_number_counts_as_absent(query: str) -> None:
    assert since_and_wait(query) == (-1, 0.0)


def test_other_answers_are_refused() -> None:
    with pytest.raises(LabError):
        decode_state(b"<html>")
