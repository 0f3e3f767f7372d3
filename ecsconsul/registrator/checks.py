"""Turns check_ metadata into a Consul check, and a check into the probe that Consul would run first."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from .metadata import Metadata, Note

Status = Literal["passing", "warning", "critical"]

STATUSES = ("passing", "warning", "critical")
DEFAULT_INTERVAL = "10s"
CONSUL_TIMEOUT = 10.0  # seconds; Consul's default for HTTP and TCP checks

CHECK_KEYS = frozenset(
    {
        "check_http",
        "check_http_method",
        "check_https",
        "check_https_method",
        "check_cmd",
        "check_script",
        "check_ttl",
        "check_tcp",
        "check_grpc",
        "check_grpc_use_tls",
        "check_tls_skip_verify",
        "check_interval",
        "check_timeout",
        "check_initial_status",
        "check_deregister_after",
    }
)

_NANOSECONDS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9}
_NANOSECONDS["h"] = 60 * _NANOSECONDS["m"]
# a number can be read in one way only: matching must not try many
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_DURATION = re.compile(rf"\+?(?:{_DURATION_PART.pattern})+")
_LONGEST = 2**63  # nanoseconds, exclusive: Go keeps a duration in 64 bits
_SHELL_OPERATORS = frozenset({"|", "||", "&", "&&", ";", ">", ">>", "<", "2>", "2>&1"})


class CheckUnusable(ValueError):
    """The requested check is invalid. Without it the service would always pass, so it isn't registered at all."""


@dataclass(frozen=True)
class Check:
    """A Consul check, with Consul's field names; empty fields aren't sent."""

    http: str = ""
    method: str = ""
    tcp: str = ""
    ttl: str = ""
    args: tuple[str, ...] = ()
    grpc: str = ""
    grpc_use_tls: bool = False
    tls_skip_verify: bool = False
    interval: str = ""
    timeout: str = ""
    status: str = ""
    deregister_after: str = ""

    def payload(self) -> dict[str, object]:
        """The `Check` object of PUT /v1/agent/service/register."""
        fields: dict[str, object] = {
            "HTTP": self.http,
            "Method": self.method,
            "TCP": self.tcp,
            "TTL": self.ttl,
            "Args": list(self.args),
            "GRPC": self.grpc,
            "GRPCUseTLS": self.grpc_use_tls,
            "TLSSkipVerify": self.tls_skip_verify,
            "Interval": self.interval,
            "Timeout": self.timeout,
            "Status": self.status,
            "DeregisterCriticalServiceAfter": self.deregister_after,
        }
        return {name: value for name, value in fields.items() if value}


@dataclass(frozen=True)
class HttpProbe:
    """One HTTP request; `timeout` in seconds, for the whole request."""

    url: str
    method: str = "GET"
    timeout: float = CONSUL_TIMEOUT
    tls_skip_verify: bool = False


@dataclass(frozen=True)
class TcpProbe:
    """One TCP connection; `timeout` in seconds."""

    host: str
    port: int
    timeout: float = CONSUL_TIMEOUT


# what Consul would run first
Probe = HttpProbe | TcpProbe


@dataclass(frozen=True)
class UdpProbe:
    """A look whether a process's network has a UDP socket at a port, without sending anything.

    `address` is where the socket may be beside every address; "" for any.
    """

    process: int
    port: int
    address: str = ""


@dataclass(frozen=True)
class Endpoint:
    """The address and port that a check uses."""

    address: str
    port: int

    @property
    def host(self) -> str:
        """A service without an address runs on its agent's node, so the agent reaches it on localhost."""
        return self.address or "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def check_of(
    metadata: Metadata, endpoint: Endpoint, port: str, *, is_tcp: bool = True
) -> tuple[Check | None, list[Note]]:
    """The first check that is set, in Registrator's order, and a note for each option that Consul would refuse.

    Where nothing answers by TCP, a check that needs it would fail for ever, so there is none, and a note says so.
    Raises CheckUnusable if the check itself is invalid.
    """
    kind = next((kind for kind in _KINDS if metadata.get(kind)), None)
    if kind is None:
        return None, []
    if not is_tcp and kind not in _WITHOUT_CONNECTION:
        return None, [Note(port, f"{kind} left out", "it needs TCP; use check_script or check_ttl for a UDP port")]
    check = _KINDS[kind](metadata, endpoint)
    check, notes = _with_options(check, metadata, port)
    if _SHELL_OPERATORS.intersection(check.args):
        notes.append(Note(port, f"{kind} runs without a shell", "use sh -c '...' if it needs one"))
    return check, notes


def _http(metadata: Metadata, endpoint: Endpoint) -> Check:
    url = _url("http", endpoint, metadata.get("check_http"))
    return Check(http=url, method=metadata.get("check_http_method"))


def _https(metadata: Metadata, endpoint: Endpoint) -> Check:
    url = _url("https", endpoint, metadata.get("check_https"))
    skip = bool(metadata.get("check_tls_skip_verify"))
    return Check(http=url, method=metadata.get("check_https_method"), tls_skip_verify=skip)


def _url(scheme: str, endpoint: Endpoint, path: str) -> str:
    slash = "" if path.startswith("/") else "/"  # otherwise the path would run into the port
    return f"{scheme}://{endpoint}{slash}{path}"


# characters of a command: the time that it takes to split one grows with the square of its length
MOST_COMMAND = 1 << 14


def _script(key: str) -> Callable[[Metadata, Endpoint], Check]:
    def check(metadata: Metadata, endpoint: Endpoint) -> Check:
        command = metadata.get(key)
        if len(command) > MOST_COMMAND:
            raise CheckUnusable(f"{key} is longer than {MOST_COMMAND} characters")
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise CheckUnusable(f"{key} can't be split into arguments: {error}") from error
        if not any(words):
            raise CheckUnusable(f"{key} has no command")
        return Check(args=tuple(_substitute(word, endpoint) for word in words))

    return check


def _substitute(word: str, endpoint: Endpoint) -> str:
    return word.replace("$SERVICE_IP", endpoint.host).replace("$SERVICE_PORT", str(endpoint.port))


def _ttl(metadata: Metadata, endpoint: Endpoint) -> Check:
    ttl = metadata.get("check_ttl")
    if duration_seconds(ttl) is None:
        raise CheckUnusable(f"check_ttl {ttl!r} isn't a duration that Consul accepts, such as 30s")
    return Check(ttl=ttl)


def _tcp(metadata: Metadata, endpoint: Endpoint) -> Check:
    return Check(tcp=str(endpoint))


def _grpc(metadata: Metadata, endpoint: Endpoint) -> Check:
    use_tls = bool(metadata.get("check_grpc_use_tls"))
    skip = use_tls and bool(metadata.get("check_tls_skip_verify"))
    return Check(grpc=str(endpoint), grpc_use_tls=use_tls, tls_skip_verify=skip)


_KINDS: Mapping[str, Callable[[Metadata, Endpoint], Check]] = {
    "check_http": _http,
    "check_https": _https,
    "check_cmd": _script("check_cmd"),
    "check_script": _script("check_script"),
    "check_ttl": _ttl,
    "check_tcp": _tcp,
    "check_grpc": _grpc,
}


_WITHOUT_CONNECTION = frozenset({"check_cmd", "check_script", "check_ttl"})


def _with_options(check: Check, metadata: Metadata, port: str) -> tuple[Check, list[Note]]:
    """The check with its options; an option that Consul would refuse falls back to its default, with a note."""
    notes: list[Note] = []

    def duration(key: str) -> str:
        value = metadata.get(key)
        if not value or duration_seconds(value) is not None:
            return value
        notes.append(Note(port, f"{key} {value!r} ignored", "not a duration that Consul accepts, such as 10s"))
        return ""

    def status() -> str:
        value = metadata.get("check_initial_status")
        if not value or value in STATUSES:
            return value
        why = f"must be one of {', '.join(STATUSES)}"
        notes.append(Note(port, f"check_initial_status {value!r} ignored", why))
        return ""

    check = replace(check, status=status(), deregister_after=duration("check_deregister_after"))
    if not check.ttl:
        interval = duration("check_interval") or DEFAULT_INTERVAL
        check = replace(check, interval=interval, timeout=duration("check_timeout"))
    return check, notes


def duration_seconds(text: str) -> float | None:
    """A positive Go duration ("500ms", "1m30s") in seconds; None if Consul would refuse it.

    Source: Go's time.ParseDuration, which Consul uses.
    """
    if not _DURATION.fullmatch(text):
        return None
    parts = (float(number) * _NANOSECONDS[unit] for number, unit in _DURATION_PART.findall(text))
    nanoseconds = sum(parts)
    return nanoseconds / 1e9 if 1 <= nanoseconds < _LONGEST else None


def probe_of(check: Check) -> Probe | None:
    """What Consul's first run of the check would request; None if it can't be run from here.

    TTL, script and gRPC checks have no probe, nor does a check whose initial status the container sets.
    """
    if check.status:
        return None
    timeout = duration_seconds(check.timeout) or CONSUL_TIMEOUT
    if check.http:
        return HttpProbe(check.http, check.method or "GET", timeout, check.tls_skip_verify)
    if check.tcp:
        host, _, port = check.tcp.rpartition(":")
        return TcpProbe(host.removeprefix("[").removesuffix("]"), int(port), timeout)
    return None
