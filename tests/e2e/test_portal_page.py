"""The portal's page in a real browser, with real services that it finds through a real DNS server."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parents[1]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
# These tests check what the page shows, not the portal's timeouts and its own.
LONG_TIMEOUTS = {
    "client.py": ("DEADLINE, CONNECT, ANSWER = 5.0, 1.0, 3.0", "DEADLINE, CONNECT, ANSWER = 60.0, 20.0, 20.0"),
    "discovery.py": ("QUERY_SECONDS = (0.5, 1.5)", "QUERY_SECONDS = (10.0, 10.0)"),
    "static/portal.js": ("AbortSignal.timeout(10000)", "AbortSignal.timeout(60000)"),
}
LONG_LIVE = {"providers.py": ("LIVE_SECONDS = 2.0", "LIVE_SECONDS = 20.0")}
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def by_path(path: Path) -> ModuleType:
    """Import a module by its path."""
    spec = importlib.util.spec_from_file_location(f"_e2e_{path.stem}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The three services, run as in their Dockerfiles, and a DNS server that lists them."""
    world = by_path(TESTS / "services" / "world.py")
    names, folder = world.Dns(), tmp_path_factory.mktemp("lab")
    tasks = {
        "weather": world.Task("weather", folder / "weather", {"PROVIDER": "demo"}),
        "stock-price": world.Task("stock-price", folder / "stock-price", {"PROVIDER": "demo"}),
        "portal": world.Task("portal", folder / "portal", {"CONSUL_DNS": names.address}, LONG_TIMEOUTS),
    }
    with world.refusing_port() as gone, world.running(*tasks.values()):
        names.service("weather", tasks["weather"].port)
        names.service("stock-price", tasks["stock-price"].port)
        yield {"dns": names, "gone": gone, **tasks}
    names.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    require = by_path(TESTS / "require.py").require
    require("browser", CHROMIUM is not None, "no chromium on this machine")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any, lab: dict[str, Any]) -> Iterator[Any]:
    """The portal's page. A script error, a blocked load or a request to another host fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(60_000)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda entry: errors.append(entry.text) if "Content Security" in entry.text else None)
    page.on("request", lambda sent: None if sent.url.startswith(lab["portal"].url) else errors.append(sent.url))
    page.goto(lab["portal"].url)
    yield page
    context.close()
    assert errors == []


def submit(page: Any, label: str, text: str) -> None:
    page.get_by_label(label, exact=True).fill(text)
    page.keyboard.press("Enter")


def column(page: Any, table: str, number: int) -> list[str]:
    """The texts in a column of a results table, from top to bottom."""
    cells = page.locator(f"#{table} > tbody > tr:first-child > td:nth-child({number})")
    return [text.replace("demo data", "") for text in cells.all_inner_texts()]


def test_results_are_labelled_as_demo_data(page: Any) -> None:
    submit(page, "Stock symbol", "amzn")
    submit(page, "City", "london")
    stock = page.locator("#stock-results tbody").filter(has_text="Amazon.com, Inc.")
    stock.get_by_text("180.25").wait_for()
    stock.get_by_text("demo data").wait_for()
    page.locator("#weather-results").get_by_text("12.1\u00a0°C").wait_for()
    assert page.get_by_label("City", exact=True).input_value() == ""


def test_answer_leaves_the_focus_where_the_user_has_moved_it(page: Any) -> None:
    held: list[Any] = []
    page.route("**/api/stock/*", lambda route: held.append(route))
    with page.expect_request("**/api/stock/*"):
        submit(page, "Stock symbol", "amzn")
    page.get_by_label("City", exact=True).fill("london")
    held.pop().continue_()
    page.locator("#stock-results").get_by_text("Amazon.com, Inc.").wait_for()
    page.keyboard.press("Enter")
    page.locator("#weather-results").get_by_text("12.1\u00a0°C").wait_for()


def test_answer_keeps_the_focus_in_its_field(page: Any) -> None:
    submit(page, "City", "london")
    page.locator("#weather-results").get_by_text("12.1\u00a0°C").wait_for()
    page.keyboard.type("tokyo")
    page.locator("form[data-kind='weather'] button").click()
    page.locator("#weather-results").get_by_text("Tokyo").wait_for()
    assert page.evaluate("document.activeElement.id") == page.get_by_label("City", exact=True).get_attribute("id")


@pytest.fixture(scope="module")
def live(lab: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The weather service with a stand-in for Open-Meteo; the portal finds it in a test that registers its port."""
    world = by_path(TESTS / "services" / "world.py")
    upstream = world.Web()
    place = {"name": "London", "country_code": "GB", "latitude": 51.5, "longitude": -0.1}
    upstream.answers = {
        "/v1/search": (200, {"results": [place]}),
        "/v1/forecast": (200, {"current": {"temperature_2m": 11.2}}),
    }
    urls = {"OPEN_METEO_URL": upstream.url, "OPEN_METEO_GEOCODING_URL": upstream.url}
    folder = tmp_path_factory.mktemp("live") / "weather"
    task = world.Task("weather", folder, {"PROVIDER": "open-meteo", **urls}, LONG_LIVE)
    with world.running(task):
        yield task
    upstream.close()


def test_live_weather_is_credited_with_its_links(page: Any, lab: dict[str, Any], live: Any) -> None:
    """Open-Meteo's licence asks for the link next to the data: https://open-meteo.com/en/license."""
    credit = page.get_by_role("link", name="Weather data by Open-Meteo.com")
    submit(page, "City", "Tokyo")
    page.locator("#weather-results").get_by_text("demo data").wait_for()
    assert credit.count() == 0, "demo data is nobody's"
    lab["dns"].service("weather", live.port)
    try:
        submit(page, "City", "London")
        page.locator("#weather-results").get_by_text("11.2\u00a0°C").wait_for()
    finally:
        lab["dns"].service("weather", lab["weather"].port)
    credit.wait_for()
    assert credit.get_attribute("href") == "https://open-meteo.com/"
    licence = page.get_by_role("link", name="CC BY 4.0", exact=True)
    assert licence.get_attribute("href") == "https://creativecommons.org/licenses/by/4.0/"
    below = credit.bounding_box()["y"] - page.locator("#weather-results").bounding_box()["y"]
    assert 0 < below - page.locator("#weather-results").bounding_box()["height"] < 40, "it's right below the table"
    assert page.get_by_role("link").count() == 2, "no other source is credited"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_credit_is_readable_and_needs_no_javascript(browser: Any, lab: dict[str, Any], live: Any, scheme: str) -> None:
    context = browser.new_context(
        java_script_enabled=False, viewport={"width": 320, "height": 844}, color_scheme=scheme
    )
    page = context.new_page()
    lab["dns"].service("weather", live.port)
    try:
        page.goto(f"{lab['portal'].url}/?weather=London")
    finally:
        lab["dns"].service("weather", lab["weather"].port)
    page.get_by_role("link", name="Weather data by Open-Meteo.com").wait_for()
    assert page.evaluate(CONTRAST) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    folder = os.environ.get("ECSCONSUL_SCREENSHOTS")
    if folder:
        page.screenshot(path=f"{folder}/portal-live-{scheme}.png", full_page=True)
    context.close()


def test_row_shows_how_its_service_was_discovered(page: Any, lab: dict[str, Any]) -> None:
    names, gone = lab["dns"], lab["gone"]
    names.zone["weather.service.consul.", "SRV"] += [f"0 1 {gone} 7f000001.addr.dc1.consul."]
    try:
        submit(page, "City", "Tokyo")
        summary = page.get_by_text(f"Found at 127.0.0.1:{lab['weather'].port}")
        summary.wait_for()
    finally:
        names.service("weather", lab["weather"].port)
    summary.focus()
    page.keyboard.press("Enter")
    details = page.locator("#weather-results details[open]")
    details.get_by_text("weather.service.consul.").wait_for()
    text = details.inner_text()
    assert names.address in text
    assert f"127.0.0.1:{gone} Connection refused" in text
    assert details.locator(".chosen").count() == 1
    assert str(lab["weather"].port) in details.locator(".chosen").inner_text()
    assert details.locator("tbody tr").count() == 2
    assert " ms" in text


def test_tables_can_be_sorted_with_the_keyboard(page: Any) -> None:
    for number, symbol in enumerate(("KO", "AMZN", "MSFT"), start=1):
        submit(page, "Stock symbol", symbol)
        page.locator(f"#stock-results > tbody:nth-of-type({number})").wait_for()
    price = page.get_by_role("button", name="Price", exact=True)
    price.focus()
    page.keyboard.press("Enter")
    assert column(page, "stock-results", 1) == ["KO", "AMZN", "MSFT"]
    page.keyboard.press("Space")
    assert column(page, "stock-results", 1) == ["MSFT", "AMZN", "KO"]
    header = page.get_by_role("columnheader", name="Price")
    assert header.get_attribute("aria-sort") == "descending"
    page.get_by_role("button", name="Symbol", exact=True).press("Enter")
    assert column(page, "stock-results", 1) == ["AMZN", "KO", "MSFT"]
    assert header.get_attribute("aria-sort") == "none"
    submit(page, "Stock symbol", "IBM")
    page.locator("#stock-results").get_by_text("IBM", exact=True).wait_for()
    assert column(page, "stock-results", 1) == ["AMZN", "IBM", "KO", "MSFT"], "a new row is sorted in"


def test_same_query_refreshes_its_row(page: Any) -> None:
    for _ in range(2):
        submit(page, "Stock symbol", "KO")
        page.get_by_text("The Coca-Cola Company: 65.2").wait_for(state="attached")
    assert column(page, "stock-results", 1) == ["KO"]


def test_error_is_shown_at_its_form_and_announced(page: Any) -> None:
    submit(page, "City", "<img src=x>")
    alert = page.locator("#weather-error")
    alert.get_by_text("the demo data has no city named '<img src=x>'").wait_for()
    field = page.get_by_label("City", exact=True)
    assert field.get_attribute("aria-invalid") == "true"
    assert field.get_attribute("aria-describedby") == "weather-error"
    assert alert.get_attribute("role") == "alert"
    assert page.locator("#stock-error").inner_text() == ""
    submit(page, "City", "London")
    page.locator("#weather-results").get_by_text("London").wait_for()
    assert alert.inner_text() == ""
    assert field.get_attribute("aria-invalid") is None


def test_page_works_without_javascript(browser: Any, lab: dict[str, Any]) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(lab["portal"].url)
    submit(page, "Stock symbol", "MSFT")
    page.get_by_text("Microsoft Corporation").wait_for()
    page.locator("#stock-results summary").click()
    assert "stock-price.service.consul." in page.locator("#stock-results details").inner_text()
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_page_fits_its_width_and_has_enough_contrast(
    browser: Any, lab: dict[str, Any], width: int, scheme: str
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    page.goto(f"{lab['portal'].url}/?stock=AMZN&weather=Rio%20de%20Janeiro")
    for summary in page.locator("summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    low = page.evaluate(CONTRAST)
    assert low == []
    folder = os.environ.get("ECSCONSUL_SCREENSHOTS")
    if folder:
        page.screenshot(path=f"{folder}/portal-{width}-{scheme}.png", full_page=True)
    context.close()


# Text below WCAG's 4.5:1 against the nearest opaque background, as "text: ratio".
CONTRAST = """() => {
  const parts = (colour) => (colour.match(/[\\d.]+/g) ?? []).map(Number);
  const light = (colour) => {
    const [r, g, b] = parts(colour).map((x) => x / 255).map((x) => x <= .04045 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (parts(colour)[3] !== 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const low = [];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    if (!own) continue;
    const [one, other] = [light(getComputedStyle(node).color), light(behind(node))];
    const ratio = (Math.max(one, other) + .05) / (Math.min(one, other) + .05);
    if (ratio < 4.5) low.push(`${node.textContent.trim()}: ${ratio.toFixed(2)}`);
  }
  return low;
}"""  # noqa: E501
