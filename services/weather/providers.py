"""The sources of temperatures: live providers, demo data, or `auto`."""

from __future__ import annotations

import logging
import time
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlencode

from upstream import Outage, ProviderAway, UnknownName, get_json, within

CHOICES = ("auto", "open-meteo", "openweathermap", "demo")
# Both requests to Open-Meteo together; the portal waits 3 s for an endpoint.
LIVE_SECONDS = 2.0

log = logging.getLogger(__name__)


class SettingInvalid(ValueError):
    """An invalid setting in the environment."""


@dataclass(frozen=True)
class Weather:
    """The current temperature of a city. `country` is an ISO 3166 code."""

    city: str
    country: str
    celsius: float
    source: str


class Provider(Protocol):
    """Finds the weather of a city; `find` raises UnknownName or ProviderAway."""

    source: str

    def find(self, city: str) -> Weather: ...


class OpenMeteo:
    """Open-Meteo's geocoding and forecast APIs, which need no key (open-meteo.com/en/docs)."""

    source = "Open-Meteo"

    def __init__(self, geocoding_url: str, forecast_url: str, seconds: float = LIVE_SECONDS) -> None:
        self._geocoding_url = geocoding_url.rstrip("/")
        self._forecast_url = forecast_url.rstrip("/")
        self._seconds = seconds

    def find(self, city: str) -> Weather:
        return within(self._seconds, lambda: self._find(city))

    def _find(self, city: str) -> Weather:
        place = self._place(city)
        try:
            query = {
                "latitude": place["latitude"],
                "longitude": place["longitude"],
                "current": "temperature_2m",
            }
            forecast = self._get(f"{self._forecast_url}/v1/forecast", query)
            celsius = float(forecast["current"]["temperature_2m"])
            return Weather(place["name"], place.get("country_code", ""), celsius, self.source)
        except (KeyError, TypeError, ValueError) as error:
            raise ProviderAway(f"an answer in another form ({error!r})") from error

    def _place(self, city: str) -> dict[str, Any]:
        query = {"name": city, "count": 1, "language": "en", "format": "json"}
        found = self._get(f"{self._geocoding_url}/v1/search", query)
        # Without a match, the document has no "results".
        places = found.get("results") or []
        if not places:
            raise UnknownName(f"{self.source} knows no city named {city!r}")
        place: dict[str, Any] = places[0]
        return place

    def _get(self, url: str, query: dict[str, object]) -> dict[str, Any]:
        status, document = get_json(f"{url}?{urlencode(query)}", seconds=self._seconds)
        if status != 200 or not isinstance(document, dict):
            reason = document.get("reason", "") if isinstance(document, dict) else ""
            raise ProviderAway(f"HTTP {status} {reason}".strip())
        return document


class OpenWeatherMap:
    """OpenWeatherMap's current weather API, which needs a key (openweathermap.org/current)."""

    source = "OpenWeatherMap"

    def __init__(self, url: str, key: str, seconds: float = LIVE_SECONDS) -> None:
        self._url = url.rstrip("/")
        self._key = key
        self._seconds = seconds

    def find(self, city: str) -> Weather:
        return within(self._seconds, lambda: self._find(city))

    def _find(self, city: str) -> Weather:
        query = urlencode({"q": city, "units": "metric", "appid": self._key})
        status, document = get_json(f"{self._url}/data/2.5/weather?{query}", seconds=self._seconds)
        try:
            # Its own 404 has "cod" as text; a 404 from a proxy says nothing about the city.
            if status == 404 and str(document["cod"]) == "404":
                raise UnknownName(f"{self.source} knows no city named {city!r}")
            if status != 200:
                raise ProviderAway(f"HTTP {status} {document.get('message', '')}".strip())
            return Weather(
                document["name"],
                document["sys"].get("country", ""),
                float(document["main"]["temp"]),
                self.source,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ProviderAway(f"HTTP {status} with an answer in another form ({error!r})") from error


class Demo:
    """A built-in table, labelled as demo data by its `source`."""

    source = "demo data"

    def find(self, city: str) -> Weather:
        found = DEMO.get(plain(city))
        if found is None:
            raise UnknownName(f"the demo data has no city named {city!r}")
        return Weather(*found, self.source)


class Auto:
    """The live provider, or demo data during an outage, which is remembered for a minute."""

    def __init__(self, live: Provider, demo: Provider, outage: Outage) -> None:
        self._live = live
        self._demo = demo
        self._outage = outage
        self.source = live.source

    def find(self, city: str) -> Weather:
        away = "it was away less than a minute ago"
        if self._outage.may_try():
            try:
                found = self._ask_live(city)
            except ProviderAway as error:
                self._outage.began()
                away = str(error)
                log.warning("%s is away (%s): demo data for a minute", self._live.source, error)
            else:
                return found
        return self._ask_demo(city, away)

    def _ask_live(self, city: str) -> Weather:
        try:
            found = self._live.find(city)
        except UnknownName:
            self._outage.ended()
            raise
        self._outage.ended()
        return found

    def _ask_demo(self, city: str, away: str) -> Weather:
        try:
            return self._demo.find(city)
        except UnknownName as error:
            # The demo table can't tell whether a city exists, so this isn't "not found".
            raise ProviderAway(f"{self._live.source} is away ({away}), and {error}") from None


def provider_from(environ: Mapping[str, str], clock: Callable[[], float] = time.monotonic) -> Provider:
    """The provider named by PROVIDER. Raises SettingInvalid for an unknown name or a missing key."""
    name = environ.get("PROVIDER", "auto")
    if name not in CHOICES:
        raise SettingInvalid(f"PROVIDER is {name!r}; it must be one of {', '.join(CHOICES)}")
    if name == "openweathermap" and not environ.get("API_KEY"):
        raise SettingInvalid("PROVIDER is 'openweathermap', which needs its key in API_KEY")
    if name == "demo":
        return Demo()
    live = _live(environ, name)
    return Auto(live, Demo(), Outage(clock)) if name == "auto" else live


def _live(environ: Mapping[str, str], name: str) -> Provider:
    """`auto` uses OpenWeatherMap if it has a key."""
    if name == "openweathermap" or (name == "auto" and environ.get("API_KEY")):
        return OpenWeatherMap(environ.get("OPENWEATHERMAP_URL", "https://api.openweathermap.org"), environ["API_KEY"])
    return OpenMeteo(
        environ.get("OPEN_METEO_GEOCODING_URL", "https://geocoding-api.open-meteo.com"),
        environ.get("OPEN_METEO_URL", "https://api.open-meteo.com"),
    )


def plain(name: str) -> str:
    """A name for comparison: without accents, case and repeated spaces."""
    letters = unicodedata.normalize("NFKD", name)
    return " ".join("".join(c for c in letters if not unicodedata.combining(c)).casefold().split())


_CITIES: tuple[tuple[str, str, float], ...] = (
    ("Amsterdam", "NL", 10.8), ("Athens", "GR", 19.6), ("Auckland", "NZ", 15.9), ("Bangkok", "TH", 30.2),
    ("Barcelona", "ES", 17.4), ("Beijing", "CN", 13.1), ("Berlin", "DE", 10.3), ("Bogotá", "CO", 14.2),
    ("Boston", "US", 11.0), ("Buenos Aires", "AR", 18.3), ("Cairo", "EG", 24.8), ("Cape Town", "ZA", 17.7),
    ("Chicago", "US", 10.6), ("Copenhagen", "DK", 9.1), ("Delhi", "IN", 26.4), ("Dubai", "AE", 30.5),
    ("Dublin", "IE", 10.0), ("Helsinki", "FI", 6.2), ("Hong Kong", "HK", 24.4), ("Istanbul", "TR", 15.2),
    ("Jakarta", "ID", 29.1), ("Johannesburg", "ZA", 16.8), ("Lagos", "NG", 28.7), ("Lima", "PE", 19.4),
    ("Lisbon", "PT", 17.9), ("London", "GB", 12.1), ("Los Angeles", "US", 19.2), ("Madrid", "ES", 15.8),
    ("Melbourne", "AU", 15.3), ("Mexico City", "MX", 17.2), ("Miami", "US", 26.1), ("Montréal", "CA", 7.5),
    ("Moscow", "RU", 6.8), ("Mumbai", "IN", 28.6), ("Munich", "DE", 9.9), ("Nairobi", "KE", 19.9),
    ("New York", "US", 13.0), ("Oslo", "NO", 6.7), ("Paris", "FR", 12.9), ("Prague", "CZ", 10.1),
    ("Reykjavik", "IS", 5.2), ("Rio de Janeiro", "BR", 24.9), ("Rome", "IT", 16.6),
    ("San Francisco", "US", 14.6),
    ("São Paulo", "BR", 20.7), ("Seattle", "US", 11.7), ("Seoul", "KR", 13.3), ("Shanghai", "CN", 17.5),
    ("Singapore", "SG", 28.3), ("Stockholm", "SE", 7.8), ("Sydney", "AU", 18.8), ("Tel Aviv", "IL", 21.5),
    ("Tokyo", "JP", 16.3), ("Toronto", "CA", 9.4), ("Vancouver", "CA", 10.9), ("Vienna", "AT", 11.4),
    ("Warsaw", "PL", 9.3), ("Washington", "US", 14.7), ("Zürich", "CH", 9.8),
)  # fmt: skip
DEMO = {plain(city): (city, country, celsius) for city, country, celsius in _CITIES}
