"""A Dockerfile's instructions with their lines, options and here-documents."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecsconsul.docker.instructions import Heredoc, Instruction, Source, read_source
from ecsconsul.errors import LabError


def read(folder: Path, text: str) -> Source:
    (folder / "Dockerfile").write_text(text)
    return read_source(folder)


def test_instructions_have_their_lines_and_options(tmp_path: Path) -> None:
    source = read(
        tmp_path,
        "# comment\nFROM python\n\ncopy --chown=a:b --link \\\n  # inside\n  x /y\n"
        "HEALTHCHECK --interval=5s CMD true\n",
    )
    assert source.instructions == (
        Instruction("FROM", "python", 2),
        Instruction("COPY", "x /y", 4, {"chown": "a:b", "link": "true"}),
        Instruction("HEALTHCHECK", "CMD true", 7, {"interval": "5s"}),
    )


def test_here_documents_are_no_instructions(tmp_path: Path) -> None:
    text = "FROM x\nRUN <<EOF\nset -e\nCMD no\nEOF\nCOPY <<a <<-'b' /x/\none $A\na\n\ttwo $A\n\tb\nCMD [\"y\"]\n"
    _, run, copy, command = read(tmp_path, text).instructions
    assert (run.line, run.heredocs) == (2, (Heredoc("EOF", "set -e\nCMD no\n", True),))
    assert copy.heredocs == (Heredoc("a", "one $A\n", True), Heredoc("b", "two $A\n", False))
    assert command == Instruction("CMD", '["y"]', 11)


def test_shift_in_a_command_is_no_here_document(tmp_path: Path) -> None:
    source = read(tmp_path, 'FROM x\nRUN echo $((1<<2))\nCMD ["cat <<EOF"]\n')
    assert [one.heredocs for one in source.instructions] == [()] * 3


def test_open_here_document_is_an_error_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="here-document isn't closed") as caught:
        read(tmp_path, "FROM x\nCOPY <<EOF /x\nfoo\n")
    assert caught.value.where == f"{tmp_path / 'Dockerfile'}:2"


def test_escape_directive(tmp_path: Path) -> None:
    assert read(tmp_path, "# escape=`\nFROM x\n").escape == "`"


def test_missing_dockerfile_is_reported(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="Dockerfile of a service can't be read") as caught:
        read_source(tmp_path)
    assert caught.value.where == str(tmp_path / "Dockerfile")
