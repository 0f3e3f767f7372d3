"""Draws `watch`'s lines on a terminal, and gives the terminal back."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from .watch_rows import Line


class Screen:
    """The alternate screen of a terminal while the context lasts. Draws only what has changed."""

    def __init__(self, *, no_color: bool) -> None:
        self._console = Console(no_color=no_color or None, highlight=False, markup=False, emoji=False)
        self._live = self._new_live()
        self._drawn: Sequence[Line] = ()

    def __enter__(self) -> Screen:
        self.show()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.hide()

    @property
    def size(self) -> tuple[int, int]:
        """Its columns and lines now."""
        return self._console.size.width, self._console.size.height

    def show(self) -> None:
        """Take the terminal's alternate screen."""
        self._drawn = ()
        self._live = self._new_live()
        self._live.start()

    def hide(self) -> None:
        """Go back to the terminal's own screen, with its cursor."""
        self._live.stop()

    def draw(self, lines: Sequence[Line], width: int) -> bool:
        """Draw all lines; False if they are on the screen already."""
        if lines == self._drawn:
            return False
        self._live.update(Group(*(_text(line, width) for line in lines)), refresh=True)
        self._drawn = lines
        return True

    def _new_live(self) -> Live:
        return Live(
            console=self._console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )


def _text(line: Line, width: int) -> Text:
    text = Text(no_wrap=True)
    for part, style in line:
        text.append(part, style)
    text.truncate(width, overflow="ellipsis")
    return text
