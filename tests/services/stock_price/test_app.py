"""The stock-price service's routes and JSON."""

from __future__ import annotations

from typing import Any

import pytest


def client(stock_price: Any, **environ: str) -> Any:
    return stock_price.app.create_app({"PROVIDER": "demo", **environ}).test_client()


def test_json_of_the_labs_text(stock_price: Any) -> None:
    response = client(stock_price).get("/stock/amzn")
    expected = {"symbol": "AMZN", "name": "Amazon.com, Inc.", "price": 180.25, "source": "demo data"}
    assert (response.status_code, response.json) == (200, expected)
    assert list(response.json) == list(expected)


def test_health(stock_price: Any) -> None:
    response = client(stock_price).get("/health")
    assert (response.status_code, response.text, response.mimetype) == (200, "OK", "text/plain")


@pytest.mark.parametrize("path", ["/stock/NOSUCH", f"/stock/{'x' * 21}", "/stock/a%20b", "/stock/..%2f", "/x"])
def test_not_found_has_a_reason(stock_price: Any, path: str) -> None:
    response = client(stock_price).get(path)
    assert (response.status_code, response.json["error"]) == (404, "not found")
    assert response.json["reason"]
    assert response.json["source"]


def test_provider_away_is_502(stock_price: Any, web: Any) -> None:
    response = client(stock_price, PROVIDER="yahoo", YAHOO_URL=web.url).get("/stock/AMZN")
    assert response.status_code == 502
    expected = {"error": "provider away", "reason": "HTTP 404 without JSON", "source": "Yahoo Finance"}
    assert response.json == expected


def test_invalid_provider_exits_with_the_choices(stock_price: Any) -> None:
    with pytest.raises(SystemExit, match="stock-price: PROVIDER is 'magic'; it must be one of auto, yahoo, demo"):
        stock_price.app.create_app({"PROVIDER": "magic"})
