"""The weather providers against a server that answers in the providers' recorded form."""

from __future__ import annotations

import threading
from typing import Any

import pytest

# As https://geocoding-api.open-meteo.com/v1/search answers; without a match "results" is left out.
LONDON = {
    "results": [
        {
            "id": 2643743,
            "name": "London",
            "latitude": 51.50853,
            "longitude": -0.12574,
            "elevation": 25.0,
            "feature_code": "PPLC",
            "country_code": "GB",
            "admin1_id": 6269131,
            "timezone": "Europe/London",
            "population": 8961989,
            "country_id": 2635167,
            "country": "United Kingdom",
            "admin1": "England",
        }
    ],
    "generationtime_ms": 0.86,
}
NO_MATCH = {"generationtime_ms": 0.62298775}
# As https://api.open-meteo.com/v1/forecast?...&current=temperature_2m answers.
FORECAST = {
    "latitude": 51.5,
    "longitude": -0.120000124,
    "generationtime_ms": 0.0439,
    "utc_offset_seconds": 0,
    "timezone": "GMT",
    "timezone_abbreviation": "GMT",
    "elevation": 23.0,
    "current_units": {"time": "iso8601", "interval": "seconds", "temperature_2m": "°C"},
    "current": {"time": "2026-02-09T18:00", "interval": 900, "temperature_2m": 11.2},
}
# As https://api.openweathermap.org/data/2.5/weather?q=...&units=metric answers.
ZOCCA = {
    "coord": {"lon": 10.99, "lat": 44.34},
    "weather": [{"id": 501, "main": "Rain", "description": "moderate rain", "icon": "10d"}],
    "base": "stations",
    "main": {"temp": 25.33, "feels_like": 25.59, "temp_min": 24.41, "pressure": 1015, "humidity": 64},
    "visibility": 10000,
    "wind": {"speed": 0.62, "deg": 349, "gust": 1.18},
    "clouds": {"all": 100},
    "dt": 1661870592,
    "sys": {"type": 2, "id": 2075663, "country": "IT", "sunrise": 1661834187, "sunset": 1661882248},
    "timezone": 7200,
    "id": 3163858,
    "name": "Zocca",
    "cod": 200,
}
CITY_NOT_FOUND = {"cod": "404", "message": "city not found"}
BAD_KEY = {"cod": 401, "message": "Invalid API key. Please see https://openweathermap.org/faq#error401."}


def environ(web: Any, provider: str, **more: str) -> dict[str, str]:
    urls = {"OPEN_METEO_URL": web.url, "OPEN_METEO_GEOCODING_URL": web.url, "OPENWEATHERMAP_URL": web.url}
    return {"PROVIDER": provider, **urls, **more}


def test_open_meteo_geocodes_first(weather: Any, web: Any) -> None:
    web.answers = {"/v1/search": (200, LONDON), "/v1/forecast": (200, FORECAST)}
    found = weather.providers.provider_from(environ(web, "open-meteo")).find("London")
    assert found == weather.providers.Weather("London", "GB", 11.2, "Open-Meteo")
    assert web.asked[1] == "/v1/forecast?latitude=51.50853&longitude=-0.12574&current=temperature_2m"


def test_user_input_is_quoted_in_the_url(weather: Any, web: Any) -> None:
    web.answers = {"/v1/search": (200, NO_MATCH)}
    with pytest.raises(weather.upstream.UnknownName):
        weather.providers.provider_from(environ(web, "open-meteo")).find("a&count=9#ü")
    assert web.asked == ["/v1/search?name=a%26count%3D9%23%C3%BC&count=1&language=en&format=json"]


def test_openweathermap_sends_its_key(weather: Any, web: Any) -> None:
    web.answers = {"/data/2.5/weather": (200, ZOCCA)}
    found = weather.providers.provider_from(environ(web, "openweathermap", API_KEY="k1")).find("Zocca")
    assert found == weather.providers.Weather("Zocca", "IT", 25.33, "OpenWeatherMap")
    assert web.asked == ["/data/2.5/weather?q=Zocca&units=metric&appid=k1"]


@pytest.mark.parametrize(
    ("provider", "answers"),
    [
        ("open-meteo", {"/v1/search": (200, NO_MATCH)}),
        ("openweathermap", {"/data/2.5/weather": (404, CITY_NOT_FOUND)}),
    ],
)
def test_unknown_city(weather: Any, web: Any, provider: str, answers: Any) -> None:
    web.answers = answers
    with pytest.raises(weather.upstream.UnknownName, match="'Nowhere'"):
        weather.providers.provider_from(environ(web, provider, API_KEY="k")).find("Nowhere")


@pytest.mark.parametrize(
    ("provider", "answers", "reason"),
    [
        (
            "open-meteo",
            {"/v1/search": (429, {"error": True, "reason": "limit exceeded"})},
            "429 limit exceeded",
        ),
        ("open-meteo", {}, "HTTP 404 without JSON"),
        ("open-meteo", {"/v1/search": (200, LONDON), "/v1/forecast": (200, {"current": {}})}, "another form"),
        ("openweathermap", {"/data/2.5/weather": (401, BAD_KEY)}, "401 Invalid API key"),
        ("openweathermap", {"/data/2.5/weather": (404, {"message": "gone"})}, "another form"),
        ("openweathermap", {"/data/2.5/weather": (200, {"cod": 200})}, "another form"),
    ],
)
def test_other_answers_are_outages(weather: Any, web: Any, provider: str, answers: Any, reason: str) -> None:
    web.answers = answers
    with pytest.raises(weather.upstream.ProviderAway, match=reason):
        weather.providers.provider_from(environ(web, provider, API_KEY="k")).find("London")


def test_hanging_provider_times_out(weather: Any, web: Any) -> None:
    release = threading.Event()
    web.answers = {"/v1/search": lambda: (release.wait(5), (200, NO_MATCH))[1]}
    with pytest.raises(weather.upstream.ProviderAway):
        weather.providers.OpenMeteo(web.url, web.url, seconds=0.1).find("London")
    release.set()


def test_auto_labels_demo_data_during_an_outage(weather: Any, web: Any, clock: Any, gone: int) -> None:
    away = f"http://127.0.0.1:{gone}"
    settings = environ(web, "auto", OPEN_METEO_GEOCODING_URL=away)
    provider = weather.providers.provider_from(settings, clock)
    assert provider.find("london").source == "demo data"
    live = environ(web, "auto")
    web.answers = {"/v1/search": (503, "{}")}
    provider = weather.providers.provider_from(live, clock)
    assert provider.find("london").source == "demo data"
    clock.now += 59
    assert provider.find("Tokyo").source == "demo data"
    assert len(web.asked) == 1
    web.answers = {"/v1/search": (200, LONDON), "/v1/forecast": (200, FORECAST)}
    clock.now += 1
    assert provider.find("London").source == "Open-Meteo"
    assert provider.find("London").source == "Open-Meteo"


def test_unknown_city_is_not_an_outage(weather: Any, web: Any, clock: Any) -> None:
    web.answers = {"/v1/search": (200, NO_MATCH)}
    provider = weather.providers.provider_from(environ(web, "auto"), clock)
    for _ in range(2):
        with pytest.raises(weather.upstream.UnknownName, match="Open-Meteo"):
            provider.find("Berlin")
    assert len(web.asked) == 2


def test_auto_during_an_outage_reports_no_unknown_city(weather: Any, web: Any, clock: Any) -> None:
    web.answers = {"/v1/search": (500, "{}")}
    provider = weather.providers.provider_from(environ(web, "auto"), clock)
    with pytest.raises(weather.upstream.ProviderAway, match=r"Open-Meteo is away .* and the demo data has no"):
        provider.find("Nowhere")


def test_auto_uses_openweathermap_with_a_key(weather: Any, web: Any) -> None:
    web.answers = {"/data/2.5/weather": (200, ZOCCA)}
    provider = weather.providers.provider_from(environ(web, "auto", API_KEY="k"))
    assert provider.find("Zocca").source == "OpenWeatherMap"


def test_demo_table_ignores_case_accents_and_spaces(weather: Any) -> None:
    demo = weather.providers.Demo()
    assert demo.find("  sao  PAULO ").city == "São Paulo"
    assert demo.find("Zürich") == demo.find("zurich")
    assert len(weather.providers.DEMO) >= 20
    with pytest.raises(weather.upstream.UnknownName):
        demo.find("Nowhere")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [({"PROVIDER": "magic"}, "auto, open-meteo"), ({"PROVIDER": "openweathermap"}, "API_KEY")],
)
def test_invalid_setting_is_rejected(weather: Any, settings: dict[str, str], reason: str) -> None:
    with pytest.raises(weather.providers.SettingInvalid, match=reason):
        weather.providers.provider_from(settings)
