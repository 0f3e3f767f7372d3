"""Makes the pictures of the README, and its report of a game day, from a real lab: python docs/pictures.py

It needs Chromium with Playwright (a development dependency). The lab is this machine's, in processes, and is removed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
IMAGES, README = ROOT / "docs" / "images", ROOT / "README.md"
NAME, PORT, SECONDS = "consul-lab", 18080, 900.0
BEGIN, END = "<!-- made by docs/pictures.py -->\n", "<!-- end -->\n"
COLUMNS = {
    "fault": "fault", "what": "what happens", "requests": "requests", "failed": "failed", "retried": "next record",
    "leave_seconds": "out of DNS", "heal_seconds": "as before",
}  # fmt: skip


def run(folder: Path, *words: str, **variables: str) -> str:
    """What a command prints on stdout, in the lab's folder. Raises CalledProcessError."""
    environment = {**os.environ, "ECSCONSUL_HOME": str(folder / "home"), "ECSCONSUL_RUNTIME": "processes", **variables}
    done = subprocess.run(
        [sys.executable, "-m", "ecsconsul", *words],
        cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, timeout=SECONDS, check=True,
    )  # fmt: skip
    return done.stdout


@contextmanager
def lab() -> Iterator[Path]:
    """A running lab of the built-in config."""
    folder = Path(tempfile.mkdtemp())
    try:
        run(folder, "init")
        config = folder / "config.yaml"
        config.write_text(config.read_text().replace("host_port: 8080", f"host_port: {PORT}"))
        run(folder, "up")
        yield folder
    finally:
        run(folder, "down", "--yes")
        shutil.rmtree(folder)


def status(folder: Path) -> None:
    """The table of `ecsconsul status`, as a terminal shows it."""
    printed = run(folder, "status", FORCE_COLOR="1", COLUMNS="110")
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=110, file=nowhere)
        console.print(Text.from_ansi(printed))
        console.save_svg(str(IMAGES / "status.svg"), title="ecsconsul status", unique_id="status")


def portal(page: Page) -> None:
    """The portal, with the journey of one request opened."""
    page.goto(f"http://127.0.0.1:{PORT}/")
    page.get_by_label("City", exact=True).fill("London")
    page.keyboard.press("Enter")
    page.locator("#weather-results summary").first.click()
    page.get_by_label("Stock symbol", exact=True).fill("AMZN")
    page.keyboard.press("Enter")
    page.locator("#stock-results summary").first.wait_for()
    page.screenshot(path=str(IMAGES / "portal.png"), full_page=True)


def game(folder: Path, page: Page) -> dict[str, Any]:
    """A game day, with the picture of its report."""
    found: dict[str, Any] = json.loads(run(folder, "gameday", "--page", "game.html", "--output", "json"))
    page.goto((folder / "game.html").as_uri())
    page.screenshot(path=str(IMAGES / "gameday.png"), full_page=True)
    return found


def report(found: dict[str, Any]) -> str:
    """The report for the README."""
    counts = ", ".join(f"{name} with {count} tasks" for name, count in found["services"].items())
    total = (
        f"{found['requests']} requests in {found['seconds']:.0f} s, **{found['failed']} failed**;"
        f" as {found['runtime']}, on {found['time'][:10]}: {counts}."
    )
    rows = [list(COLUMNS.values()), ["---"] * len(COLUMNS)]
    rows += [[_cell(one[key]) for key in COLUMNS] for one in found["outcomes"]]
    return f"{BEGIN}{total}\n\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows) + END


def _cell(value: object) -> str:
    return "–" if value is None else f"{value:.2f} s" if isinstance(value, float) else str(value)


def main() -> None:
    """Make all pictures, and the report."""
    with lab() as folder, sync_playwright() as playwright:
        executable = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1000, "height": 700})
        page.set_default_timeout(30_000)
        run(folder, "scale", "weather=2")
        status(folder)
        portal(page)
        made = report(game(folder, page))
        browser.close()
    text = README.read_text(encoding="utf-8")
    README.write_text(re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: made, text, flags=re.DOTALL))


if __name__ == "__main__":
    main()
