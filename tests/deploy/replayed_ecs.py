"""An ECS API that replays responses in the form that AWS documents, over HTTP, so that boto3 parses them itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.deploy.world import FakeTarget, client, serve

FOLDER = Path(__file__).parent / "aws_responses"
# when the deployments in them start, in seconds since the epoch
STARTED = 1767225600.0


@contextmanager
def replay(name: str) -> Iterator[FakeTarget]:
    """A target whose ECS replays the responses of a file. The last response of an operation repeats."""
    responses: dict[str, list[Any]] = json.loads((FOLDER / f"{name}.json").read_text())["responses"]

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        # AmazonEC2ContainerServiceV20141113.DescribeServices
        left = responses[environ["HTTP_X_AMZ_TARGET"].rpartition(".")[2]]
        body = json.dumps(left.pop(0) if len(left) > 1 else left[0]).encode()
        start_response("200 OK", [("Content-Type", "application/x-amz-json-1.1"), ("Content-Length", str(len(body)))])
        return [body]

    server = serve(application)
    try:
        ecs = client("ecs", f"http://127.0.0.1:{server.server_port}")
        yield FakeTarget(None, clients={"ecs": ecs})
    finally:
        server.shutdown()
        server.server_close()
