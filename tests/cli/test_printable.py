"""What of a text reaches a terminal or a pipe."""

from __future__ import annotations

import io

import pytest

from ecsconsul.cli.printable import as_written, in_colour, printable

RED, RESET = "\x1b[31m", "\x1b[0m"


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (f"{RED}error{RESET}: no", "error: no"),
        ("\x1b[1;38;5;9mbold\x1b[m", "bold"),
        ("\x1b[2J\x1b[Hcleared", "cleared"),
        ("\x1b]0;title\x07a\x1b]8;;http://x\x1b\\b", "ab"),
        ("\x1b(Bcharset \x1b7saved", "charset saved"),
        ("alone \x1b", "alone \ufffd"),
        ("\x1b]0;no end", "\ufffd]0;no end"),
        ("a\x07b\x9b31mc", "a\ufffdb\ufffd31mc"),
        ("tab\tand\nline", "tab\tand\nline"),
    ],
)
def test_control_sequences_are_removed(text: str, plain: str) -> None:
    assert printable(text) == plain
    assert printable({"a": [text]}) == {"a": [plain]}


def test_colours_stay_and_end_with_the_line() -> None:
    assert in_colour(f"{RED}error") == f"{RED}error{RESET}"
    assert in_colour("plain") == "plain"
    assert in_colour(f"{RED}a\x1b[2J\x07b") == f"{RED}a\ufffdb{RESET}"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_only_a_terminal_is_protected_from_what_a_task_wrote() -> None:
    text = "\x1b]0;title\x07\x1b[31mred\x1b[0m\x1b[2J\nnext\r\x9b1A"
    assert as_written(text, io.StringIO()) == text
    assert as_written(text, Terminal()) == "\x1b[31mred\x1b[0m\x1b[0m\nnext\ufffd\ufffd1A"
