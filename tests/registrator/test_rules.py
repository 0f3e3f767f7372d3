"""The rules as a table: containers, and the exact services they become."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecsconsul.registrator.checks import Endpoint, HttpProbe, TcpProbe, UdpProbe
from ecsconsul.registrator.rules import (
    Container,
    Decision,
    Options,
    PortBinding,
    default_name,
    initial_probe,
    registrations,
)

WEB = (PortBinding(80, host_port=32768),)
PAIR = (PortBinding(443, host_port=4443), PortBinding(80, host_port=8000))
DNS = (PortBinding(53, host_port=5353), PortBinding(53, "udp", host_port=5354))


def decide(
    env: str | tuple[str, ...] = (),
    labels: dict[str, str] | None = None,
    ports: tuple[PortBinding, ...] = WEB,
    **rest: Any,
) -> Decision:
    """`env` as one string is split at spaces; `rest`: fields of Container and Options (-ip is `ip_flag`)."""
    environment = tuple(env.split()) if isinstance(env, str) else env
    details = {name: rest.pop(name) for name in ("image", "name", "ip", "network_mode", "process") if name in rest}
    container = Container(
        **({"id": "0123456789abcdef", "name": "/nginx.0", "image": "acme/nginx:1.2"} | details),
        environment=environment,
        labels=labels or {},
        ports=ports,
        hostname="c1",
    )
    if "ip_flag" in rest:
        rest["ip"] = rest.pop("ip_flag")
    return registrations(container, Options(**({"hostname": "host", "host_address": "10.0.0.5"} | rest)))


def service(port: int = 32768, **changes: Any) -> dict[str, Any]:
    """What the plain container gives, with changes."""
    plain = {"ID": "host:nginx.0:80", "Name": "nginx", "Address": "10.0.0.5", "Port": port}
    return plain | {"Tags": [], "Meta": {}} | changes


def checked(**check: Any) -> dict[str, Any]:
    return service(Check=check)


@dataclass(frozen=True)
class Case:
    id: str
    given: dict[str, Any]
    services: list[dict[str, Any]]
    notes: tuple[str, ...] = field(default=())


def one(id: str, expected: dict[str, Any], *notes: str, **given: Any) -> Case:
    return Case(id, given, [expected], notes)


def none(id: str, *notes: str, **given: Any) -> Case:
    return Case(id, given, [], notes)


def two(id: str, low: dict[str, Any], high: dict[str, Any], **given: Any) -> Case:
    """A group of ports 80 (published at 8000) and 443 (at 4443); what differs from the plain group."""
    first = service(8000, Name="nginx-80") | low
    second = service(4443, ID="host:nginx.0:443", Name="nginx-443") | high
    return Case(id, {"ports": PAIR} | given, [first, second])


HTTP = "http://10.0.0.5:32768"
LONG = "x" * 513
HOST = {"network_mode": "host", "ports": (PortBinding(80),)}
SHARED = {"network_mode": "container:f00", "ports": (PortBinding(80),)}

NAMES = [
    one("default name", service()),
    one("name", service(Name="web"), env="SERVICE_NAME=web"),
    one("key of any case", service(Name="web"), env="SERVICE_Name=web"),
    one("prefix of one case only", service(), env="service_name=web"),
    one("port-specific name", service(Name="web"), env="SERVICE_80_NAME=web"),
    one("name of another port", service(), env="SERVICE_81_NAME=web"),
    one("name by the published port", service(), env="SERVICE_32768_NAME=web"),
    one("name by a padded port", service(), env="SERVICE_080_NAME=web"),
    one("port-specific before generic", service(Name="b"), env="SERVICE_80_NAME=b SERVICE_NAME=a"),
    one("generic before port-specific", service(Name="b"), env="SERVICE_NAME=a SERVICE_80_NAME=b"),
    one("label beats environment", service(Name="b"), env="SERVICE_NAME=a", labels={"SERVICE_NAME": "b"}),
    one(
        "port-specific environment beats generic label",
        service(Name="a"),
        env="SERVICE_80_NAME=a",
        labels={"SERVICE_NAME": "b"},
    ),
    one("empty name", service(), env="SERVICE_NAME="),
    one("empty label takes back", service(), env="SERVICE_NAME=a", labels={"SERVICE_NAME": ""}),
    one("empty port-specific takes back", service(), env="SERVICE_NAME=a SERVICE_80_NAME="),
    one("value with equals sign", service(Name="a=b"), "DNS can't ask for 'a=b'", env="SERVICE_NAME=a=b"),
    one(
        "name with a dot",
        service(Name="My_Service.v2"),
        "SERVICE_NAME to one such as 'My-Service-v2', or ask Consul's API: /v1/health/service/My_Service.v2",
        env="SERVICE_NAME=My_Service.v2",
    ),
    one("name with an underscore", service(Name="my_service"), env="SERVICE_NAME=my_service"),
    one("name of 63 letters", service(Name="x" * 63), env=f"SERVICE_NAME={'x' * 63}"),
    one("name of 64 letters", service(Name="x" * 64), "DNS can't ask for", env=f"SERVICE_NAME={'x' * 64}"),
    one("name of a port and a protocol", service(Name="web"), env="SERVICE_80_TCP_NAME=web SERVICE_80_UDP_NAME=x"),
    one("protocol beats port", service(Name="web"), env="SERVICE_80_tcp_NAME=web SERVICE_80_NAME=x"),
    one("range of ports", service(Name="web"), env="SERVICE_80-90_NAME=web SERVICE_NAME=x"),
    one("range of one protocol", service(Name="x"), env="SERVICE_80-90_udp_NAME=web SERVICE_NAME=x"),
    one("port beats range", service(Name="web"), env="SERVICE_80_NAME=web SERVICE_80-90_NAME=x"),
    one("shorter range first", service(Name="web"), env="SERVICE_80-81_NAME=web SERVICE_1-65535_NAME=x"),
    one("range without the port", service(), env="SERVICE_81-90_NAME=web"),
    one("range from high to low", service(), env="SERVICE_90-80_NAME=web"),
    one("number that is no port", service(), env=f"SERVICE_{'9' * 5000}_NAME=web SERVICE_1-{'9' * 5000}_NAME=web"),
    one("item without equals sign", service(), env="SERVICE_NAME"),
    one("registry port, tag and digest", service(Name="b"), image="host:5000/a/b:tag@sha256:" + "0" * 64),
    one(
        "image without a name",
        service(Name="nginx-0"),
        image="",
        name="/nginx-0",
        env="SERVICE_ID=host:nginx.0:80",
    ),
    one(
        "image without a name, by compose", service(Name="web"), image="", labels={"com.docker.compose.service": "web"}
    ),
    none("nothing with a name", "no name can be derived", image="", name="/"),
    none("explicit", "-explicit", explicit=True),
    none("explicit with an empty name", "-explicit", explicit=True, env="SERVICE_NAME="),
    one("explicit and named", service(Name="web"), explicit=True, env="SERVICE_NAME=web"),
    one("explicit and named by the port", service(Name="web"), explicit=True, env="SERVICE_80_NAME=web"),
]

GROUPS = [
    two("group", {}, {}),
    two("group with a name", {"Name": "web-80"}, {"Name": "web-443"}, env="SERVICE_NAME=web"),
    two("port-specific name stays bare", {"Name": "http"}, {"Name": "nginx-443"}, env="SERVICE_80_NAME=http"),
    two(
        "port-specific beside generic",
        {"Name": "http"},
        {"Name": "web-443"},
        env="SERVICE_NAME=web SERVICE_80_NAME=http",
    ),
    two("empty port-specific stays bare", {"Name": "nginx"}, {}, env="SERVICE_80_NAME="),
    Case(
        "group counted before ignore",
        {"ports": PAIR, "env": "SERVICE_443_IGNORE=1"},
        [service(8000, Name="nginx-80")],
        ("SERVICE_IGNORE",),
    ),
    Case(
        "unpublished ports are not counted",
        {"ports": (PortBinding(443), PortBinding(80, host_port=8000))},
        [service(8000)],
        ("443/tcp: not registered: not published",),
    ),
    Case(
        "unpublished ports count with -internal",
        {"ports": (PortBinding(443), PortBinding(80, host_port=8000)), "internal": True, "ip": "172.17.0.2"},
        [
            service(80, Name="nginx-80", Address="172.17.0.2"),
            service(443, ID="host:nginx.0:443", Name="nginx-443", Address="172.17.0.2"),
        ],
    ),
    two(
        "explicit group, one named",
        {"Name": "http"},
        {"Name": "tls"},
        env="SERVICE_80_NAME=http SERVICE_443_NAME=tls",
    ),
    Case(
        "one name for a range of ports",
        {"ports": PAIR, "env": "SERVICE_80-443_NAME=web"},
        [service(8000, Name="web"), service(4443, ID="host:nginx.0:443", Name="web")],
    ),
    Case(
        "range ignored",
        {"ports": PAIR, "env": "SERVICE_100-500_IGNORE=true"},
        [service(8000, Name="nginx-80")],
        ("SERVICE_IGNORE",),
    ),
    Case(
        "names by protocol",
        {"ports": DNS, "env": "SERVICE_53_tcp_NAME=dns SERVICE_53_udp_NAME=dns-udp"},
        [
            service(5353, ID="host:nginx.0:53", Name="dns"),
            service(5354, ID="host:nginx.0:53:udp", Name="dns-udp", Tags=["udp"]),
        ],
    ),
    two("port-specific tags", {"Tags": ["a"]}, {"Tags": ["b"]}, env="SERVICE_TAGS=b SERVICE_80_TAGS=a"),
    two("tags taken back", {}, {"Tags": ["b"]}, env="SERVICE_TAGS=b SERVICE_80_TAGS="),
    two("id of one port", {"ID": "http.1"}, {}, env="SERVICE_80_ID=http.1"),
    Case(
        "one id for a group",
        {"ports": PAIR, "env": "SERVICE_ID=x"},
        [service(8000, ID="x", Name="nginx-80")],
        ("the ID 'x' is taken",),
    ),
    Case(
        "an ignored port leaves its id to others",
        {"ports": PAIR, "env": "SERVICE_ID=x SERVICE_80_IGNORE=1"},
        [service(4443, ID="x", Name="nginx-443")],
        ("SERVICE_IGNORE",),
    ),
    Case(
        "tcp and udp on one port",
        {"ports": DNS},
        [
            service(5353, ID="host:nginx.0:53", Name="nginx-53"),
            service(5354, ID="host:nginx.0:53:udp", Name="nginx-53", Tags=["udp"]),
        ],
    ),
    two("check of one port", {}, {"Check": {"TTL": "9s"}}, env="SERVICE_443_CHECK_TTL=9s"),
    two("check taken back", {}, {"Check": {"TTL": "9s"}}, env="SERVICE_CHECK_TTL=9s SERVICE_80_CHECK_TTL="),
]

IGNORED = [
    none("ignore", "SERVICE_IGNORE", env="SERVICE_IGNORE=1"),
    none("ignore whatever the value", "SERVICE_IGNORE", env="SERVICE_IGNORE=false"),
    none("ignore by label", "SERVICE_IGNORE", labels={"SERVICE_IGNORE": "true"}),
    none("ignore one port", "SERVICE_IGNORE", env="SERVICE_80_IGNORE=x"),
    one("empty ignore", service(), env="SERVICE_IGNORE="),
    one("ignore taken back for a port", service(), env="SERVICE_IGNORE=1 SERVICE_80_IGNORE="),
    none("no ports", ports=()),
    none("only exposed", "not published", ports=(PortBinding(80),)),
    none("host port zero", "not published", ports=(PortBinding(80, host_port=0),)),
]

IDS = [
    one("id", service(ID="x"), env="SERVICE_ID=x"),
    one("name without slash", service(ID="host:c:80"), name="c"),
    one("host in the id", service(ID="i-0a1b:nginx.0:80"), hostname="i-0a1b"),
    one("udp", service(ID="host:nginx.0:80:udp", Tags=["udp"]), ports=(PortBinding(80, "udp", 32768),)),
    one(
        "id replaces udp's suffix",
        service(ID="x", Tags=["udp"]),
        env="SERVICE_ID=x",
        ports=(PortBinding(80, "udp", 32768),),
    ),
]

TAGS = [
    one("tags in order", service(Tags=["b", "a"]), env="SERVICE_TAGS=b,a"),
    one("flag's tags after", service(Tags=["a", "x", "y"]), env="SERVICE_TAGS=a", tags="x,y"),
    one(
        "udp last",
        service(ID="host:nginx.0:80:udp", Tags=["a", "x", "udp"]),
        env="SERVICE_TAGS=a",
        tags="x",
        ports=(PortBinding(80, "udp", 32768),),
    ),
    one("escaped comma", service(Tags=["a,b", "c"]), env=r"SERVICE_TAGS=a\,b,c"),
    one("escaped comma first", service(Tags=[",a"]), env=r"SERVICE_TAGS=\,a"),
    one("other backslashes stay", service(Tags=[r"a\b", "c\\,d"]), env=r"SERVICE_TAGS=a\b,c\\,d"),
    one("empty tags", service(Tags=["a", "b"]), env="SERVICE_TAGS=,a,,b,"),
    one("blanks stay", service(Tags=["a", " b"]), env=("SERVICE_TAGS=a, b",)),
]

ADDRESSES = [
    one(
        "published on one address",
        service(Address="10.1.1.1"),
        ports=(PortBinding(80, "tcp", 32768, "10.1.1.1"),),
    ),
    one("published on 0.0.0.0", service(), ports=(PortBinding(80, "tcp", 32768, "0.0.0.0"),)),
    one("published on ::", service(), ports=(PortBinding(80, "tcp", 32768, "::"),)),
    one(
        "first binding only",
        service(1, Address="10.1.1.1"),
        ports=(PortBinding(80, "tcp", 1, "10.1.1.1"), PortBinding(80, "tcp", 2, "10.2.2.2")),
    ),
    one("published overrides exposed", service(), ports=(PortBinding(80), PortBinding(80, host_port=32768))),
    one("-ip", service(Address="1.2.3.4"), ip_flag="1.2.3.4"),
    one(
        "-ip beats the binding",
        service(Address="1.2.3.4"),
        ip_flag="1.2.3.4",
        ports=(PortBinding(80, "tcp", 32768, "10.1.1.1"),),
    ),
    one("-ip 0.0.0.0", service(), ip_flag="0.0.0.0"),
    one("-internal", service(80, Address="172.17.0.2"), internal=True, ip="172.17.0.2"),
    one(
        "-internal, only exposed",
        service(80, Address="172.17.0.2"),
        internal=True,
        ip="172.17.0.2",
        ports=(PortBinding(80),),
    ),
    one(
        "-ip ignored with -internal",
        service(80, Address="172.17.0.2"),
        internal=True,
        ip="172.17.0.2",
        ip_flag="1.2.3.4",
    ),
    one("-internal without an address", service(80, Address=""), "without an address", internal=True),
    one("label", service(Address="10.9.9.9"), labels={"ip": "10.9.9.9"}, use_ip_from_label="ip"),
    one("label with mask", service(Address="10.9.9.9"), labels={"ip": "10.9.9.9/24"}, use_ip_from_label="ip"),
    one(
        "label beats -ip",
        service(Address="10.9.9.9"),
        labels={"ip": "10.9.9.9"},
        use_ip_from_label="ip",
        ip_flag="1.2.3.4",
    ),
    one(
        "label beats -internal",
        service(80, Address="10.9.9.9"),
        labels={"ip": "10.9.9.9"},
        use_ip_from_label="ip",
        internal=True,
        ip="172.17.0.2",
    ),
    one("label missing", service(), "no address in 'ip'", use_ip_from_label="ip"),
    one("label empty", service(), "no address in 'ip'", labels={"ip": "/24"}, use_ip_from_label="ip"),
    one("host's address unknown", service(Address=""), "without an address", host_address=""),
    one("host networking", service(80), **HOST),
    one("host networking, -ip", service(80, Address="1.2.3.4"), ip_flag="1.2.3.4", **HOST),
    one("host networking, -internal", service(80), internal=True, **HOST),
    one(
        "no network of its own, address by label",
        service(80, Address="10.9.9.9"),
        labels={"ip": "10.9.9.9"},
        use_ip_from_label="ip",
        network_mode="none",
        ports=(PortBinding(80),),
    ),
    one("another container's network", service(80, Address="172.17.0.9"), ip="172.17.0.9", **SHARED),
    one(
        "another container's network beats -ip",
        service(80, Address="172.17.0.9"),
        ip="172.17.0.9",
        ip_flag="1.2.3.4",
        **SHARED,
    ),
    one("another container's network, unknown", service(80), **SHARED),
    one(
        "another container's network beats the label",
        service(80, Address="172.17.0.9"),
        ip="172.17.0.9",
        labels={"ip": "10.9.9.9"},
        use_ip_from_label="ip",
        **SHARED,
    ),
    one("a network of one's own", service(), network_mode="shop_default", ip="172.20.0.3"),
]

META = [
    one("meta", service(Meta={"region": "us2"}), env="SERVICE_REGION=us2"),
    one("meta of the port", service(Meta={"sni": "b"}), env="SERVICE_SNI=a SERVICE_80_SNI=b"),
    one("underscores stay", service(Meta={"a_b_c": "1"}), env="SERVICE_A_B_C=1"),
    one("a bare number is a key", service(Meta={"80": "x"}), env="SERVICE_80=x"),
    one("empty meta", service(), env="SERVICE_REGION="),
    one("check keys are not meta", service(), env="SERVICE_CHECK_INTERVAL=5s SERVICE_CHECK_TIMEOUT=1s"),
    one("an unknown check key is", service(Meta={"check_htpp": "/"}), env="SERVICE_CHECK_HTPP=/"),
    one("bad key", service(Meta={"a": "1"}), "meta 'b.c' left out", env="SERVICE_B.C=1 SERVICE_A=1"),
    one("no key", service(), "meta '' left out", env="SERVICE_=1"),
    one("no key after the port", service(), "meta '' left out", env="SERVICE_80_=1"),
    one("key too long", service(), "128 letters", env="SERVICE_" + "K" * 129 + "=1"),
    one("longest key", service(Meta={"k" * 128: "1"}), env="SERVICE_" + "K" * 128 + "=1"),
    one("reserved key", service(), "reserves the prefix 'consul-'", env="SERVICE_CONSUL-X=1"),
    one("value too long", service(), "512 bytes", env=f"SERVICE_A={LONG}"),
    one("longest value", service(Meta={"a": LONG[1:]}), env=f"SERVICE_A={LONG[1:]}"),
    one("value too long in bytes", service(), "512 bytes", env="SERVICE_A=" + "é" * 257),
    one(
        "65 pairs",
        service(Meta={f"k{n:02}": "x" for n in range(64)}),
        "meta 'k64' left out: Consul accepts at most 64",
        env=tuple(f"SERVICE_K{n:02}=x" for n in range(65)),
    ),
]

CHECKS = [
    one("http", checked(HTTP=f"{HTTP}/health", Interval="10s"), env="SERVICE_CHECK_HTTP=/health"),
    one("http without slash", checked(HTTP=f"{HTTP}/health", Interval="10s"), env="SERVICE_CHECK_HTTP=health"),
    one(
        "http with all options",
        checked(
            HTTP=f"{HTTP}/",
            Method="HEAD",
            Interval="5s",
            Timeout="1s",
            Status="passing",
            DeregisterCriticalServiceAfter="10m",
        ),
        env="SERVICE_CHECK_HTTP=/ SERVICE_CHECK_HTTP_METHOD=HEAD SERVICE_CHECK_INTERVAL=5s"
        " SERVICE_CHECK_TIMEOUT=1s SERVICE_CHECK_INITIAL_STATUS=passing SERVICE_CHECK_DEREGISTER_AFTER=10m",
    ),
    one(
        "https",
        checked(HTTP="https://10.0.0.5:32768/", Method="PUT", Interval="10s"),
        env="SERVICE_CHECK_HTTPS=/ SERVICE_CHECK_HTTPS_METHOD=PUT SERVICE_CHECK_HTTP_METHOD=HEAD",
    ),
    one(
        "https, unverified",
        checked(HTTP="https://10.0.0.5:32768/", TLSSkipVerify=True, Interval="10s"),
        env="SERVICE_CHECK_HTTPS=/ SERVICE_CHECK_TLS_SKIP_VERIFY=1",
    ),
    one(
        "http before all",
        checked(HTTP=f"{HTTP}/", Interval="10s"),
        env="SERVICE_CHECK_TCP=1 SERVICE_CHECK_HTTP=/",
    ),
    one("ttl before tcp", checked(TTL="30s"), env="SERVICE_CHECK_TCP=1 SERVICE_CHECK_TTL=30s"),
    one(
        "ttl has no interval",
        checked(TTL="30s", Status="warning"),
        env="SERVICE_CHECK_TTL=30s SERVICE_CHECK_INTERVAL=5s SERVICE_CHECK_TIMEOUT=1s"
        " SERVICE_CHECK_INITIAL_STATUS=warning",
    ),
    one("tcp", checked(TCP="10.0.0.5:32768", Interval="10s"), env="SERVICE_CHECK_TCP=true"),
    one("tcp whatever the value", checked(TCP="10.0.0.5:32768", Interval="10s"), env="SERVICE_CHECK_TCP=false"),
    one("grpc", checked(GRPC="10.0.0.5:32768", Interval="10s"), env="SERVICE_CHECK_GRPC=true"),
    one(
        "grpc over tls",
        checked(GRPC="10.0.0.5:32768", GRPCUseTLS=True, TLSSkipVerify=True, Interval="10s", Timeout="2s"),
        env="SERVICE_CHECK_GRPC=1 SERVICE_CHECK_GRPC_USE_TLS=1 SERVICE_CHECK_TLS_SKIP_VERIFY=1"
        " SERVICE_CHECK_TIMEOUT=2s",
    ),
    one(
        "grpc skips verification only over tls",
        checked(GRPC="10.0.0.5:32768", Interval="10s"),
        env="SERVICE_CHECK_GRPC=1 SERVICE_CHECK_TLS_SKIP_VERIFY=1",
    ),
    one(
        "script",
        checked(Args=["nc", "-z", "10.0.0.5", "32768"], Interval="10s"),
        env=("SERVICE_CHECK_SCRIPT=nc -z $SERVICE_IP $SERVICE_PORT",),
    ),
    one(
        "script's quotes",
        checked(Args=["sh", "-c", "nc 10.0.0.5 32768 | grep OK"], Interval="10s"),
        env=("SERVICE_CHECK_SCRIPT=sh -c 'nc $SERVICE_IP $SERVICE_PORT | grep OK'",),
    ),
    one(
        "script that wants a shell",
        checked(Args=["nc", "10.0.0.5", "|", "grep", "OK"], Interval="10s"),
        "without a shell",
        env=("SERVICE_CHECK_SCRIPT=nc $SERVICE_IP | grep OK",),
    ),
    one("cmd", checked(Args=["true"], Interval="10s"), env="SERVICE_CHECK_CMD=true SERVICE_CHECK_SCRIPT=false"),
    none("script with an open quote", "can't be split", env=("SERVICE_CHECK_SCRIPT=echo 'a",)),
    none("script without a command", "has no command", env=("SERVICE_CHECK_SCRIPT= ",)),
    none("ttl that is none", "check_ttl '30'", env="SERVICE_CHECK_TTL=30"),
    one(
        "bad interval",
        checked(TCP="10.0.0.5:32768", Interval="10s"),
        "check_interval '5' ignored",
        env="SERVICE_CHECK_TCP=1 SERVICE_CHECK_INTERVAL=5",
    ),
    one(
        "bad timeout, status and deregistration",
        checked(TCP="10.0.0.5:32768", Interval="10s"),
        "check_initial_status 'up'",
        "check_deregister_after 'never'",
        "check_timeout '-1s'",
        env="SERVICE_CHECK_TCP=1 SERVICE_CHECK_TIMEOUT=-1s SERVICE_CHECK_INITIAL_STATUS=up"
        " SERVICE_CHECK_DEREGISTER_AFTER=never",
    ),
    one(
        "IPv6",
        service(Address="fd00::1", Check={"HTTP": "http://[fd00::1]:32768/", "Interval": "10s"}),
        env="SERVICE_CHECK_HTTP=/",
        ip_flag="[fd00::1]",
    ),
    one(
        "check at the registered address",
        service(80, Address="172.17.0.2", Check={"TCP": "172.17.0.2:80", "Interval": "10s"}),
        env="SERVICE_CHECK_TCP=1",
        internal=True,
        ip="172.17.0.2",
    ),
    one(
        "check without an address",
        service(Address="", Check={"TCP": "localhost:32768", "Interval": "10s"}),
        "without an address",
        env="SERVICE_CHECK_TCP=1",
        host_address="",
    ),
    one("options without a check", service(), env="SERVICE_CHECK_INITIAL_STATUS=passing"),
]

UDP = (PortBinding(53, "udp", host_port=5354),)
BOTH = (PortBinding(53, host_port=5354), PortBinding(53, "udp", host_port=5354))

CHECKS += [
    one(
        "tcp check of a UDP port",
        service(5354, ID="host:nginx.0:53:udp", Tags=["udp"]),
        "53/udp: check_tcp left out: it needs TCP",
        ports=UDP,
        env="SERVICE_CHECK_TCP=1",
    ),
    one(
        "script check of a UDP port",
        service(5354, ID="host:nginx.0:53:udp", Tags=["udp"], Check={"TTL": "9s"}),
        ports=UDP,
        env="SERVICE_CHECK_TTL=9s",
    ),
    Case(
        "tcp check of a port that has both",
        {"ports": BOTH, "env": "SERVICE_CHECK_TCP=1"},
        [
            service(5354, ID="host:nginx.0:53", Name="nginx-53", Check={"TCP": "10.0.0.5:5354", "Interval": "10s"}),
            service(
                5354,
                ID="host:nginx.0:53:udp",
                Name="nginx-53",
                Tags=["udp"],
                Check={"TCP": "10.0.0.5:5354", "Interval": "10s"},
            ),
        ],
    ),
]

OVERRIDES = [
    one("tags that others may change", service(EnableTagOverride=True), env="SERVICE_ENABLE_TAG_OVERRIDE=true"),
    one("tags that others may not change", service(), env="SERVICE_ENABLE_TAG_OVERRIDE=false"),
    one("neither yes nor no", service(), "enable_tag_override 'yes' ignored", env="SERVICE_ENABLE_TAG_OVERRIDE=yes"),
]

TEMPLATES = [
    one(
        "template in a tag",
        service(Tags=["host-c1", "web"]),
        env="SERVICE_TAGS=host-{{.Config.Hostname}},web",
    ),
    one("template in -tags", service(Tags=["acme/nginx:1.2"]), tags="{{.Config.Image}}"),
    one(
        "template that has no such field",
        service(Tags=["b"]),
        "tags '{{.Config.Hostnam}}' left out: the container has no .Config.Hostnam",
        env="SERVICE_TAGS={{.Config.Hostnam}}",
        tags="b",
    ),
]

OWN = {"ip_from_container": True, "ip": "172.17.0.2"}
ADDRESSES += [
    one("address of the container", service(80, Address="172.17.0.2"), **OWN),
    none("address of the container, unpublished port", "not published", ports=(PortBinding(80),), **OWN),
]

CASES = OVERRIDES + TEMPLATES + NAMES + GROUPS + IGNORED + IDS + TAGS + ADDRESSES + META + CHECKS


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_services_of_a_container(case: Case) -> None:
    decision = decide(**case.given)
    assert [registration.payload() for registration in decision.registrations] == case.services
    assert len(decision.notes) == len(case.notes)
    for note in case.notes:
        assert any(note in str(given) for given in decision.notes), decision.notes


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("nginx", "nginx"),
        ("acme/nginx:1.2", "nginx"),
        ("localhost:5000/nginx", "nginx"),
        ("nginx@sha256:" + "a" * 64, "nginx"),
        ("123.dkr.ecr.us-east-1.amazonaws.com/lab/weather:v1@sha256:" + "a" * 64, "weather"),
        ("sha256:" + "a" * 64, "sha256"),
        ("", ""),
    ],
)
def test_default_name(image: str, name: str) -> None:
    assert default_name(image) == name


def test_a_choice_is_not_a_mistake() -> None:
    (requested,) = decide("SERVICE_IGNORE=1").notes
    (mistaken,) = decide("SERVICE_CONSUL-X=1").notes
    assert (requested.mistake, mistaken.mistake) == (False, True)


def test_probed_status_replaces_the_initial_one() -> None:
    (registration,) = decide("SERVICE_CHECK_TCP=1 SERVICE_CHECK_INITIAL_STATUS=warning").registrations
    assert registration.payload("passing")["Check"]["Status"] == "passing"  # type: ignore[index]
    assert registration.payload()["Check"]["Status"] == "warning"  # type: ignore[index]


def test_status_is_ignored_without_a_check() -> None:
    (registration,) = decide().registrations
    assert registration.payload("passing") == service()


@pytest.mark.parametrize(
    ("env", "probe"),
    [
        ("SERVICE_CHECK_HTTP=/health", HttpProbe("http://10.0.0.5:32768/health")),
        (
            "SERVICE_CHECK_HTTP=/ SERVICE_CHECK_HTTP_METHOD=HEAD SERVICE_CHECK_TIMEOUT=1m1.5s",
            HttpProbe("http://10.0.0.5:32768/", "HEAD", 61.5),
        ),
        (
            "SERVICE_CHECK_HTTPS=/ SERVICE_CHECK_TLS_SKIP_VERIFY=1",
            HttpProbe("https://10.0.0.5:32768/", tls_skip_verify=True),
        ),
        ("SERVICE_CHECK_TCP=1 SERVICE_CHECK_TIMEOUT=500ms", TcpProbe("10.0.0.5", 32768, 0.5)),
        ("SERVICE_CHECK_TCP=1 SERVICE_CHECK_INITIAL_STATUS=critical", None),
        ("SERVICE_CHECK_TTL=10s", None),
        ("SERVICE_CHECK_SCRIPT=true", None),
        ("SERVICE_CHECK_GRPC=1", None),
        ("", None),
    ],
)
def test_initial_probe(env: str, probe: object) -> None:
    (registration,) = decide(env).registrations
    assert initial_probe(registration) == probe


@pytest.mark.parametrize(
    ("changes", "behind"),
    [
        ({}, Endpoint("172.17.0.2", 80)),
        ({"internal": True}, None),
        ({"network_mode": "host"}, None),
        ({"ports": (PortBinding(53, "udp", 32768),)}, None),
        ({"ip": ""}, None),
    ],
)
def test_container_address_behind_a_port_mapping(changes: dict[str, Any], behind: object) -> None:
    (registration,) = decide(**{"ip": "172.17.0.2", **changes}).registrations
    assert registration.behind == behind
    assert "172.17.0.2" not in str(registration.payload()) or changes.get("internal")


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"process": 7}, UdpProbe(7, 53)),
        ({"process": 7, "ip": ""}, UdpProbe(7, 32768, "10.0.0.5")),
        ({}, None),
        ({"process": 7, "ports": (PortBinding(53, "tcp", 32768),)}, None),
    ],
)
def test_socket_of_a_udp_port(changes: dict[str, Any], found: object) -> None:
    """A container has a network of its own; a process hasn't."""
    udp = {"ip": "172.17.0.2", "ports": (PortBinding(53, "udp", 32768),)}
    (registration,) = decide(**{**udp, **changes}).registrations
    assert registration.socket == found


def test_initial_probe_over_ipv6() -> None:
    (registration,) = decide("SERVICE_CHECK_TCP=1", ip_flag="::1").registrations
    assert initial_probe(registration) == TcpProbe("::1", 32768)


# Keys that mean something, so that the search does not spend itself on SERVICE_<noise>.
KEYS = st.sampled_from(
    [
        "NAME",
        "ID",
        "TAGS",
        "IGNORE",
        "REGION",
        "CHECK_HTTP",
        "CHECK_HTTPS",
        "CHECK_CMD",
        "CHECK_SCRIPT",
        "CHECK_TTL",
        "CHECK_TCP",
        "CHECK_GRPC",
        "CHECK_INTERVAL",
        "CHECK_TIMEOUT",
        "CHECK_INITIAL_STATUS",
        "CHECK_DEREGISTER_AFTER",
        "CHECK_HTTP_METHOD",
    ]
) | st.text(max_size=8)
NAME = st.builds("SERVICE_{}{}".format, st.sampled_from(["", "80_", "53_", "080_"]), KEYS)
VALUE = st.text(max_size=20) | st.sampled_from(["/health", "10s", "30", "passing", "it's", "a,b", "x" * 600])
METADATA = st.dictionaries(NAME.filter(lambda name: "=" not in name), VALUE, max_size=12)
PORTS = st.lists(
    st.builds(
        PortBinding,
        st.sampled_from([53, 80, 443]),
        st.sampled_from(["tcp", "udp"]),
        st.none() | st.integers(1, 65535),
        st.sampled_from(["", "0.0.0.0", "::", "10.1.1.1"]),
    ),
    max_size=5,
).map(tuple)


def items(metadata: dict[str, str]) -> tuple[str, ...]:
    return tuple(f"{name}={value}" for name, value in metadata.items())


@given(METADATA, METADATA, PORTS, st.booleans(), st.booleans())
def test_any_metadata_gives_what_consul_takes(
    env: dict[str, str],
    labels: dict[str, str],
    ports: tuple[PortBinding, ...],
    internal: bool,
    explicit: bool,
) -> None:
    decided = decide(items(env), labels, ports, internal=internal, explicit=explicit, ip="172.17.0.2")
    ids = [registration.id for registration in decided.registrations]
    assert len(ids) == len(set(ids))
    for registration in decided.registrations:
        assert registration.name
        assert registration.id
        assert 1 <= registration.port <= 65535
        assert registration.address not in ("0.0.0.0", "::")
        assert "" not in registration.tags
        assert all(len(value.encode()) <= 512 for value in registration.meta.values())
        assert not {"name", "id", "tags", "ignore", "check_http", "check_ttl"} & set(registration.meta)


@given(
    PORTS,
    METADATA.map(lambda env: {k: v for k, v in env.items() if not k.upper().endswith(("_ID", "IGNORE"))}),
)
def test_each_published_port_has_an_id_of_its_own(ports: tuple[PortBinding, ...], env: dict[str, str]) -> None:
    env = {name: value for name, value in env.items() if "CHECK" not in name.upper()}
    published = {(port.container_port, port.protocol) for port in ports if port.host_port}
    decided = decide(items(env), ports=ports)
    assert len({registration.id for registration in decided.registrations}) == len(published)


@given(st.dictionaries(st.from_regex(r"[A-Z_.\-]{1,12}|CONSUL-[A-Z]", fullmatch=True), VALUE, max_size=90))
def test_meta_limits_hold(pairs: dict[str, str]) -> None:
    env = tuple(f"SERVICE_X{key}={value}" for key, value in pairs.items())
    (registration,) = decide(env).registrations
    assert len(registration.meta) <= 64
    given = {f"x{key.lower()}": value for key, value in pairs.items() if value}
    left_out = len(given) - len(registration.meta)
    assert registration.meta.items() <= given.items()
    assert left_out == len(decide(env).notes)


@given(METADATA, st.randoms(use_true_random=False))
def test_the_order_of_the_environment_means_nothing(env: dict[str, str], random: Any) -> None:
    by_key = {name.lower(): f"{name}={value}" for name, value in env.items()}
    shuffled = list(by_key.values())
    random.shuffle(shuffled)
    assert decide(tuple(shuffled)) == decide(tuple(by_key.values()))


@given(KEYS.filter(lambda key: "=" not in key), VALUE, VALUE, METADATA)
def test_port_specific_beats_generic(key: str, specific: str, generic: str, labels: dict[str, str]) -> None:
    labels = {name: value for name, value in labels.items() if not name.startswith("SERVICE_80_")}
    own = f"SERVICE_80_{key}={specific}"
    alone = decide((own,), {n: v for n, v in labels.items() if n.lower() != f"service_{key}".lower()})
    beside = decide((f"SERVICE_{key}={generic}", own), labels)
    assert beside == alone


LONG = 20_000


@pytest.mark.parametrize("piece", ["a", "1", "1.", ",", "\\", "\\,", " ", "/", "-", "_", "$", "{{", "{{ }}", "a.", "'"])
@pytest.mark.parametrize("key", ["NAME", "TAGS", "CHECK_HTTP", "CHECK_CMD", "CHECK_TTL", "80-90_TCP_NAME", ""])
def test_long_metadata_cost_no_more_than_their_length(key: str, piece: str) -> None:
    """Whoever starts a container writes them: one must not keep the Registrator from all others."""
    before = time.process_time()
    decide((f"SERVICE_{key}={piece * LONG}", f"SERVICE_CHECK_INTERVAL={piece * LONG}", f"SERVICE_{piece * LONG}=x"))
    assert time.process_time() - before < 2.0
