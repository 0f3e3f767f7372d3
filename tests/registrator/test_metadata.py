"""Precedence of metadata and splitting of tags; test_rules.py covers what each key does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecsconsul.registrator.metadata import Note, read_metadata, split_tags


def test_last_duplicate_in_the_environment_wins() -> None:
    assert read_metadata(("SERVICE_A=1", "SERVICE_A=2"), {}, 80).get("a") == "2"


def test_order_of_labels_does_not_matter() -> None:
    labels = {"SERVICE_a": "lower", "SERVICE_A": "upper"}
    assert read_metadata((), labels, 80).get("a") == "lower"
    assert read_metadata((), dict(reversed(labels.items())), 80).get("a") == "lower"


def test_port_specific_keys() -> None:
    metadata = read_metadata(("SERVICE_80_NAME=", "SERVICE_TAGS=a", "SERVICE_81_ID=x"), {}, 80)
    assert metadata.port_specific == {"name"}
    assert (metadata.get("name"), metadata.get("tags"), metadata.get("id")) == ("", "a", "")


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("", ()),
        (",", ()),
        ("a", ("a",)),
        ("a,b,a", ("a", "b", "a")),
        (r"/(;\,:-_)/", ("/(;,:-_)/",)),
        (r"a\,", ("a,",)),
        (r"a\\,b", (r"a\,b",)),
    ],
)
def test_split_tags(text: str, tags: tuple[str, ...]) -> None:
    assert split_tags(text) == tags


@given(st.lists(st.text(min_size=1).filter(lambda tag: not tag.endswith("\\") and "\\," not in tag)))
def test_escaped_tags_round_trip(tags: list[str]) -> None:
    assert split_tags(",".join(tag.replace(",", "\\,") for tag in tags)) == tuple(tags)


def test_note_text() -> None:
    assert str(Note("80/tcp", "meta 'b.c' left out", "a dot")) == "port 80/tcp: meta 'b.c' left out: a dot"
