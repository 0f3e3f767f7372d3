"""The time from `ecsconsul rollback` until Consul's DNS answers with a task of the old revision.

Compared with the time that the same program needs, started by hand, until it answers its check.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import bare
from benchmarks.lab import BenchLab, running, write_three_services
from benchmarks.measure import Result, Seconds, median, run, spread
from benchmarks.srv import PATIENCE, Resolver, resolver

SERVICE = "weather"
ROUNDS = 5
LIMIT = 1.5


def measure(folder: Path) -> Iterator[Result]:
    command, request, peer = [], [], []
    with running(write_three_services(folder, "rollback")) as lab:
        dns = resolver(lab.status()["consul"]["dns"])
        for _ in range(ROUNDS):
            run(lab.argv("deploy", SERVICE, "--env", "TEMP_SCALE=F"))
            from_command, from_request = _roll_back(lab, dns)
            command.append(from_command)
            request.append(from_request)
            peer.append(bare.seconds_to_listen(SERVICE))
    floor = "the program, by hand, answers its check"
    for what, ours in (("rollback -> SRV answers", command), ("its request -> SRV", request)):
        yield Result(what, median(ours), floor, median(peer), LIMIT, remark=spread(ours))


def _roll_back(lab: BenchLab, dns: Resolver) -> tuple[Seconds, Seconds]:
    """The seconds from the command's start, and from its request to ECS, until a new task is in the SRV records."""
    before = dns.endpoints(SERVICE)
    begun, begun_at = time.monotonic(), time.time()
    process = subprocess.Popen(lab.argv("rollback", SERVICE), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        answered = dns.await_another(SERVICE, before) - begun
        output, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    if process.returncode:
        raise RuntimeError(f"rollback exited with {process.returncode}:\n{output.decode(errors='replace')}")
    # ECS creates a deployment when it gets the request
    (deployment,) = lab.ecs().describe_services(cluster=lab.name, services=[SERVICE])["services"][0]["deployments"]
    return answered, answered - (deployment["createdAt"].timestamp() - begun_at)
