"""The portal's routes: the page without JavaScript, the JSON API, and what is passed on."""

from __future__ import annotations

from typing import Any

import pytest

LONDON = {"city": "London", "country": "GB", "temp": 12.1, "format": "Celsius", "source": "demo data"}
AMZN = {"symbol": "AMZN", "name": "Amazon.com, Inc.", "price": 1180.25, "source": "Yahoo Finance"}


@pytest.fixture
def page(portal: Any, name_server: Any, web: Any) -> Any:
    """A test client of the portal; both services are `web`."""
    name_server.service("weather", web.port)
    name_server.service("stock-price", web.port)
    web.answers = {"/weather/London": (200, LONDON), "/stock/AMZN": (200, AMZN)}
    return portal.app.create_app({"CONSUL_DNS": name_server.address}).test_client()


def test_api_returns_data_and_discovery(page: Any, name_server: Any, web: Any) -> None:
    response = page.get("/api/stock/AMZN")
    assert (response.status_code, response.json["data"]) == (200, AMZN)
    found = response.json["discovery"]
    assert found["name"] == "stock-price.service.consul."
    assert found["server"] == name_server.address
    assert found["endpoint"] == f"127.0.0.1:{web.port}"
    assert found["records"] == [
        {
            "priority": 1,
            "weight": 1,
            "port": web.port,
            "target": "7f000001.addr.dc1.consul.",
            "address": "127.0.0.1",
            "chosen": True,
        }
    ]
    assert found["attempts"][0]["outcome"] == "HTTP 200"
    assert 0 < found["milliseconds"]["lookup"] < found["milliseconds"]["total"]


def test_refusing_instance_is_in_the_trace(page: Any, name_server: Any, gone: int) -> None:
    name_server.zone["weather.service.consul.", "SRV"] += [f"0 1 {gone} 7f000001.addr.dc1.consul."]
    found = page.get("/api/weather/London").json["discovery"]
    assert found["attempts"][0]["endpoint"] == f"127.0.0.1:{gone}"
    assert [(one["port"] == gone, one["chosen"]) for one in found["records"]].count((True, False)) == 1


@pytest.mark.parametrize(
    ("source", "link"),
    [
        ("Open-Meteo", '<a href="https://open-meteo.com/">Weather data by Open-Meteo.com</a>'),
        ("OpenWeatherMap", '<a href="https://openweathermap.org/">Weather data provided by OpenWeather</a>'),
        ("Yahoo Finance", '<a href="https://finance.yahoo.com/">Stock prices from Yahoo Finance</a>'),
    ],
)
def test_every_live_source_has_a_credit(page: Any, weather: Any, stock_price: Any, source: str, link: str) -> None:
    """The page shows it beside rows of the same source, so all of them must spell its name alike."""
    text = page.get("/").text
    assert f'<p class="credit" data-source="{source}">{link}' in text
    with page.get("/static/portal.css") as response:
        css = response.text
    assert f'.results:has(> tbody[data-source="{source}"]) ~ .credit[data-source="{source}"]' in css
    providers = (weather.providers.OpenMeteo, weather.providers.OpenWeatherMap, stock_price.providers.Yahoo)
    assert source in [provider.source for provider in providers]


def test_rows_name_their_source(page: Any) -> None:
    text = page.get("/?weather=London&stock=AMZN").text
    assert '<tbody data-key="London, GB" data-source="demo data">' in text
    assert '<tbody data-key="AMZN" data-source="Yahoo Finance">' in text


def test_plain_routes_return_the_services_json(page: Any) -> None:
    assert page.get("/weather/London").json == LONDON
    assert page.get("/stock/AMZN").json == AMZN


def test_health(page: Any) -> None:
    response = page.get("/health")
    assert (response.status_code, response.text) == (200, "OK")


@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [
        ((404, {"error": "not found", "reason": "no such city", "source": "x"}), 404, "no such city"),
        ((502, {"error": "provider away", "reason": "HTTP 429", "source": "x"}), 502, "HTTP 429"),
        ((500, {}), 502, "weather answered HTTP 500"),
        ((200, "<html>"), 502, "weather answered HTTP 200 without a JSON object"),
        ((200, [1]), 502, "weather answered HTTP 200 without a JSON object"),
    ],
)
def test_errors_keep_their_reason_and_the_trace(page: Any, web: Any, answer: Any, status: int, reason: str) -> None:
    web.answers["/weather/London"] = answer
    response = page.get("/api/weather/London")
    assert (response.status_code, response.json["reason"]) == (status, reason)
    assert response.json["error"]
    assert response.json["discovery"]["endpoint"]
    plain = page.get("/weather/London")
    assert (plain.status_code, plain.json["reason"]) == (status, reason)


def test_missing_service_is_503_with_a_trace(page: Any, name_server: Any) -> None:
    name_server.zone.clear()
    response = page.get("/api/stock/AMZN")
    assert (response.status_code, response.json["error"]) == (503, "unavailable")
    assert response.json["discovery"]["lookups"][0]["rcode"] == "NXDOMAIN"
    assert response.json["discovery"]["endpoint"] is None


def test_user_input_is_quoted_in_the_path(page: Any, web: Any) -> None:
    page.get("/weather/a%3Fb%23c%20%C3%BC%25")
    assert web.asked == ["/weather/a%3Fb%23c%20%C3%BC%25"]


@pytest.mark.parametrize("path", ["/api/stock/%20", f"/stock/{'x' * 101}", "/api/other/x", "/nowhere"])
def test_not_found_is_json_without_a_request(page: Any, name_server: Any, path: str) -> None:
    response = page.get(path)
    assert (response.status_code, response.json["error"]) == (404, "not found")
    assert name_server.queries == []


def test_page_works_without_javascript(page: Any, web: Any) -> None:
    text = page.get("/?stock=AMZN&weather=London").text
    assert "Amazon.com, Inc." in text
    assert "1,180.25" in text
    assert "12.1&nbsp;°C" in text
    assert text.count('class="badge">demo data') == 1, "only the weather is demo data here"
    assert f"Found at 127.0.0.1:{web.port}" in text
    assert "7f000001.addr.dc1.consul." in text


def test_page_shows_errors_next_to_their_form(page: Any) -> None:
    text = page.get("/?stock=%3Cscript%3Ealert(1)%3C/script%3E").text
    assert "<script>alert" not in text
    assert 'value="&lt;script&gt;' in text
    assert 'aria-invalid="true"' in text
    assert "without a JSON object" in text


def test_answers_are_escaped(page: Any, web: Any) -> None:
    web.answers["/stock/AMZN"] = (200, {**AMZN, "name": "<b>x</b>"})
    text = page.get("/?stock=AMZN").text
    assert "&lt;b&gt;x&lt;/b&gt;" in text
    assert "<b>x</b>" not in text


@pytest.mark.parametrize("path", ["/", "/api/stock/AMZN", "/static/portal.js", "/nowhere"])
def test_nothing_is_stored_or_loaded_from_elsewhere(page: Any, path: str) -> None:
    with page.get(path) as response:
        headers = response.headers
        assert headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert "//" not in headers["Content-Security-Policy"]


def test_service_names_are_configurable(portal: Any, name_server: Any, web: Any) -> None:
    name_server.service("quotes", web.port)
    web.answers = {"/stock/AMZN": (200, AMZN)}
    environ = {"CONSUL_DNS": name_server.address, "STOCK_SERVICE": "quotes"}
    assert portal.app.create_app(environ).test_client().get("/stock/AMZN").json == AMZN


def test_invalid_setting_exits(portal: Any) -> None:
    with pytest.raises(SystemExit, match="portal: CONSUL_DNS is 'here:x'"):
        portal.app.create_app({"CONSUL_DNS": "here:x"})
