"""The stock providers against a server that answers in Yahoo's recorded form."""

from __future__ import annotations

from typing import Any

import pytest

# As https://query1.finance.yahoo.com/v8/finance/chart/NFLX?interval=1d&range=1d answers.
NFLX = {
    "chart": {
        "result": [
            {
                "meta": {
                    "currency": "USD",
                    "symbol": "NFLX",
                    "exchangeName": "NMS",
                    "fullExchangeName": "NasdaqGS",
                    "instrumentType": "EQUITY",
                    "regularMarketTime": 1764968400,
                    "timezone": "EST",
                    "exchangeTimezoneName": "America/New_York",
                    "regularMarketPrice": 100.24,
                    "longName": "Netflix, Inc.",
                    "shortName": "Netflix, Inc.",
                    "chartPreviousClose": 103.22,
                    "priceHint": 2,
                },
                "timestamp": [1764968400],
                "indicators": {"quote": [{"close": [100.24]}], "adjclose": [{"adjclose": [100.24]}]},
            }
        ],
        "error": None,
    }
}
NOT_FOUND = {
    "chart": {
        "result": None,
        "error": {"code": "Not Found", "description": "No data found, symbol may be delisted"},
    }
}


def meta(**fields: object) -> dict[str, object]:
    return {"chart": {"result": [{"meta": {"symbol": "X", **fields}}], "error": None}}


def yahoo(stock_price: Any, web: Any, provider: str = "yahoo", **more: Any) -> Any:
    return stock_price.providers.provider_from({"PROVIDER": provider, "YAHOO_URL": web.url}, **more)


def test_yahoo_returns_name_and_price(stock_price: Any, web: Any) -> None:
    web.answers = {"/v8/finance/chart/NFLX": (200, NFLX)}
    found = yahoo(stock_price, web).find("nflx")
    assert found == stock_price.providers.Stock("NFLX", "Netflix, Inc.", 100.24, "Yahoo Finance")
    assert web.asked == ["/v8/finance/chart/NFLX?interval=1d&range=1d"]
    assert web.agents[0].startswith("Mozilla/5.0"), "Yahoo answers 429 to the names of HTTP libraries"


def test_symbol_is_quoted_in_the_url(stock_price: Any, web: Any) -> None:
    web.answers = {"/v8/finance/chart/%5EGSPC": (200, NFLX)}
    yahoo(stock_price, web).find("^gspc")
    assert web.asked == ["/v8/finance/chart/%5EGSPC?interval=1d&range=1d"]


@pytest.mark.parametrize(
    ("fields", "name"), [({"shortName": "Short"}, "Short"), ({}, "X"), ({"longName": "Long"}, "Long")]
)
def test_name_falls_back_to_the_symbol(stock_price: Any, web: Any, fields: dict[str, object], name: str) -> None:
    web.answers = {"/v8/finance/chart/X": (200, meta(regularMarketPrice=1, **fields))}
    assert yahoo(stock_price, web).find("X").name == name


@pytest.mark.parametrize("answer", [(404, NOT_FOUND), (200, meta(currency=None))])
def test_symbol_without_price_is_unknown(stock_price: Any, web: Any, answer: Any) -> None:
    web.answers = {"/v8/finance/chart/X": answer}
    with pytest.raises(stock_price.upstream.UnknownName, match="'X'"):
        yahoo(stock_price, web).find("X")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((429, "Too Many Requests"), "HTTP 429 without JSON"),
        ((404, {"message": "no route"}), "another form"),
        ((500, {"chart": {"result": None, "error": {"code": "x", "description": "broken"}}}), "500 broken"),
        ((200, {"chart": {"result": [], "error": None}}), "another form"),
    ],
)
def test_other_answers_are_outages(stock_price: Any, web: Any, answer: Any, reason: str) -> None:
    web.answers = {"/v8/finance/chart/X": answer}
    with pytest.raises(stock_price.upstream.ProviderAway, match=reason):
        yahoo(stock_price, web).find("X")


def test_auto_falls_back_for_a_minute(stock_price: Any, web: Any, clock: Any) -> None:
    provider = yahoo(stock_price, web, "auto", clock=clock)
    assert provider.find("nflx").source == "demo data"
    web.answers = {"/v8/finance/chart/NFLX": (200, NFLX)}
    assert provider.find("nflx").source == "demo data"
    assert len(web.asked) == 1
    clock.now += 60
    assert provider.find("nflx").source == "Yahoo Finance"


def test_auto_passes_on_an_unknown_name(stock_price: Any, web: Any) -> None:
    web.answers = {"/v8/finance/chart/AMZN": (404, NOT_FOUND)}
    with pytest.raises(stock_price.upstream.UnknownName, match="Yahoo"):
        yahoo(stock_price, web, "auto").find("AMZN")


def test_auto_reports_both_failures(stock_price: Any, web: Any) -> None:
    with pytest.raises(stock_price.upstream.ProviderAway, match=r"Yahoo Finance is away .* and the demo data"):
        yahoo(stock_price, web, "auto").find("NOSUCH")


def test_demo_table_has_many_symbols(stock_price: Any) -> None:
    assert len(stock_price.providers.DEMO) >= 20
    assert stock_price.providers.Demo().find("amzn").name == "Amazon.com, Inc."
