"""The Registrator's settings, read from its flags, its URI and its environment.

The flags are gliderlabs/registrator's, followed by our own (docs/registrator.md).
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
    Flag("ip", "", "address to register instead of the one the port is published on", "ADDRESS"),
    Flag("internal", False, "register the container's address and exposed ports instead of published ones"),
    Flag("ip-from-container", False, "register the container's address and port, of published ports only"),
    Flag("explicit", False, "register only containers that have a name in their metadata"),
    Flag("useIpFromLabel", "", "register the address in this container label", "LABEL"),
    Flag("tags", "", "comma-separated tags to append to every service", "TAGS"),
    Flag("deregister", "always", "which exited containers to deregister", "WHEN", ("always", "on-success")),
    Flag("cleanup", False, "deregister services of this host that have no container"),
    Flag("resync", 0, "seconds between full comparisons with Docker and Consul; 0: the default pace", "SECONDS"),
    Flag("ttl", 0, "accepted together with -ttl-refresh; has no effect with Consul", "SECONDS"),
    Flag("ttl-refresh", 0, "accepted together with -ttl; has no effect with Consul", "SECONDS"),
    Flag("retry-attempts", 0, "how often to retry reaching Consul and Docker at startup; -1: forever", "N"),
    Flag("retry-interval", 2000, "milliseconds between these retries", "MS"),
    Flag("on-exit", "deregister", "what to do with the services on exit", "WHAT", ("deregister", "keep")),
    Flag("hostname", "", "prefix of service IDs; default: this host's name", "NAME"),
    Flag("stop-timeout", 120, "seconds until a container that survives a stop signal is registered again", "SECONDS"),
    Flag("label", "", "register only containers with this label", "KEY=VALUE"),
    Flag("status", "", "serve /health and /metrics at this address; the host defaults to loopback", "[HOST:]PORT"),
    Flag("user", "", "when started as root, switch to this user, keeping access to Docker's socket", "NAME"),
    Flag("log-format", "logfmt", "format of log lines", "FORMAT", ("logfmt", "json")),
    Flag("log-level", "info", "lowest level to log", "LEVEL", ("debug", "info", "warning", "error")),
    Flag("version", False, "print the version and exit"),
)  # fmt: skip


@dataclass(frozen=True)
class Tls:
    """The files of a TLS client; "" if not given."""

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""


@dataclass(frozen=True)
class Server:
    """Where an HTTP API listens: a Unix socket if `socket` is set, else host and port, over TLS if `tls` is set."""

    host: str = ""
    port: int = 0
    socket: str = ""
    tls: Tls | None = None

    def __str__(self) -> str:
        return f"unix://{self.socket}" if self.socket else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Retry:
    """How often to retry at startup (FOREVER: no limit), and the seconds between."""

    attempts: int
    interval: float


@dataclass(frozen=True)
class Settings:
    """All settings. The options' `hostname` and `host_address` are filled in at startup."""

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


class VersionRequested(Exception):
    """-version was given."""


def read_settings(argv: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """The settings of a command line. Raises BadFlags, HelpRequested and VersionRequested."""
    values, arguments = parse(argv, FLAGS)
    if values["version"]:
        raise VersionRequested
    if not arguments:
        raise BadFlags("missing required argument for registry URI")
    if len(arguments) > 1:
        raise BadFlags(f"extra unparsed arguments: {' '.join(arguments[1:])}; options come before the registry URI")
    _check(values)
    return Settings(
        consul=consul_server(arguments[0], environment),
        token=environment.get("CONSUL_HTTP_TOKEN", ""),
        docker=docker_server(environment),
        options=Options(
            hostname=values["hostname"],
            ip=values["ip"],
            internal=values["internal"],
            ip_from_container=values["ip-from-container"],
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
    """The text of -help."""
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
            raise BadFlags(f"-{name} must not be negative")
    if values["retry-attempts"] < FOREVER:
        raise BadFlags("-retry-attempts must be -1 (forever) or more")


def consul_server(uri: str, environment: Mapping[str, str]) -> Server:
    """The server in a registry URI. Raises BadFlags."""
    parts = _split(uri)
    if parts.scheme not in SCHEMES:
        raise BadFlags(f"unrecognized registry URI {uri}: the scheme must be one of {', '.join(SCHEMES)}")
    if parts.scheme == "consul-unix":
        # both consul-unix://run/x and consul-unix:///run/x are in use for /run/x
        path = f"/{(parts.netloc + parts.path).lstrip('/')}"
        if path == "/":
            raise BadFlags(f"the registry URI {uri} has no socket path")
        return Server(socket=path)
    host, port = _host_and_port(parts, uri, CONSUL_PORT)
    return Server(host or CONSUL_HOST, port, tls=_consul_tls(environment) if parts.scheme == "consul-tls" else None)


def docker_server(environment: Mapping[str, str]) -> Server:
    """The server in DOCKER_HOST, over TLS if Docker's own variables ask for it. Raises BadFlags."""
    url = environment.get("DOCKER_HOST") or DEFAULT_DOCKER
    if url.startswith("unix://"):
        return Server(socket=url.removeprefix("unix://"))
    parts = _split(url)
    if parts.scheme not in DOCKER_PORTS or not parts.hostname:
        raise BadFlags(f"DOCKER_HOST must be unix:///path or tcp://host:port, not {url}")
    verify = bool(environment.get("DOCKER_TLS_VERIFY")) or parts.scheme == "https"
    host, port = _host_and_port(parts, url, DOCKER_PORTS["https" if verify else "tcp"])
    return Server(host, port, tls=_docker_tls(environment) if verify else None)


def _consul_tls(environment: Mapping[str, str]) -> Tls:
    """Older versions of gliderlabs/registrator read CONSUL_TLSCERT and CONSUL_TLSKEY."""
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
        raise BadFlags(f"{url} isn't a URI: {error}") from error


def _host_and_port(parts: SplitResult, uri: str, default_port: int) -> tuple[str, int]:
    try:
        return parts.hostname or "", parts.port or default_port
    except ValueError as error:
        raise BadFlags(f"{uri}: {error}") from error


def _status_address(text: str) -> tuple[str, int] | None:
    if not text:
        return None
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or not 0 <= int(port) < 65536:
        raise BadFlags(f"-status must be [host:]port, not {text}")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)
