"""The weather service's routes and JSON."""

from __future__ import annotations

from typing import Any

import pytest


def client(weather: Any, **environ: str) -> Any:
    return weather.app.create_app({"PROVIDER": "demo", **environ}).test_client()


def test_json_of_the_labs_text(weather: Any) -> None:
    response = client(weather).get("/weather/london")
    assert response.status_code == 200
    expected = {"city": "London", "country": "GB", "temp": 12.1, "format": "Celsius", "source": "demo data"}
    assert response.json == expected
    assert list(response.json) == list(expected)


def test_fahrenheit(weather: Any) -> None:
    response = client(weather, TEMP_SCALE="F").get("/weather/London")
    assert (response.json["temp"], response.json["format"]) == (53.8, "Fahrenheit")


def test_health(weather: Any) -> None:
    response = client(weather).get("/health")
    assert (response.status_code, response.text, response.mimetype) == (200, "OK", "text/plain")


@pytest.mark.parametrize("path", ["/weather/Nowhere", f"/weather/{'x' * 101}", "/weather/%20", "/weather/a/b", "/"])
def test_not_found_has_a_reason(weather: Any, path: str) -> None:
    response = client(weather).get(path)
    assert response.status_code == 404
    assert response.json["error"] == "not found"
    assert response.json["reason"]
    assert response.json["source"]


def test_provider_away_is_502(weather: Any, web: Any) -> None:
    live = client(weather, PROVIDER="open-meteo", OPEN_METEO_GEOCODING_URL=web.url)
    response = live.get("/weather/London")
    assert response.status_code == 502
    expected = {"error": "provider away", "reason": "HTTP 404 without JSON", "source": "Open-Meteo"}
    assert response.json == expected


@pytest.mark.parametrize(("name", "value"), [("PROVIDER", "magic"), ("TEMP_SCALE", "K")])
def test_invalid_setting_exits_with_its_name(weather: Any, name: str, value: str) -> None:
    with pytest.raises(SystemExit, match=f"weather: {name} is '{value}'"):
        weather.app.create_app({name: value})
