"""`ecsconsul dashboard`: shows the lab on a page in the browser, served on loopback for you alone."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import LabError
from ..paths import state_folder
from .common import common_options, settings

if TYPE_CHECKING:
    from ..dashboard.content import Content
    from ..dashboard.web_server import Find

HISTORY_SECONDS = 3600.0
TURN_SECONDS = 1.0


@click.command("dashboard")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port on 127.0.0.1.  [default: a free one]")
@click.option("--no-browser", is_flag=True, help="Only print the link.")
@common_options
def command(port: int, no_browser: bool) -> None:
    """Show the lab on a page in the browser until Ctrl-C: its picture, tasks, events, and how a lookup goes.

    The link works once; the next one is printed when it has been used. The page only reads.
    """
    from ..dashboard.content import Content
    from ..dashboard.journey import travel
    from ..dashboard.lookups import image_variables, lookups
    from .events import Known, observation

    lab = settings().lab(sources=False)
    target = settings().open_target(lab)
    known = Known(target.journals(), time.time() - HISTORY_SECONDS)
    edges = lookups(lab, image_variables(lab))
    with observation(target) as seen:
        content = Content(lab, target.name, seen, edges, known.recorded, known.is_news)
        opens = not no_browser and sys.stdout.isatty()
        with _serving(port, content, lambda name: travel(target, seen.snapshot(), name), opens=opens):
            snapshot = seen.snapshot()
            while True:
                # the health is followed whether or not a page is open
                content.note(snapshot)
                before = snapshot
                while snapshot is before:
                    snapshot = seen.next_snapshot(before, TURN_SECONDS)


@contextlib.contextmanager
def _serving(port: int, content: Content, find: Find, *, opens: bool) -> Iterator[None]:
    """The page is served while the context lasts. Prints the link, and the next one once it has been used."""
    from ..dashboard.web_server import DashboardServer

    view = settings().view() if settings().as_json else None

    def show() -> None:
        # once more whenever a link has been used
        if view:
            view.document("link", {"url": server.access.url})
        else:
            click.echo(f"{server.access.url}\n  works once; Ctrl-C ends the dashboard")

    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(DashboardServer(port, content, find, show))
        except OSError as error:
            why = error.strerror or str(error)
            hint = "`ecsconsul dashboard` takes a free one"
            raise LabError("The dashboard can't listen", where=f"127.0.0.1:{port}", why=why, hint=hint) from error
        thread = threading.Thread(target=server.serve_forever, name="dashboard", daemon=True)
        thread.start()
        stack.callback(server.shutdown)
        show()
        if opens:
            _open(stack.enter_context(_page_with(server.access.url)))
        yield


@contextlib.contextmanager
def _page_with(url: str) -> Iterator[Path]:
    """A page of this user alone that leads to the link: others may read a browser's command line."""
    folder = state_folder()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, name = tempfile.mkstemp(suffix=".html", prefix="dashboard-", dir=folder)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f'<!doctype html><meta http-equiv="refresh" content="0;url={url}"><a href="{url}">Open</a>\n')
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _open(page: Path) -> None:
    import webbrowser

    webbrowser.open(page.as_uri())
