"""The action for each ID follows from desired and observed state alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ecsconsul.registrator.catalog_state import CatalogState, DesiredService
from ecsconsul.registrator.ownership import OwnershipTag, ownership_tag
from ecsconsul.registrator.rules import Registration

OWNER = "engine"


def service(service_id: str, container: str = "c1", started_at: int = 1, port: int = 80) -> DesiredService:
    registration = Registration(service_id, "web", "10.0.0.1", port)
    return DesiredService(registration, ownership_tag(OWNER, container, registration), started_at)


def catalog(**fields: object) -> CatalogState:
    return CatalogState(**{"hostname": "host", "owner": OWNER, "observed": {}, "complete": True, **fields})  # type: ignore[arg-type]


def test_missing_service_is_registered() -> None:
    state = catalog()
    assert state.set_desired("c1", [service("a"), service("b")]) == {"a", "b"}
    assert (state.diff("a"), state.diff("b"), state.diff("c")) == ("register", "register", None)


def test_matching_service_needs_no_action() -> None:
    state = catalog(observed={"a": service("a").tag})
    state.set_desired("c1", [service("a")])
    assert state.diff("a") is None
    state.set_desired("c1", [service("a", port=81)])
    assert state.diff("a") == "register"


def test_owned_service_that_is_not_desired_is_deregistered() -> None:
    state = catalog(observed={"a": service("a").tag})
    assert state.diff("a") == "deregister"
    state.complete = False
    assert state.diff("a") is None


def test_no_action_while_the_agent_is_unknown() -> None:
    state = catalog(observed=None)
    state.set_desired("c1", [service("a")])
    assert state.diff("a") is None


def test_foreign_services_stay() -> None:
    state = catalog(observed={"a": None, "b": OwnershipTag("other", "c1", "x"), "host:web:80": None})
    assert [state.diff(one) for one in state.observed or ()] == [None, None, None]
    state.cleanup = True
    assert [state.diff(one) for one in state.observed or ()] == [None, None, "deregister"]


def test_foreign_service_under_a_desired_id_is_replaced() -> None:
    state = catalog(observed={"a": None})
    state.set_desired("c1", [service("a")])
    assert state.diff("a") == "register"


def test_container_that_started_last_wins_an_id() -> None:
    state = catalog()
    state.set_desired("c1", [service("a", "c1", started_at=2)])
    state.set_desired("c2", [service("a", "c2", started_at=1)])
    assert state.desired("a") == service("a", "c1", started_at=2)
    assert state.set_desired("c1", []) == {"a"}
    assert state.desired("a") == service("a", "c2", started_at=1)


def test_retained_services_stay_until_the_container_is_forgotten() -> None:
    state = catalog(observed={"a": service("a").tag})
    state.set_desired("c1", [service("a")])
    state.retain("c1")
    assert state.diff("a") is None
    assert state.observed_of("c1") == {"a"}
    state.set_desired("c1", [])
    assert state.diff("a") == "deregister"


@given(
    st.lists(
        st.tuples(st.sampled_from(["c1", "c2", "c3"]), st.sets(st.sampled_from("abcd")), st.booleans()), max_size=12
    ),
    st.sets(st.sampled_from("abcd")),
)
def test_applying_the_diff_converges(history: list[tuple[str, set[str], bool]], observed: set[str]) -> None:
    state = catalog(observed={one: service(one, "c9").tag for one in observed})
    now: dict[str, set[str]] = {}
    for moment, (container, ids, stays) in enumerate(history):
        now[container] = ids
        state.set_desired(container, [service(one, container, moment) for one in sorted(ids)])
        if stays:
            follow(state)
    follow(state)
    assert set(state.observed or ()) == set().union(*now.values())
    assert all(state.diff(one) is None for one in "abcd")


def follow(state: CatalogState) -> None:
    assert state.observed is not None
    for service_id in state.ids():
        action, who = state.diff(service_id), state.desired(service_id)
        if action == "register":
            assert who is not None
            state.observed[service_id] = who.tag
        elif action == "deregister":
            del state.observed[service_id]
