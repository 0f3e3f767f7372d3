"""Variables in Dockerfiles, as https://docs.docker.com/reference/dockerfile/#environment-replacement says."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecsconsul.docker.substitution import SubstitutionFailed, split_words, substitute

VARIABLES = {"FOO": "/bar", "EMPTY": "", "A": "1", "FILE": "a.tar.gz", "PATHS": "x:y:x"}


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("plain", "plain"),
        ("$FOO", "/bar"),
        ("${FOO}/x", "/bar/x"),
        ("$FOO_x", ""),
        (r"\$FOO", "$FOO"),
        (r"\${FOO}", "${FOO}"),
        ("'$FOO'", "$FOO"),
        ('"$FOO"', "/bar"),
        (r'"a\"b"', 'a"b'),
        (r'"a\nb"', r"a\nb"),
        (r"a\ b", "a b"),
        ("x'y'\"z\"", "xyz"),
        ("$", "$"),
        ("a$ b", "a$ b"),
        ("${NONE}", ""),
        ("${NONE:-word}", "word"),
        ("${EMPTY:-word}", "word"),
        ("${EMPTY-word}", ""),
        ("${NONE-word}", "word"),
        ("${A:-word}", "1"),
        ("${A:+word}", "word"),
        ("${EMPTY:+word}", ""),
        ("${EMPTY+word}", "word"),
        ("${NONE:-${FOO}/x}", "/bar/x"),
        ("${NONE:-'a b'}", "a b"),
        ("${A:?no}", "1"),
        ("${FILE#*.}", "tar.gz"),
        ("${FILE##*.}", "gz"),
        ("${FILE%.*}", "a.tar"),
        ("${FILE%%.*}", "a"),
        ("${FILE#nothing}", "a.tar.gz"),
        ("${PATHS/x/z}", "z:y:x"),
        ("${PATHS//x/z}", "z:y:z"),
        ("${PATHS//:/}", "xyx"),
    ],
)
def test_word_is_substituted(word: str, text: str) -> None:
    assert substitute(word, VARIABLES) == text


def test_escape_of_another_character() -> None:
    assert substitute(r"`$FOO\x", VARIABLES, "`") == r"$FOO\x"


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("${FOO", "modifier"),
        ("${FOO:-x", "lacks a closing }"),
        ("${}", "no name"),
        ("${FOO@Q}", "modifier that Docker doesn't know"),
        ("${NONE:?is needed}", "NONE is not set: is needed"),
        ("${EMPTY:?}", "EMPTY is not set"),
        ("'open", "lacks a closing quote"),
        ('"open', "lacks a closing quote"),
    ],
)
def test_word_that_cannot_be_substituted_says_why(word: str, why: str) -> None:
    with pytest.raises(SubstitutionFailed) as caught:
        substitute(word, VARIABLES)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("a b\tc", ["a", "b", "c"]),
        ("'a b' c", ["'a b'", "c"]),
        ('A="x y" B=z', ['A="x y"', "B=z"]),
        (r"a\ b c", [r"a\ b", "c"]),
        (r"'a\' b", [r"'a\'", "b"]),
    ],
)
def test_words_of_a_line(text: str, words: list[str]) -> None:
    assert split_words(text) == words


@given(st.text(alphabet="${}:-+?#%/'\"\\ aB.*[", max_size=30))
def test_any_word_ends(word: str) -> None:
    with suppress(SubstitutionFailed):
        substitute(word, VARIABLES)
