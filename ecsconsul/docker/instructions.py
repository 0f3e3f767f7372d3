"""Reads a Dockerfile's instructions, each with its line, its options and its here-documents.

dockerfile-parse reads all but here-documents, which it would take for instructions. So they are lifted out first.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import LabError

if TYPE_CHECKING:
    from dockerfile_parse import DockerfileParser

# https://docs.docker.com/reference/dockerfile/#here-documents
_HEREDOC = re.compile(r"(?<!\S)<<(?P<strip>-?)(?P<quote>['\"]?)(?P<name>[A-Za-z_][A-Za-z0-9_.]*)(?P=quote)(?=\s|$)")
_WITH_HEREDOCS = re.compile(r"\s*(RUN|COPY|ADD)\s", re.IGNORECASE)
_OPTION = re.compile(r"--(?P<name>[a-z-]+)(?:=(?P<value>\S*))?\s*")
_DIRECTIVE = re.compile(r"#\s*escape\s*=\s*([\\`])\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Heredoc:
    """A file that stands in the Dockerfile itself; `expands`: whether variables in it are replaced."""

    name: str
    content: str
    expands: bool


@dataclass(frozen=True)
class Instruction:
    """`keyword` in upper case, `value` without the options; lines count from 1."""

    keyword: str
    value: str
    line: int
    options: Mapping[str, str] = field(default_factory=dict)
    heredocs: tuple[Heredoc, ...] = ()


@dataclass(frozen=True)
class Source:
    """The instructions of a Dockerfile and its escape character."""

    path: Path
    instructions: tuple[Instruction, ...]
    escape: str = "\\"

    def fault(self, line: int, what: str, why: str, hint: str = "") -> LabError:
        """An error about one line."""
        return LabError(what, where=f"{self.path}:{line}", why=why, hint=hint)


def read_source(folder: Path) -> Source:
    """The instructions of a folder's Dockerfile. Raises LabError."""
    path = folder / "Dockerfile"
    text = read_text(path)
    heredocs: dict[int, tuple[Heredoc, ...]] = {}
    plain = "".join(_without_heredocs(path, text, heredocs))
    found = [
        _instruction(one, heredocs.get(one["startline"] + 1, ()))
        for one in parser_of(plain.encode()).structure
        if one["instruction"] != "COMMENT"
    ]
    escape = _DIRECTIVE.match(text)
    return Source(path, tuple(found), escape[1] if escape else "\\")


def read_text(path: Path) -> str:
    """The text of a Dockerfile. Raises LabError."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise LabError(
            "The Dockerfile of a service can't be read",
            where=str(path),
            why=error.strerror or str(error),
            hint="check the service's `path` in the config; every service's folder needs a Dockerfile",
        ) from error


def json_words(value: str) -> list[str] | None:
    """The words of an instruction that is written as a JSON list; None if it isn't."""
    try:
        words = json.loads(value)
    except json.JSONDecodeError:
        return None
    return words if isinstance(words, list) and all(isinstance(word, str) for word in words) else None


def parser_of(content: bytes, build_args: Mapping[str, str] | None = None) -> DockerfileParser:
    """dockerfile-parse's parser of a Dockerfile's content."""
    from dockerfile_parse import DockerfileParser

    return DockerfileParser(fileobj=io.BytesIO(content), build_args=dict(build_args or {}))


def _without_heredocs(path: Path, text: str, found: dict[int, tuple[Heredoc, ...]]) -> Iterator[str]:
    """The lines, with here-documents as empty comments; `found` gets them by the line of their instruction."""
    lines = iter(enumerate(text.splitlines(keepends=True), 1))
    for number, line in lines:
        yield line
        starts = list(_HEREDOC.finditer(line)) if _WITH_HEREDOCS.match(line) else []
        documents = []
        for start in starts:
            content = []
            for _, inner in lines:
                yield "#\n"
                bare = inner.lstrip("\t") if start["strip"] else inner
                if bare.rstrip("\r\n") == start["name"]:
                    break
                content.append(bare)
            else:
                raise LabError("A here-document isn't closed", where=f"{path}:{number}", why=f"no line {start['name']}")
            documents.append(Heredoc(start["name"], "".join(content), not start["quote"]))
        if documents:
            found[number] = tuple(documents)


def _instruction(one: Mapping[str, str | int], heredocs: tuple[Heredoc, ...]) -> Instruction:
    value, options = str(one["value"]), {}
    while match := _OPTION.match(value):
        options[match["name"]] = match["value"] if match["value"] is not None else "true"
        value = value[match.end() :]
    return Instruction(str(one["instruction"]), value, int(one["startline"]) + 1, options, heredocs)
