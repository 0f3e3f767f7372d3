"""Writes the manual pages: python docs/man/make.py

One page for the command, and one for each verb, as git has them. They are made from the same texts as --help.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click
from click_man.core import generate_man_page

from ecsconsul import __version__
from ecsconsul.cli.app import VERBS, cli

# the version says how old a page is
DATE = " "


def pages() -> Iterator[tuple[str, str]]:
    """The name of each page, and its text."""
    top = click.Context(cli, info_name="ecsconsul", max_content_width=110)
    verbs = "".join(f".TP\n\\fB{name}\\fP\n{text}\n" for name, text in VERBS.items())
    yield "ecsconsul.1", generate_man_page(top, __version__, DATE) + f"\n.SH COMMANDS\n{verbs}"
    for name in VERBS:
        command = cli.get_command(top, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=top)
        yield f"ecsconsul-{name}.1", generate_man_page(context, __version__, DATE) + "\n"
        if isinstance(command, click.Group):
            for inner, part in command.commands.items():
                text = generate_man_page(click.Context(part, info_name=inner, parent=context), __version__, DATE)
                yield f"ecsconsul-{name}-{inner}.1", text + "\n"


def main(folder: Path) -> None:
    """Write all pages to a folder."""
    for name, text in pages():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
