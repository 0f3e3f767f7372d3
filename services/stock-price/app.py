"""The lab's stock-price service: HTTP routes and JSON."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from flask import Flask, Response, jsonify
from providers import Provider, SettingInvalid, provider_from
from upstream import ProviderAway, UnknownName
from werkzeug.exceptions import HTTPException

# What exchanges use: letters, digits, "BRK-B", "7203.T", "^GSPC", "EURUSD=X".
SYMBOL = re.compile(r"[A-Za-z0-9.^=-]{1,20}")

Answer = tuple[Response, int]


def create_app(environ: Mapping[str, str] = os.environ) -> Flask:
    """The WSGI application. Exits with the reason if a setting is invalid."""
    try:
        return build(provider_from(environ))
    except SettingInvalid as error:
        raise SystemExit(f"stock-price: {error}") from None


def build(provider: Provider) -> Flask:
    """The application for a provider."""
    app = Flask(__name__, root_path=str(Path(__file__).resolve().parent), static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined]

    @app.get("/health")
    def health() -> Response:
        return Response("OK", mimetype="text/plain")

    @app.get("/stock/<symbol>")
    def stock(symbol: str) -> Response | Answer:
        symbol = symbol.strip()
        if not SYMBOL.fullmatch(symbol):
            return problem(404, "not found", "a stock symbol is 1 to 20 letters, digits or .^=-", provider.source)
        try:
            found = provider.find(symbol)
        except UnknownName as error:
            return problem(404, "not found", str(error), provider.source)
        except ProviderAway as error:
            return problem(502, "provider away", str(error), provider.source)
        return jsonify(symbol=found.symbol, name=found.name, price=round(found.price, 4), source=found.source)

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> Answer:
        return problem(error.code or 500, error.name.lower(), error.description or error.name, "stock-price")

    return app


def problem(status: int, error: str, reason: str, source: str) -> Answer:
    """An error as JSON: what, why, and its source."""
    return jsonify(error=error, reason=reason, source=source), status
