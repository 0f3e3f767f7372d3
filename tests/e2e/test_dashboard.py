"""The dashboard of a running lab in a real browser, and the picture that `graph` writes."""

from __future__ import annotations

import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from xml.etree import ElementTree

import pytest

from tests.e2e.lab import TIMEOUT, Lab

# what the page shows doesn't depend on how tasks run
RUNTIMES = ("processes",)


@pytest.fixture(scope="module")
def links(running: Lab) -> Iterator[Iterator[str]]:
    """The links of a running dashboard, each of which works once. Ctrl-C ends it."""
    with running.started("dashboard", "--output", "json") as process:
        assert process.stdout
        yield (json.loads(line)["url"] for line in process.stdout)
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT) == 130


class Page:
    """The dashboard in a tab. A script error, a blocked load or a request to elsewhere fails the test."""

    def __init__(self, browser: object, link: str, **context: object) -> None:
        self.context = browser.new_context(**context)  # type: ignore[attr-defined]
        self.context.set_default_timeout(TIMEOUT * 1000)
        self.tab = self.context.new_page()
        self.errors: list[str] = []
        origin = link.partition("/open/")[0]
        self.tab.on("pageerror", lambda error: self.errors.append(str(error)))
        self.tab.on("console", lambda entry: self.errors.append(entry.text) if entry.type == "error" else None)
        self.tab.on("request", lambda sent: None if sent.url.startswith(f"{origin}/") else self.errors.append(sent.url))
        self.tab.goto(link)
        self.tab.get_by_text("tasks running").wait_for()

    def violations(self) -> list[str]:
        """What axe finds, contrast included: https://dequeuniversity.com/rules/axe/"""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.tab).response["violations"]
        return [f"{one['id']}: {[node['html'] for node in one['nodes']]}" for one in found]

    def close(self) -> None:
        self.context.close()
        assert self.errors == []


def test_a_killed_task_leaves_and_its_successor_enters_without_a_reload(
    browser: object, lab: Lab, links: Iterator[str]
) -> None:
    page = Page(browser, next(links))
    page.tab.evaluate("window.untouched = true")
    [before] = lab.tasks("weather")
    short = before["taskArn"].rpartition("/")[2][:8]
    tasks = page.tab.locator("[data-service=weather] tbody tr")
    tasks.filter(has_text=short).filter(has_text="passing").wait_for()
    lab.client("ecs").stop_task(cluster=lab.name, task=before["taskArn"], reason="killed by a test")
    events = page.tab.locator("#events li")
    events.filter(has_text=f"weather {short} left Consul").wait_for()
    tasks.filter(has_text=short).wait_for(state="detached")
    tasks.filter(has_text="passing").wait_for()
    new = tasks.filter(has_text="passing").locator("th").inner_text()
    events.filter(has_text=f"weather {new} entered Consul at").first.wait_for()
    assert new != short
    assert f"weather {new}" in page.tab.locator("#picture").inner_html()
    assert page.tab.evaluate("window.untouched") is True
    page.close()


def test_keyboard_follows_a_lookup(browser: object, links: Iterator[str], lab: Lab) -> None:
    page = Page(browser, next(links))
    for _ in range(20):
        page.tab.keyboard.press("Tab")
        if page.tab.evaluate("document.activeElement.id") == "name":
            break
    page.tab.keyboard.type("weather")
    page.tab.keyboard.press("Enter")
    steps = page.tab.locator("#journey li")
    steps.nth(2).wait_for()
    texts = steps.all_inner_texts()
    assert texts[0] == "The question is weather.service.consul., type SRV"
    assert lab.dns in texts[1] and "NOERROR" in texts[1]
    [endpoint] = lab.endpoints("weather")
    assert f"is {endpoint.replace(':', ', port ')}: task " in texts[2]
    page.tab.locator("#name").fill("a..b")
    page.tab.keyboard.press("Enter")
    page.tab.locator("#journey").get_by_text("isn't a DNS name").wait_for()
    page.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 320)])
def test_page_is_accessible_and_fits(browser: object, links: Iterator[str], scheme: str, width: int) -> None:
    page = Page(browser, next(links), viewport={"width": width, "height": 844}, color_scheme=scheme)
    page.tab.locator("#events li").first.wait_for()
    page.tab.locator("summary").press("Enter")
    page.tab.locator("#lookups").get_by_text("portal looks up weather: WEATHER_SERVICE in the Dockerfile").wait_for()
    assert page.violations() == []
    assert page.tab.evaluate("document.documentElement.scrollWidth") <= width
    assert page.tab.locator("#events").get_attribute("aria-live") == "polite"
    if folder := os.environ.get("ECSCONSUL_SCREENSHOTS"):
        page.tab.screenshot(path=f"{folder}/dashboard-{width}-{scheme}.png", full_page=True)
    page.close()


def test_another_origin_or_tab_reads_nothing(browser: object, links: Iterator[str], lab: Lab) -> None:
    link = next(links)
    page = Page(browser, link)
    room = page.tab.url
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(link, timeout=TIMEOUT)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(room, timeout=TIMEOUT)
    # the lab's portal is another origin on the same host, in the same browser
    other = page.context.new_page()
    other.goto(lab.portal)
    read = "url => fetch(url, {credentials: 'include', mode: 'cors'}).then(() => 'read', () => 'blocked')"
    assert other.evaluate(read, f"{room}lookup?name=weather") == "blocked"
    assert not any("ecsconsul" in str(cookie) for cookie in page.context.cookies(lab.portal))
    page.close()
    assert next(links) != link, "the next link is another one"


def test_graph_writes_the_picture(lab: Lab) -> None:
    drawn = lab.ok("graph").out
    texts = [node.text for node in ElementTree.fromstring(drawn).iter() if node.text]
    assert "portal looks up weather: WEATHER_SERVICE in the Dockerfile" in texts
    assert {"weather", "stock-price", "portal"} <= set(texts)
    chart = lab.ok("graph", "--format", "mermaid").out
    assert chart.startswith("flowchart LR\n")
    assert lab.endpoints("weather")[0] in chart
