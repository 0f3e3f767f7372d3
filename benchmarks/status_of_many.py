"""`status` on a catalog of 200 services with 10 instances each: its requests counted, and its time beside the biggest.

In one process, so that what is measured is the work and not the imports.
"""

from __future__ import annotations

import http.client
import json
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from benchmarks.lab import running, write_three_services
from benchmarks.measure import Result, Seconds, in_turn, median, spread
from ecsconsul.cli.factory import open_target
from ecsconsul.config import loader as config
from ecsconsul.config.lab import Lab
from ecsconsul.deploy import lab_status as status
from ecsconsul.targets.base import ConsulAddress, Target

SERVICES, INSTANCES = 200, 10
ROUNDS = 75
LIMIT = 2.5


def measure(folder: Path) -> Iterator[Result]:
    with running(write_three_services(folder, "status")) as bench:
        lab = config.load(bench.config)
        with open_target(lab.target, lab).consul() as address:
            before, _ = _requests(lab)
            _fill(address, bench.token())
            after, consul_paths = _requests(lab)
            if after != before:
                raise RuntimeError(f"status made {before} requests on a small catalog, {after} on a large one")
            biggest, size = _biggest(address, consul_paths)
            # the clients are made once: what is compared is the work and not boto3's start
            target = open_target(lab.target, lab)
            ours, peer = in_turn(lambda: _collect(lab, target), lambda: _get(address, biggest)[0], ROUNDS)
    name, remark = f"status, {SERVICES} x {INSTANCES}", f"{after} requests as with 3 services; {spread(ours)}"
    yield Result(name, median(ours), f"GET {biggest} ({size / 1e6:.1f} MB)", median(peer), LIMIT, remark=remark)


def _collect(lab: Lab, target: Target) -> Seconds:
    begun = time.perf_counter()
    found = status.collect(lab, target)
    seconds = time.perf_counter() - begun
    if not found["healthy"]:
        raise RuntimeError("the lab is not healthy")
    return seconds


def _requests(lab: Lab) -> tuple[int, list[str]]:
    """How many requests `status` makes, to AWS and to Consul, and the paths of those to Consul."""
    target = open_target(lab.target, lab)
    with _requests_seen() as seen:
        status.collect(lab, target)
    return len(seen), sorted({path for path in seen if path.startswith("/v1/")})


@contextmanager
def _requests_seen() -> Iterator[list[str]]:
    """The paths of all requests, as urllib3 (which carries boto3's and python-consul2's) logs them."""
    paths: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            words = record.getMessage().split('"')
            if len(words) > 1 and words[1].endswith("HTTP/1.1"):
                paths.append(words[1].split()[1])

    log, listener = logging.getLogger("urllib3.connectionpool"), Listener()
    log.setLevel(logging.DEBUG)
    log.addHandler(listener)
    try:
        yield paths
    finally:
        log.removeHandler(listener)
        log.setLevel(logging.NOTSET)


def _fill(address: ConsulAddress, token: str) -> None:
    """Register the services straight in the catalog, on nodes of their own."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda node: _fill_node(address, token, node), range(INSTANCES)))


def _fill_node(address: ConsulAddress, token: str, node: int) -> None:
    connection = http.client.HTTPConnection(address.http_host, address.http_port, timeout=30)
    for number in range(SERVICES):
        body = json.dumps(_entry(f"many-{number:03}", node))
        connection.request("PUT", "/v1/catalog/register", body, {"X-Consul-Token": token})
        response = connection.getresponse()
        said = response.read()
        if response.status != 200:
            raise RuntimeError(f"{response.status} {said.decode(errors='replace')}")
    connection.close()


def _entry(service: str, node: int) -> dict[str, Any]:
    # Consul takes a node with a check called serfHealth for an agent that has failed, and removes it
    check = {
        "CheckID": f"service:{service}",
        "Name": f"Service '{service}' check",
        "Status": "passing",
        "Output": "HTTP GET http://10.0.0.1:4567/health: 200 OK Output: OK",
        "ServiceID": service,
    }
    port = {"Port": 32768 + node, "Tags": ["http"]}
    return {
        "Node": f"node-{node}",
        "Address": f"10.0.0.{node + 1}",
        "Service": {"ID": service, "Service": service, **port},
        "Check": check,
    }


def _biggest(address: ConsulAddress, paths: list[str]) -> tuple[str, int]:
    sizes = {path: _get(address, path)[1] for path in paths}
    path = max(sizes, key=lambda path: sizes[path])
    return path, sizes[path]


def _get(address: ConsulAddress, path: str) -> tuple[Seconds, int]:
    """How long one request takes until all of its answer is read, and how much that is.

    With the HTTP library that `status` uses, so that what is compared is what `status` does besides.
    """
    with requests.Session() as session:
        begun = time.perf_counter()
        response = session.get(address.http + path, headers={"Accept-Encoding": "identity"}, timeout=30)
        return time.perf_counter() - begun, len(response.content)
