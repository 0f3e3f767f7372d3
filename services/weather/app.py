"""The lab's weather service: HTTP routes and JSON."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from flask import Flask, Response, jsonify
from providers import Provider, SettingInvalid, Weather, provider_from
from upstream import ProviderAway, UnknownName
from werkzeug.exceptions import HTTPException

MAX_NAME = 100
SCALES = {"C": "Celsius", "F": "Fahrenheit"}

Answer = tuple[Response, int]


def create_app(environ: Mapping[str, str] = os.environ) -> Flask:
    """The WSGI application. Exits with the reason if a setting is invalid."""
    try:
        provider, scale = provider_from(environ), scale_from(environ)
    except SettingInvalid as error:
        raise SystemExit(f"weather: {error}") from None
    return build(provider, scale)


def scale_from(environ: Mapping[str, str]) -> str:
    """TEMP_SCALE, C or F; raises SettingInvalid."""
    scale = environ.get("TEMP_SCALE", "C").upper()
    if scale not in SCALES:
        raise SettingInvalid(f"TEMP_SCALE is {scale!r}; it must be C or F")
    return scale


def build(provider: Provider, scale: str) -> Flask:
    """The application for a provider; `scale` is C or F."""
    app = Flask(__name__, root_path=str(Path(__file__).resolve().parent), static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined]

    @app.get("/health")
    def health() -> Response:
        return Response("OK", mimetype="text/plain")

    @app.get("/weather/<city>")
    def weather(city: str) -> Response | Answer:
        city = city.strip()
        if not 0 < len(city) <= MAX_NAME:
            return problem(404, "not found", f"the name of a city has 1 to {MAX_NAME} characters", provider.source)
        try:
            return jsonify(document(provider.find(city), scale))
        except UnknownName as error:
            return problem(404, "not found", str(error), provider.source)
        except ProviderAway as error:
            return problem(502, "provider away", str(error), provider.source)

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> Answer:
        return problem(error.code or 500, error.name.lower(), error.description or error.name, "weather")

    return app


def document(weather: Weather, scale: str) -> dict[str, object]:
    """The lab's JSON; `temp` in the scale, to one decimal."""
    temp = weather.celsius if scale == "C" else weather.celsius * 9 / 5 + 32
    return {
        "city": weather.city,
        "country": weather.country,
        "temp": round(temp, 1),
        "format": SCALES[scale],
        "source": weather.source,
    }


def problem(status: int, error: str, reason: str, source: str) -> Answer:
    """An error as JSON: what, why, and its source."""
    return jsonify(error=error, reason=reason, source=source), status
