"""What is due of each ID follows from what is wanted and what the agent has, and from nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ecsconsul.registrator.desired_state import DesiredState, Wanted
from ecsconsul.registrator.ownership import OwnershipTag, ownership_tag
from ecsconsul.registrator.rules import Registration

OWNER = "engine"


def wanted(service_id: str, container: str = "c1", started_at: int = 1, port: int = 80) -> Wanted:
    registration = Registration(service_id, "web", "10.0.0.1", port)
    return Wanted(registration, ownership_tag(OWNER, container, registration), started_at)


def ledger(**told: object) -> DesiredState:
    return DesiredState(**{"hostname": "host", "owner": OWNER, "held": {}, "complete": True, **told})  # type: ignore[arg-type]


def test_what_is_wanted_and_not_there_is_registered() -> None:
    book = ledger()
    assert book.want("c1", [wanted("a"), wanted("b")]) == {"a", "b"}
    assert (book.due("a"), book.due("b"), book.due("c")) == ("register", "register", None)


def test_what_is_there_as_wanted_is_left() -> None:
    book = ledger(held={"a": wanted("a").marker})
    book.want("c1", [wanted("a")])
    assert book.due("a") is None
    book.want("c1", [wanted("a", port=81)])
    assert book.due("a") == "register"


def test_what_is_ours_and_not_wanted_is_taken_out() -> None:
    book = ledger(held={"a": wanted("a").marker})
    assert book.due("a") == "deregister"
    book.complete = False
    assert book.due("a") is None


def test_nothing_is_due_while_it_is_not_known_what_is_there() -> None:
    book = ledger(held=None)
    book.want("c1", [wanted("a")])
    assert book.due("a") is None


def test_what_is_foreign_is_left() -> None:
    book = ledger(held={"a": None, "b": OwnershipTag("other", "c1", "x"), "host:web:80": None})
    assert [book.due(one) for one in book.held or ()] == [None, None, None]
    book.cleanup = True
    assert [book.due(one) for one in book.held or ()] == [None, None, "deregister"]


def test_a_foreign_service_under_a_wanted_id_is_replaced() -> None:
    book = ledger(held={"a": None})
    book.want("c1", [wanted("a")])
    assert book.due("a") == "register"


def test_of_several_containers_the_last_to_start_counts() -> None:
    book = ledger()
    book.want("c1", [wanted("a", "c1", started_at=2)])
    book.want("c2", [wanted("a", "c2", started_at=1)])
    assert book.wanted("a") == wanted("a", "c1", started_at=2)
    assert book.want("c1", []) == {"a"}
    assert book.wanted("a") == wanted("a", "c2", started_at=1)


def test_what_a_failed_container_left_stays_until_it_is_forgotten() -> None:
    book = ledger(held={"a": wanted("a").marker})
    book.want("c1", [wanted("a")])
    book.leave_alone("c1")
    assert book.due("a") is None
    assert book.held_of("c1") == {"a"}
    book.want("c1", [])
    assert book.due("a") == "deregister"


@given(
    st.lists(
        st.tuples(st.sampled_from(["c1", "c2", "c3"]), st.sets(st.sampled_from("abcd")), st.booleans()), max_size=12
    ),
    st.sets(st.sampled_from("abcd")),
)
def test_doing_what_is_due_brings_both_in_step(history: list[tuple[str, set[str], bool]], held: set[str]) -> None:
    book = ledger(held={one: wanted(one, "c9").marker for one in held})
    now: dict[str, set[str]] = {}
    for moment, (container, ids, stays) in enumerate(history):
        now[container] = ids
        book.want(container, [wanted(one, container, moment) for one in sorted(ids)])
        if stays:
            follow(book)
    follow(book)
    assert set(book.held or ()) == set().union(*now.values())
    assert all(book.due(one) is None for one in "abcd")


def follow(book: DesiredState) -> None:
    assert book.held is not None
    for service_id in book.ids():
        deed, who = book.due(service_id), book.wanted(service_id)
        if deed == "register":
            assert who is not None
            book.held[service_id] = who.marker
        elif deed == "deregister":
            del book.held[service_id]
