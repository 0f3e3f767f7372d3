"""Flags, URIs and environment variables, and which combinations are refused."""

from __future__ import annotations

import pytest

from ecsconsul.registrator.flags import BadFlags
from ecsconsul.registrator.rules import Options
from ecsconsul.registrator.settings import (
    FOREVER,
    Retry,
    Server,
    Settings,
    Tls,
    VersionRequested,
    help_text,
    read_settings,
)

URI = "consul://10.0.0.9:8500"


def read(line: str, **environment: str) -> Settings:
    return read_settings(line.split(), environment)


def test_defaults() -> None:
    assert read(URI) == Settings(
        consul=Server("10.0.0.9", 8500),
        token="",
        docker=Server(socket="/tmp/docker.sock"),
        options=Options(hostname=""),
        deregister_failed=True,
        cleanup=False,
        resync=0.0,
        retry=Retry(0, 2.0),
        keep_on_exit=False,
        stop_timeout=120.0,
        label="",
        status=None,
        user="",
        log_format="logfmt",
        log_level="info",
    )


def test_flags_of_the_original() -> None:
    line = (
        "-ip 10.0.0.1 -internal -explicit -useIpFromLabel some.label -tags a,b -deregister on-success -cleanup"
        " -resync 60 -ttl 30 -ttl-refresh 10 -retry-attempts -1 -retry-interval 500"
    )
    settings = read(f"{line} {URI}")
    assert settings.options == Options(
        hostname="", ip="10.0.0.1", internal=True, explicit=True, use_ip_from_label="some.label", tags="a,b"
    )
    assert (settings.deregister_failed, settings.cleanup, settings.resync) == (False, True, 60.0)
    assert settings.retry == Retry(FOREVER, 0.5)


def test_our_own_flags() -> None:
    settings = read(
        "-on-exit keep -hostname h -stop-timeout 30 -label a=b -status :9100 -user nobody -log-format json"
        f" -log-level debug {URI}"
    )
    assert (settings.keep_on_exit, settings.options.hostname, settings.stop_timeout, settings.label) == (
        True,
        "h",
        30.0,
        "a=b",
    )
    assert (settings.status, settings.user) == (("127.0.0.1", 9100), "nobody")
    assert (settings.log_format, settings.log_level) == ("json", "debug")


@pytest.mark.parametrize(
    ("uri", "server"),
    [
        ("consul://", Server("127.0.0.1", 8500)),
        ("consul:", Server("127.0.0.1", 8500)),
        ("consul://consul", Server("consul", 8500)),
        ("consul://:8501", Server("127.0.0.1", 8501)),
        ("consul://[fd00::1]:8500/some/path", Server("fd00::1", 8500)),
        ("consul-unix:///run/consul.sock", Server(socket="/run/consul.sock")),
        ("consul-unix://run/consul.sock", Server(socket="/run/consul.sock")),
        ("consul-tls://consul:8501", Server("consul", 8501, tls=Tls("ca", "cert", "key"))),
    ],
)
def test_registry_uris(uri: str, server: Server) -> None:
    settings = read(uri, CONSUL_CACERT="ca", CONSUL_CLIENT_CERT="cert", CONSUL_CLIENT_KEY="key")
    assert settings.consul == server


def test_older_names_of_the_certificate_variables() -> None:
    settings = read("consul-tls://c", CONSUL_TLSCERT="cert", CONSUL_TLSKEY="key")
    assert settings.consul.tls == Tls("", "cert", "key")


@pytest.mark.parametrize(
    ("environment", "server"),
    [
        ({}, Server(socket="/tmp/docker.sock")),
        ({"DOCKER_HOST": ""}, Server(socket="/tmp/docker.sock")),
        ({"DOCKER_HOST": "unix:///var/run/docker.sock"}, Server(socket="/var/run/docker.sock")),
        ({"DOCKER_HOST": "tcp://10.0.0.2:2375"}, Server("10.0.0.2", 2375)),
        ({"DOCKER_HOST": "tcp://10.0.0.2"}, Server("10.0.0.2", 2375)),
        (
            {"DOCKER_HOST": "tcp://d:2376", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/c"},
            Server("d", 2376, tls=Tls("/c/ca.pem", "/c/cert.pem", "/c/key.pem")),
        ),
        (
            {"DOCKER_HOST": "tcp://d", "DOCKER_TLS_VERIFY": "1", "HOME": "/h"},
            Server("d", 2376, tls=Tls("/h/.docker/ca.pem", "/h/.docker/cert.pem", "/h/.docker/key.pem")),
        ),
    ],
)
def test_docker_host(environment: dict[str, str], server: Server) -> None:
    assert read(URI, **environment).docker == server


def test_token_comes_from_the_environment() -> None:
    assert read(URI, CONSUL_HTTP_TOKEN="secret").token == "secret"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "missing required argument"),
        ("-internal", "missing required argument"),
        (f"{URI} -internal", "extra unparsed arguments: -internal; options come before"),
        ("etcd://10.0.0.9:4001", "the scheme must be one of consul, consul-unix, consul-tls"),
        ("10.0.0.9:8500", "the scheme must be one of"),
        ("consul-unix://", "has no socket path"),
        ("consul://h:port", "consul://h:port"),
        ("consul://[fd00::1", "isn't a URI"),
        (f"-ttl 10 {URI}", "-ttl and -ttl-refresh must be specified together or not at all"),
        (f"-ttl-refresh 10 {URI}", "-ttl and -ttl-refresh must be specified together or not at all"),
        (f"-ttl 10 -ttl-refresh 10 {URI}", "-ttl must be greater than -ttl-refresh"),
        (f"-retry-interval 0 {URI}", "-retry-interval must be greater than 0"),
        (f"-retry-attempts -2 {URI}", "-retry-attempts must be -1"),
        (f"-resync -1 {URI}", "-resync must not be negative"),
        (f"-status here {URI}", "-status must be [host:]port, not here"),
        (f"-deregister never {URI}", "-deregister must be"),
        (f"-on-exit leave {URI}", "-on-exit must be"),
    ],
)
def test_invalid_command_lines(line: str, why: str) -> None:
    with pytest.raises(BadFlags) as refused:
        read(line)
    assert why in str(refused.value)


@pytest.mark.parametrize("url", ["ssh://host", "tcp://", "npipe:////./pipe/x", "tcp://h:x"])
def test_unsupported_docker_host(url: str) -> None:
    with pytest.raises(BadFlags):
        read(URI, DOCKER_HOST=url)


def test_version_needs_no_uri() -> None:
    with pytest.raises(VersionRequested):
        read("-version")


def test_help_lists_every_flag_of_the_original() -> None:
    text = help_text("registrator")
    for name in (
        "ip", "internal", "explicit", "useIpFromLabel", "tags", "deregister", "cleanup", "resync", "ttl", "ttl-refresh",
        "retry-attempts", "retry-interval",
    ):  # fmt: skip
        assert f"\n  -{name}" in text
