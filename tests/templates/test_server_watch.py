"""What a Consul server counts for the lab's alarms, from answers of a real Consul."""

from __future__ import annotations

import json
import subprocess

from ecsconsul.paths import templates_dir

# boot.sh is not there, and nothing is started
COUNT = """
as_service() { :; }
source "$1"
count_members "$2" "$3" "$4"
echo "$SERVERS $AGENTS $FAILING"
"""
# Consul 1.8; since 1.15 a column is named Partition
MEMBERS = """\
Node     Address          Status  Type    Build  Protocol  DC   Segment
i-0a01   10.31.0.11:8301  alive   server  1.8.7  2         dc1  <all>
i-0a02   10.31.0.12:8301  alive   server  1.8.7  2         dc1  <all>
i-0a03   10.31.0.13:8301  failed  server  1.8.7  2         dc1  <all>
i-0b01   10.31.0.21:8301  alive   client  1.8.7  2         dc1  <default>
i-0b02   10.31.0.22:8301  left    client  1.8.7  2         dc1  <default>
i-0b03   10.31.0.23:8301  failed  client  1.8.7  2         dc1  <default>
"""
ALL_VOTE = ["10.31.0.11:8300", "10.31.0.12:8300", "10.31.0.13:8300"]


def check(node: str, id: str, output: str = "") -> dict[str, str]:
    return {"Node": node, "CheckID": id, "Name": "Service check", "Status": "critical", "Notes": "", "Output": output}


def count(members: str, peers: list[str], checks: list[dict[str, str]]) -> tuple[int, ...]:
    """The numbers of servers, agents and failing checks."""
    texts = [members, json.dumps(peers), json.dumps(checks, separators=(",", ":"))]
    argv = ["bash", "-uc", COUNT, "count", str(templates_dir() / "server-watch.sh"), *texts]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr) == (0, "")
    return tuple(map(int, done.stdout.split()))


def test_alive_members_are_counted_by_their_role() -> None:
    assert count(MEMBERS, ALL_VOTE, []) == (2, 1, 0)


def test_server_that_is_not_in_the_quorum_does_not_count() -> None:
    assert count(MEMBERS, ["10.31.0.11:8300"], []) == (1, 1, 0)
    # an address that begins like another one
    assert count(MEMBERS, ["10.31.0.11:8300", "10.31.0.120:8300"], []) == (1, 1, 0)


def test_checks_of_nodes_that_are_gone_do_not_count() -> None:
    """Their last state stays in the catalog for three days."""
    gone = [check("i-0b03", "serfHealth"), check("i-0b03", "service:a"), check("i-0a03", "serfHealth")]
    assert count(MEMBERS, ALL_VOTE, gone) == (2, 1, 0)
    assert count(MEMBERS, ALL_VOTE, [*gone, check("i-0b01", "service:a"), check("i-0b01", "service:b")]) == (2, 1, 2)


def test_output_of_a_check_cannot_look_like_a_check() -> None:
    output = '"Node":"i-0b01","CheckID":"x" and {"Node":"i-0b01","CheckID":"y"}'
    assert count(MEMBERS, ALL_VOTE, [check("i-0b01", "service:a", output)]) == (2, 1, 1)
