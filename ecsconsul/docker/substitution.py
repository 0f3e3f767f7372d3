"""Docker's substitution of variables in Dockerfiles, with its quoting.

https://docs.docker.com/reference/dockerfile/#environment-replacement: `$name`, `${name}`, `${name:-word}`,
`${name:+word}`, `${name:?word}` (and the same without the colon), `${name#pattern}`, `##`, `%`, `%%`,
`${name/pattern/word}` and `//`.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]|[@*#]")
_MODIFIER = re.compile(r":[-+?]|[-+?]|##?|%%?|//?")


class SubstitutionFailed(ValueError):
    """A word can't be substituted; the text says why."""


def substitute(word: str, variables: Mapping[str, str], escape: str = "\\") -> str:
    """The word with its variables replaced and its quotes and escapes resolved. Raises SubstitutionFailed."""
    return _Lexer(word, variables, escape).all()


def split_words(text: str, escape: str = "\\") -> list[str]:
    """The words of a line, with their quotes: blanks inside quotes, braces or behind an escape don't separate."""
    words, word, quote, at = [], "", "", 0
    while at < len(text):
        char = text[at]
        if char == escape and quote != "'" and at + 1 < len(text):
            word += text[at : at + 2]
            at += 2
            continue
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        if char.isspace() and not quote:
            words += [word] if word else []
            word = ""
        else:
            word += char
        at += 1
    return [*words, word] if word else words


class _Lexer:
    """Reads one word from left to right."""

    def __init__(self, word: str, variables: Mapping[str, str], escape: str) -> None:
        self._word = word
        self._variables = variables
        self._escape = escape
        self._at = 0

    def all(self) -> str:
        return self._until("")

    def _peek(self) -> str:
        return self._word[self._at : self._at + 1]

    def _next(self) -> str:
        char = self._peek()
        self._at += 1
        return char

    def _until(self, end: str) -> str:
        """The text up to an unquoted character, which is read too; up to the word's end for ""."""
        text = ""
        while char := self._next():
            if char == end:
                return text
            text += self._piece(char)
        if end:
            raise SubstitutionFailed(f"{self._word!r} lacks a closing {end}")
        return text

    def _piece(self, char: str) -> str:
        if char == "'":
            return self._single_quoted()
        if char == '"':
            return self._double_quoted()
        if char == "$":
            return self._variable()
        if char == self._escape:
            return self._next()
        return char

    def _single_quoted(self) -> str:
        end = self._word.find("'", self._at)
        if end < 0:
            raise SubstitutionFailed(f"{self._word!r} lacks a closing quote")
        text, self._at = self._word[self._at : end], end + 1
        return text

    def _double_quoted(self) -> str:
        text = ""
        while char := self._next():
            if char == '"':
                return text
            if char == "$":
                text += self._variable()
            elif char == self._escape:
                # inside double quotes it only escapes what has a meaning there
                following = self._next()
                text += following if following and following in f'"${self._escape}' else char + following
            else:
                text += char
        raise SubstitutionFailed(f"{self._word!r} lacks a closing quote")

    def _variable(self) -> str:
        if self._peek() == "{":
            self._at += 1
            return self._braced()
        match = _NAME.match(self._word, self._at)
        if match is None:
            return "$"
        self._at = match.end()
        return self._variables.get(match[0], "")

    def _braced(self) -> str:
        name = _NAME.match(self._word, self._at)
        if name is None:
            raise SubstitutionFailed(f"{self._word!r} has no name in its braces")
        self._at = name.end()
        if self._peek() == "}":
            self._at += 1
            return self._variables.get(name[0], "")
        modifier = _MODIFIER.match(self._word, self._at)
        if modifier is None:
            raise SubstitutionFailed(f"{self._word!r} has a modifier that Docker doesn't know")
        self._at = modifier.end()
        return self._modified(name[0], modifier[0])

    def _modified(self, name: str, modifier: str) -> str:
        value = self._variables.get(name)
        if modifier in ("/", "//"):
            pattern = self._until("/")
            return _replaced(value or "", pattern, self._until("}"), every=modifier == "//")
        word = self._until("}")
        if modifier[0] in "#%":
            return _trimmed(value or "", word, modifier)
        is_set = bool(value) if modifier[0] == ":" else value is not None
        if modifier[-1] == "-":
            return (value or "") if is_set else word
        if modifier[-1] == "+":
            return word if is_set else ""
        if not is_set:
            raise SubstitutionFailed(f"{name} is not set{': ' + word if word else ''}")
        return value or ""


def _trimmed(value: str, pattern: str, modifier: str) -> str:
    """Without the shortest (`#`, `%`) or longest (`##`, `%%`) prefix or suffix that matches."""
    matches: Callable[[str], object] = re.compile(fnmatch.translate(pattern)).match
    lengths = range(len(value) + 1)
    for length in lengths if len(modifier) == 1 else reversed(lengths):
        if modifier[0] == "#" and matches(value[:length]):
            return value[length:]
        if modifier[0] == "%" and matches(value[len(value) - length :]):
            return value[: len(value) - length]
    return value


def _replaced(value: str, pattern: str, word: str, *, every: bool) -> str:
    # what fnmatch makes of it, without its anchor at the end
    expression = fnmatch.translate(pattern).removesuffix(r"\Z").removesuffix(r"\z")
    return re.sub(expression, lambda _: word, value, count=0 if every else 1) if pattern else value
