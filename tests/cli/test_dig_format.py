"""The text of an Answer, line by line against what BIND's dig prints for the same question."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import pytest

from ecsconsul.cli.dig_format import dig_text, short_text
from ecsconsul.consul.dns import Answer, Record, lookup, question
from tests.consul_server import AgentClient, ConsulServer, consul_server

LONG = "a-service-with-a-name-that-is-far-longer-than-the-column-it-goes-in"[:60]


@pytest.fixture(scope="module")
def consul() -> Iterator[ConsulServer]:
    with consul_server('dns_config { service_ttl { web = "3600s" } }') as server:
        api = AgentClient(server.host, server.http)
        for name in ("web", "weather", LONG):
            api.register({"Name": name, "ID": name, "Port": 32768, "Address": "127.0.9.2"})
        api.register({"Name": "weather", "ID": "second", "Port": 8080})
        yield server


def sections(text: str) -> dict[str, list[str]]:
    """Title -> its lines, sorted, for Consul shuffles them."""
    found: dict[str, list[str]] = {}
    for block in text.split("\n\n"):
        title, *lines = block.strip("\n").split("\n")
        if title.endswith(" SECTION:"):
            found[title] = sorted(lines)
    return found


@pytest.mark.parametrize(
    ("name", "rrtype"),
    [
        ("weather", "SRV"),
        ("weather", "A"),
        ("web", "SRV"),
        (LONG, "SRV"),
        ("consul", "SRV"),
        ("i-0a1b.node", "ANY"),
        ("127.0.9.2", "PTR"),
    ],
)
def test_sections_match_dig(consul: ConsulServer, name: str, rrtype: str) -> None:
    if not shutil.which("dig"):
        pytest.skip("BIND's dig is not installed")
    asked = question(name, rrtype=rrtype)
    command = ["dig", f"@{consul.host}", "-p", str(consul.dns), "-t", rrtype, asked]
    theirs = subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout
    # dig pads the OPT section's own lines into the question's block
    theirs = theirs.replace(";; QUESTION", "\n;; QUESTION")
    ours = dig_text(lookup(asked, rrtype, consul.host, consul.dns))
    assert sections(ours) == {k: v for k, v in sections(theirs).items() if "AUTHORITY" not in k}
    assert len(sections(ours)) >= 2


SRV = Record(
    "weather.service.consul.", 0, "SRV", "1 1 32768 7f000902.addr.dc1.consul.",
    priority=1, weight=1, port=32768, target="7f000902.addr.dc1.consul.", address="127.0.9.2",
)  # fmt: skip
A = Record("7f000902.addr.dc1.consul.", 0, "A", "127.0.9.2", address="127.0.9.2")
ANSWER = Answer("weather.service.consul.", "SRV", "NOERROR", "127.0.0.1:8600", "udp", 1.234, (SRV,), (A,))


def test_complete_output() -> None:
    assert dig_text(ANSWER) == (
        ";; QUESTION SECTION:\n"
        ";weather.service.consul.\t\tIN\tSRV\n"
        "\n"
        ";; ANSWER SECTION:\n"
        "weather.service.consul.\t0\tIN\tSRV\t1 1 32768 7f000902.addr.dc1.consul.\n"
        "\n"
        ";; ADDITIONAL SECTION:\n"
        "7f000902.addr.dc1.consul. 0\tIN\tA\t127.0.9.2\n"
        "\n"
        ";; Query time: 1.2 msec\n"
        ";; SERVER: 127.0.0.1#8600 (UDP)"
    )


def test_empty_answer_starts_with_the_status() -> None:
    nothing = Answer("no.service.consul.", "SRV", "NXDOMAIN", "[::1]:8600", "tcp", 0.5, (), ())
    lines = dig_text(nothing).split("\n")
    assert lines[0] == ";; status: NXDOMAIN"
    assert not any("ANSWER" in line or "ADDITIONAL" in line for line in lines)
    assert lines[-1] == ";; SERVER: ::1#8600 (TCP)"
    assert short_text(nothing) == ""


def test_short_prints_only_data() -> None:
    assert short_text(ANSWER) == "1 1 32768 7f000902.addr.dc1.consul."
