"""The sources of stock prices: Yahoo, demo data, or `auto`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote

from upstream import Outage, ProviderAway, UnknownName, get_json, within

CHOICES = ("auto", "yahoo", "demo")
# The portal waits 3 s for an endpoint.
LIVE_SECONDS = 2.0

log = logging.getLogger(__name__)


class SettingInvalid(ValueError):
    """An invalid setting in the environment."""


@dataclass(frozen=True)
class Stock:
    """The current price of a stock, in the currency of its exchange, and its source."""

    symbol: str
    name: str
    price: float
    source: str


class Provider(Protocol):
    """Finds the stock of a symbol; `find` raises UnknownName or ProviderAway."""

    source: str

    def find(self, symbol: str) -> Stock: ...


class Yahoo:
    """Yahoo Finance's v8 chart endpoint, which needs no key; its `meta` has the name and price."""

    source = "Yahoo Finance"

    def __init__(self, url: str, seconds: float = LIVE_SECONDS) -> None:
        self._url = url.rstrip("/")
        self._seconds = seconds

    def find(self, symbol: str) -> Stock:
        return within(self._seconds, lambda: self._find(symbol))

    def _find(self, symbol: str) -> Stock:
        url = f"{self._url}/v8/finance/chart/{quote(symbol.upper(), safe='')}?interval=1d&range=1d"
        status, document = get_json(url, seconds=self._seconds)
        try:
            chart = document["chart"]
            if status == 404 and chart["error"]["code"] == "Not Found":
                raise UnknownName(f"{self.source} has no symbol {symbol!r}: {chart['error']['description']}")
            if status != 200:
                raise ProviderAway(f"HTTP {status} {(chart['error'] or {}).get('description', '')}".strip())
            meta = chart["result"][0]["meta"]
            return self._stock(meta)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise ProviderAway(f"HTTP {status} with an answer in another form ({error!r})") from error

    def _stock(self, meta: dict[str, str | float]) -> Stock:
        symbol = str(meta["symbol"])
        # A delisted symbol still has a chart, without a price.
        if meta.get("regularMarketPrice") is None:
            raise UnknownName(f"{self.source} has no price for {symbol!r}")
        name = meta.get("longName") or meta.get("shortName") or symbol
        return Stock(symbol, str(name), float(meta["regularMarketPrice"]), self.source)


class Demo:
    """A built-in table, labelled as demo data by its `source`."""

    source = "demo data"

    def find(self, symbol: str) -> Stock:
        found = DEMO.get(symbol.upper())
        if found is None:
            raise UnknownName(f"the demo data has no symbol {symbol!r}")
        return Stock(symbol.upper(), *found, self.source)


class Auto:
    """The live provider, or demo data during an outage, which is remembered for a minute."""

    def __init__(self, live: Provider, demo: Provider, outage: Outage) -> None:
        self._live = live
        self._demo = demo
        self._outage = outage
        self.source = live.source

    def find(self, symbol: str) -> Stock:
        away = "it was away less than a minute ago"
        if self._outage.may_try():
            try:
                found = self._ask_live(symbol)
            except ProviderAway as error:
                self._outage.began()
                away = str(error)
                log.warning("%s is away (%s): demo data for a minute", self._live.source, error)
            else:
                return found
        return self._ask_demo(symbol, away)

    def _ask_live(self, symbol: str) -> Stock:
        try:
            found = self._live.find(symbol)
        except UnknownName:
            self._outage.ended()
            raise
        self._outage.ended()
        return found

    def _ask_demo(self, symbol: str, away: str) -> Stock:
        try:
            return self._demo.find(symbol)
        except UnknownName as error:
            # The demo table can't tell whether a symbol exists, so this isn't "not found".
            raise ProviderAway(f"{self._live.source} is away ({away}), and {error}") from None


def provider_from(environ: Mapping[str, str], clock: Callable[[], float] = time.monotonic) -> Provider:
    """The provider named by PROVIDER. Raises SettingInvalid for an unknown name."""
    name = environ.get("PROVIDER", "auto")
    if name not in CHOICES:
        raise SettingInvalid(f"PROVIDER is {name!r}; it must be one of {', '.join(CHOICES)}")
    if name == "demo":
        return Demo()
    live = Yahoo(environ.get("YAHOO_URL", "https://query1.finance.yahoo.com"))
    return Auto(live, Demo(), Outage(clock)) if name == "auto" else live


DEMO: dict[str, tuple[str, float]] = {
    "AAPL": ("Apple Inc.", 190.5), "ADBE": ("Adobe Inc.", 480.2),
    "AMD": ("Advanced Micro Devices, Inc.", 120.4),
    "AMZN": ("Amazon.com, Inc.", 180.25), "AXP": ("American Express Company", 240.1),
    "BA": ("The Boeing Company", 175.6), "BRK-B": ("Berkshire Hathaway Inc.", 450.3),
    "CAT": ("Caterpillar Inc.", 340.8), "COST": ("Costco Wholesale Corporation", 860.9),
    "CRM": ("Salesforce, Inc.", 260.7), "CSCO": ("Cisco Systems, Inc.", 50.15),
    "DIS": ("The Walt Disney Company", 100.35),
    "GE": ("GE Aerospace", 170.2), "GOOG": ("Alphabet Inc.", 170.65), "GOOGL": ("Alphabet Inc.", 168.9),
    "HD": ("The Home Depot, Inc.", 360.4), "IBM": ("International Business Machines Corporation", 195.3),
    "INTC": ("Intel Corporation", 30.45), "JNJ": ("Johnson & Johnson", 155.8),
    "JPM": ("JPMorgan Chase & Co.", 205.1),
    "KO": ("The Coca-Cola Company", 65.2), "MA": ("Mastercard Incorporated", 470.5),
    "MCD": ("McDonald's Corporation", 280.6), "META": ("Meta Platforms, Inc.", 500.75),
    "MSFT": ("Microsoft Corporation", 420.55), "NFLX": ("Netflix, Inc.", 650.1), "NKE": ("NIKE, Inc.", 85.4),
    "NVDA": ("NVIDIA Corporation", 125.3), "ORCL": ("Oracle Corporation", 140.9),
    "PEP": ("PepsiCo, Inc.", 170.1),
    "PFE": ("Pfizer Inc.", 28.6), "PG": ("The Procter & Gamble Company", 165.4), "SAP": ("SAP SE", 200.3),
    "SHOP": ("Shopify Inc.", 70.8), "SONY": ("Sony Group Corporation", 88.2), "T": ("AT&T Inc.", 18.9),
    "TM": ("Toyota Motor Corporation", 190.7), "TSLA": ("Tesla, Inc.", 200.6),
    "UBER": ("Uber Technologies, Inc.", 70.35),
    "V": ("Visa Inc.", 275.9), "VZ": ("Verizon Communications Inc.", 41.2), "WMT": ("Walmart Inc.", 68.7),
    "XOM": ("Exxon Mobil Corporation", 115.4),
}  # fmt: skip
