"""The portal's routes: the page and its JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from client import Client, Journey, Unavailable
from discovery import Discovery, Record, SettingInvalid, Settings
from flask import Flask, Response, jsonify, render_template, request
from werkzeug.exceptions import HTTPException

MAX_NAME = 100
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class Answer:
    """The service's data or an error, and how the portal found the service."""

    status: int
    data: dict[str, Any]
    discovery: dict[str, Any] | None

    @property
    def ok(self) -> bool:
        """Whether `data` is the service's answer instead of an error."""
        return self.status == 200


class Portal:
    """Queries the two services of the lab, and converts their errors."""

    def __init__(self, client: Client, services: Mapping[str, str]) -> None:
        self._client = client
        self._services = services

    def ask(self, kind: str, name: str) -> Answer:
        """The answer about a symbol or a city; `kind` is "stock" or "weather"."""
        name = name.strip()
        if not 0 < len(name) <= MAX_NAME:
            return Answer(404, problem("not found", f"a name has 1 to {MAX_NAME} characters"), None)
        service = self._services[kind]
        try:
            reply, journey = self._client.get(service, f"/{kind}/{quote(name, safe='')}")
        except Unavailable as error:
            title = "timed out" if error.status == 504 else "unavailable"
            return Answer(error.status, problem(title, str(error)), traced(error.journey))
        return Answer(*understood(service, reply.status, reply.body), traced(journey))


def understood(service: str, status: int, body: bytes) -> tuple[int, dict[str, Any]]:
    """The status and document to pass on: 200 and 404 as they are, any other as 502 with its reason."""
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        return 502, problem("bad answer", f"{service} answered HTTP {status} without a JSON object")
    if status == 200:
        return 200, document
    reason = str(document.get("reason") or f"{service} answered HTTP {status}")
    error = {"error": str(document.get("error") or "bad answer"), "reason": reason}
    return (404 if status == 404 else 502), {**error, "source": str(document.get("source") or service)}


def problem(error: str, reason: str) -> dict[str, Any]:
    """An error from the portal itself."""
    return {"error": error, "reason": reason, "source": "portal"}


def traced(journey: Journey) -> dict[str, Any]:
    """The trace as JSON; times in milliseconds."""
    asked = next((one for one in reversed(journey.lookups) if one.type == "SRV"), None)
    return {
        "service": journey.service,
        "name": asked.name if asked else None,
        "server": asked.server if asked else None,
        "records": [recorded(record, journey.chosen) for record in asked.records] if asked else [],
        "endpoint": journey.chosen.endpoint if journey.chosen else None,
        "lookups": [{**asdict(one), "records": len(one.records)} for one in journey.lookups],
        "attempts": [asdict(one) for one in journey.attempts],
        "milliseconds": {
            "lookup": round(sum(one.milliseconds for one in journey.lookups), 2),
            "request": round(sum(one.milliseconds for one in journey.attempts), 2),
            "total": journey.milliseconds,
        },
    }


def recorded(record: Record, chosen: Record | None) -> dict[str, Any]:
    """An SRV record as JSON, and whether its instance answered."""
    same = chosen is not None and (record.target, record.port) == (chosen.target, chosen.port)
    address = chosen.address if same and chosen is not None and record.address is None else record.address
    return {**asdict(record), "address": address, "chosen": same and address == (chosen and chosen.address)}


def create_app(environ: Mapping[str, str] = os.environ) -> Flask:
    """The WSGI application. Exits with the reason if a setting is invalid."""
    try:
        settings = Settings.from_environ(environ)
    except SettingInvalid as error:
        raise SystemExit(f"portal: {error}") from None
    services = {
        "stock": environ.get("STOCK_SERVICE", "stock-price"),
        "weather": environ.get("WEATHER_SERVICE", "weather"),
    }
    return build(Portal(Client(Discovery(settings)), services))


def build(portal: Portal) -> Flask:
    """The application for a portal."""
    app = Flask(__name__, root_path=str(Path(__file__).resolve().parent))
    app.json.sort_keys = False  # type: ignore[attr-defined]

    @app.get("/")
    def page() -> str | tuple[str, int]:
        """The page. Without JavaScript, it also handles its forms, which arrive as a query."""
        asked = {kind: request.args.get(kind, "").strip() for kind in ("stock", "weather")}
        answers = {kind: portal.ask(kind, name) for kind, name in asked.items() if name}
        return render_template("index.html", asked=asked, answers=answers)

    @app.get("/health")
    def health() -> Response:
        return Response("OK", mimetype="text/plain")

    @app.get("/api/<any(stock, weather):kind>/<name>")
    def api(kind: str, name: str) -> tuple[Response, int]:
        answer = portal.ask(kind, name)
        document = {"data": answer.data} if answer.ok else answer.data
        return jsonify({**document, "discovery": answer.discovery}), answer.status

    @app.get("/<any(stock, weather):kind>/<name>")
    def plain(kind: str, name: str) -> tuple[Response, int]:
        """The service's own JSON, for curl."""
        answer = portal.ask(kind, name)
        return jsonify(answer.data), answer.status

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> tuple[Response, int]:
        return jsonify(problem(error.name.lower(), error.description or error.name)), error.code or 500

    @app.after_request
    def guarded(response: Response) -> Response:
        response.headers.update(HEADERS)
        return response

    return app
