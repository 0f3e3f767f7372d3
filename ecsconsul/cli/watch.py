"""`ecsconsul watch`: a live screen of the lab: its services, tasks and events, and keys that act on them."""

from __future__ import annotations

import sys
import time

import click

from .common import common_options, settings

HISTORY_SECONDS = 3600.0


@click.command("watch")
@common_options
def command() -> None:
    """Show the lab on a live screen: services, tasks and events, with keys to scale, see logs and open a shell.

    In a pipe, or with --output json, it prints events from now on, as `events --follow` does.
    """
    run()


def run() -> None:
    """Show the screen until it's closed; where there is no terminal, print events."""
    from .events import Known, Printer, observation, print_live

    lab = settings().lab(sources=False)
    target = settings().open_target(lab)
    if settings().as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        print_live(target, time.time(), Printer(None))
        return
    from .terminal_keys import Terminal
    from .watch_loop import Watch
    from .watch_screen import Screen

    known = Known(target.journals(), time.time() - HISTORY_SECONDS)
    screen = Screen(no_color=settings().colourless)
    with observation(target) as seen, Terminal(sys.stdin.fileno()) as terminal, screen:
        Watch(lab, target.name, seen, known, terminal, screen).run()
