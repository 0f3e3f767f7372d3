"""The time from `ecsconsul rollback` until Consul's DNS answers with a task of the old revision.

Compared with the time that the same program needs, started by hand, until it answers its check: from the request to
ECS, and from the start of the command, whose own floor is an interpreter with the libraries that it needs.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import bare
from benchmarks.lab import BenchLab, running, write_three_services
from benchmarks.measure import PYTHON, Result, Seconds, median, run, spread, timed
from benchmarks.srv import PATIENCE, Resolver, resolver

SERVICE = "weather"
# what every command that asks AWS needs
IMPORTS = "boto3, click, rich"
ROUNDS = 5
LIMIT = 1.5


def measure(folder: Path) -> Iterator[Result]:
    whole, request, program, both = [], [], [], []
    with running(write_three_services(folder, "rollback")) as lab:
        dns = resolver(lab.status()["consul"]["dns"])
        for _ in range(ROUNDS):
            run(lab.argv("deploy", SERVICE, "--env", "TEMP_SCALE=F"))
            from_command, from_request = _roll_back(lab, dns)
            whole.append(from_command)
            request.append(from_request)
            program.append(bare.seconds_to_listen(SERVICE))
            both.append(timed([PYTHON, "-c", f"import {IMPORTS}"]) + program[-1])
    for what, ours, floor, peer in (
        ("rollback -> SRV answers", whole, f"import {IMPORTS}, then the program", both),
        ("its request -> SRV", request, "the program, by hand, answers its check", program),
    ):
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
