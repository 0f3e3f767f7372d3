"""What the Registrator was told: its flags, its URI and its environment, as one frozen value; acts on none of it.

The flags are gliderlabs/registrator's, and behind them those of our own (docs/registrator.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from .flags import BadFlags, Flag, parse, usage
from .rules import Options

DEFAULT_DOCKER = "unix:///tmp/docker.sock"
DOCKER_PORTS = {"tcp": 2375, "http": 2375, "https": 2376}
CONSUL_HOST, CONSUL_PORT = "127.0.0.1", 8500
SCHEMES = ("consul", "consul-unix", "consul-tls")
FOREVER = -1

FLAGS = (
    Flag("ip", "", "address to register instead of the one that a port is published on", "ADDRESS"),
    Flag("internal", False, "register exposed ports at the container's address instead of published ones"),
    Flag("explicit", False, "register only containers that have a name in their metadata"),
    Flag("useIpFromLabel", "", "register the address that this label of a container holds", "LABEL"),
    Flag("tags", "", "tags to append to every service, with commas between them", "TAGS"),
    Flag("deregister", "always", "which ended containers leave the catalog", "WHEN", ("always", "on-success")),
    Flag("cleanup", False, "deregister services of this host that no container stands behind"),
    Flag("resync", 0, "seconds between looks at all containers and services; 0: our own pace", "SECONDS"),
    Flag("ttl", 0, "accepted with -ttl-refresh, and without effect on Consul", "SECONDS"),
    Flag("ttl-refresh", 0, "accepted with -ttl, and without effect on Consul", "SECONDS"),
    Flag("retry-attempts", 0, "how often to try again to reach Consul and Docker at the start; -1: for ever", "N"),
    Flag("retry-interval", 2000, "milliseconds between these tries", "MS"),
    Flag("on-exit", "deregister", "what becomes of the services when it is ended", "WHAT", ("deregister", "keep")),
    Flag("hostname", "", "begins each service's ID; default: the name of this host", "NAME"),
    Flag("stop-timeout", 120, "seconds until a container that was asked to stop, and runs on, is back", "SECONDS"),
    Flag("label", "", "only containers that have this label", "KEY=VALUE"),
    Flag("status", "", "serve /health and /metrics here; without a host on loopback", "[HOST:]PORT"),
    Flag("user", "", "when started as root, become this user with the group of Docker's socket", "NAME"),
    Flag("log-format", "logfmt", "how a line of the log is written", "FORMAT", ("logfmt", "json")),
    Flag("log-level", "info", "the least that is logged", "LEVEL", ("debug", "info", "warning", "error")),
    Flag("version", False, "print the version and end"),
)  # fmt: skip


@dataclass(frozen=True)
class Tls:
    """The files of a TLS client; "" where there is none."""

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""


@dataclass(frozen=True)
class Server:
    """Where an HTTP API is: at a Unix socket, else at host and port; over TLS where `tls` is given."""

    host: str = ""
    port: int = 0
    socket: str = ""
    tls: Tls | None = None

    def __str__(self) -> str:
        return f"unix://{self.socket}" if self.socket else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Retry:
    """How often to try again at the start (FOREVER: without end), and the seconds between."""

    attempts: int
    interval: float


@dataclass(frozen=True)
class Settings:
    """All that the Registrator was told. `hostname` and `host_address` of the options are filled in at its start."""

    consul: Server
    token: str
    docker: Server
    options: Options
    deregister_failed: bool  # -deregister always
    cleanup: bool
    resync: float
    retry: Retry
    keep_on_exit: bool
    stop_timeout: float
    label: str
    status: tuple[str, int] | None
    user: str
    log_format: str
    log_level: str


class VersionWanted(Exception):
    """-version was given."""


def read_settings(argv: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """The settings that the words after the program's name make. Raises BadFlags, HelpWanted and VersionWanted."""
    values, words = parse(argv, FLAGS)
    if values["version"]:
        raise VersionWanted
    if not words:
        raise BadFlags("missing required argument for registry URI")
    if len(words) > 1:
        raise BadFlags(f"extra unparsed arguments: {' '.join(words[1:])}; options come before the registry URI")
    _check(values)
    return Settings(
        consul=consul_server(words[0], environment),
        token=environment.get("CONSUL_HTTP_TOKEN", ""),
        docker=docker_server(environment),
        options=Options(
            hostname=values["hostname"],
            ip=values["ip"],
            internal=values["internal"],
            explicit=values["explicit"],
            use_ip_from_label=values["useIpFromLabel"],
            tags=values["tags"],
        ),
        deregister_failed=values["deregister"] == "always",
        cleanup=values["cleanup"],
        resync=float(values["resync"]),
        retry=Retry(values["retry-attempts"], values["retry-interval"] / 1000),
        keep_on_exit=values["on-exit"] == "keep",
        stop_timeout=float(values["stop-timeout"]),
        label=values["label"],
        status=_status_address(values["status"]),
        user=values["user"],
        log_format=values["log-format"],
        log_level=values["log-level"],
    )


def help_text(program: str) -> str:
    """What -help shows."""
    return usage(program, "<consul://host:port | consul-unix:///path | consul-tls://host:port>", FLAGS)


def _check(values: Mapping[str, Any]) -> None:
    if (values["ttl"] > 0) != (values["ttl-refresh"] > 0):
        raise BadFlags("-ttl and -ttl-refresh must be specified together or not at all")
    if 0 < values["ttl"] <= values["ttl-refresh"]:
        raise BadFlags("-ttl must be greater than -ttl-refresh")
    if values["retry-interval"] <= 0:
        raise BadFlags("-retry-interval must be greater than 0")
    for name in ("resync", "stop-timeout", "ttl", "ttl-refresh"):
        if values[name] < 0:
            raise BadFlags(f"-{name} must not be below 0")
    if values["retry-attempts"] < FOREVER:
        raise BadFlags("-retry-attempts must be -1 (for ever) or more")


def consul_server(uri: str, environment: Mapping[str, str]) -> Server:
    """Where the URI leads. Raises BadFlags."""
    parts = _split(uri)
    if parts.scheme not in SCHEMES:
        raise BadFlags(f"unrecognized registry URI {uri}: its scheme is none of {', '.join(SCHEMES)}")
    if parts.scheme == "consul-unix":
        # consul-unix://run/x and consul-unix:///run/x have both been written for /run/x
        path = f"/{(parts.netloc + parts.path).lstrip('/')}"
        if path == "/":
            raise BadFlags(f"the registry URI {uri} names no socket")
        return Server(socket=path)
    host, port = _place(parts, uri, CONSUL_PORT)
    return Server(host or CONSUL_HOST, port, tls=_consul_tls(environment) if parts.scheme == "consul-tls" else None)


def docker_server(environment: Mapping[str, str]) -> Server:
    """Where DOCKER_HOST leads, over TLS as Docker's own variables say. Raises BadFlags."""
    url = environment.get("DOCKER_HOST") or DEFAULT_DOCKER
    if url.startswith("unix://"):
        return Server(socket=url.removeprefix("unix://"))
    parts = _split(url)
    if parts.scheme not in DOCKER_PORTS or not parts.hostname:
        raise BadFlags(f"DOCKER_HOST is {url}, and neither unix:///path nor tcp://host:port")
    verify = bool(environment.get("DOCKER_TLS_VERIFY")) or parts.scheme == "https"
    host, port = _place(parts, url, DOCKER_PORTS["https" if verify else "tcp"])
    return Server(host, port, tls=_docker_tls(environment) if verify else None)


def _consul_tls(environment: Mapping[str, str]) -> Tls:
    """CONSUL_TLSCERT and CONSUL_TLSKEY are what older versions of the original read."""
    return Tls(
        environment.get("CONSUL_CACERT", ""),
        environment.get("CONSUL_CLIENT_CERT") or environment.get("CONSUL_TLSCERT", ""),
        environment.get("CONSUL_CLIENT_KEY") or environment.get("CONSUL_TLSKEY", ""),
    )


def _docker_tls(environment: Mapping[str, str]) -> Tls:
    folder = environment.get("DOCKER_CERT_PATH") or f"{environment.get('HOME', '')}/.docker"
    return Tls(f"{folder}/ca.pem", f"{folder}/cert.pem", f"{folder}/key.pem")


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError as error:
        raise BadFlags(f"{url} is no URI: {error}") from error


def _place(parts: SplitResult, uri: str, default_port: int) -> tuple[str, int]:
    try:
        return parts.hostname or "", parts.port or default_port
    except ValueError as error:
        raise BadFlags(f"{uri}: {error}") from error


def _status_address(text: str) -> tuple[str, int] | None:
    if not text:
        return None
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or not 0 <= int(port) < 65536:
        raise BadFlags(f"-status {text} is no [host:]port")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)
