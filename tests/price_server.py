"""AWS's price list as a real little HTTP server that answers GetProducts."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from werkzeug.wrappers import Request, Response

from tests.deploy.world import serve
from tests.targets.aws.price_answers import get_products


class PriceServer:
    """A WSGI application; `requests` are what was asked. `error` is the code of what it answers instead of prices."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.error = ""
        # cleared: no answer until it is set
        self.answers = threading.Event()
        self.answers.set()
        # products of these usage types are left out
        self.missing: set[str] = set()
        self.url = ""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        request = Request(environ)
        assert request.headers["X-Amz-Target"] == "AWSPriceListService.GetProducts"
        asked = json.loads(request.get_data())
        self.requests.append(asked)
        self.answers.wait(60)
        return self._answer(asked)(environ, start_response)

    def _answer(self, asked: dict[str, Any]) -> Response:
        kind = "application/x-amz-json-1.1"
        if self.error:
            return Response(json.dumps({"__type": self.error, "message": "No."}), 400, content_type=kind)
        found = get_products(asked)
        found["PriceList"] = [one for one in found["PriceList"] if _usage_of(one) not in self.missing]
        return Response(json.dumps(found), content_type=kind)


def _usage_of(product: str) -> str:
    return str(json.loads(product)["product"]["attributes"]["usagetype"])


@contextmanager
def price_server() -> Iterator[PriceServer]:
    """A server for as long as the context lasts; AWS_ENDPOINT_URL_PRICING is to be its `url`."""
    application = PriceServer()
    server = serve(application)
    application.url = f"http://127.0.0.1:{server.server_port}"
    yield application
    application.answers.set()
    server.shutdown()
    server.server_close()
