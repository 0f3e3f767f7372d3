"""A registry's API as Docker Hub and its like speak it: tokens, pages, refusals; a real little server says the words.

docker-registry itself, with and without a login, is in test_registry.py.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from ecsconsul.errors import LabError, Unreachable
from ecsconsul.targets.aws.docker_login import Credentials
from ecsconsul.targets.aws.registry_api import Denied, RegistryApi, split

ADA = Credentials("ada", "s3cret")
TAGS = [f"tag-{number:03}" for number in range(250)]
PAGE = 100


@dataclass
class Hub:
    """A registry behind a token server; `asked` are the requests without what they ask for."""

    port: int = 0
    asked: list[str] = field(default_factory=list)
    scopes: list[str] = field(default_factory=list)
    is_web_site: bool = False

    def api(self, login: Credentials | None = ADA) -> RegistryApi:
        return RegistryApi(f"127.0.0.1:{self.port}", lambda: login, lambda host: False)


class Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.hub.asked.append(url.path)
        if self.hub.is_web_site:
            self._say(200, "<html>")
        elif url.path == "/token":
            self._token(asked, self.headers.get("Authorization", ""))
        elif not self.headers.get("Authorization", "").startswith("Bearer good"):
            challenge = f'Bearer realm="http://127.0.0.1:{self.hub.port}/token",service="hub",scope="x"'
            self._refuse(401, "UNAUTHORIZED", "authentication required", {"WWW-Authenticate": challenge})
        elif url.path == "/v2/":
            self._say(200, {})
        elif url.path == "/v2/team/app/tags/list":
            self._tags(asked)
        elif url.path == "/v2/team/secret/tags/list":
            self._refuse(403, "DENIED", "requested access to the resource is denied")
        elif url.path == "/v2/team/broken/tags/list":
            self._refuse(429, "TOOMANYREQUESTS", "slow down")
        else:
            self._refuse(404, "NAME_UNKNOWN", "repository name not known to registry")

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.hub.asked.append(self.path)
        known = form["grant_type"] == ["refresh_token"] and form["refresh_token"] == ["identity"]
        self._say(200, {"access_token": "good"}) if known else self._refuse(401, "UNAUTHORIZED", "who is that")

    def _token(self, asked: dict[str, str], authorization: str) -> None:
        self.hub.scopes.append(asked.get("scope", ""))
        basic = base64.b64encode(b"ada:s3cret").decode()
        if authorization in ("", f"Basic {basic}"):
            self._say(200, {"token": "good"})
        else:
            self._say(401, {"details": "incorrect username or password"})

    def _tags(self, asked: dict[str, str]) -> None:
        begin = TAGS.index(asked["last"]) + 1 if "last" in asked else 0
        page = TAGS[begin : begin + PAGE]
        more = begin + PAGE < len(TAGS)
        link = {"Link": f'</v2/team/app/tags/list?last={page[-1]}&n={PAGE}>; rel="next"'} if more else {}
        self._say(200, {"name": "team/app", "tags": page}, link)

    def _refuse(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        self._say(status, {"errors": [{"code": code, "message": message}]}, headers)

    def _say(self, status: int, what: object, headers: dict[str, str] | None = None) -> None:
        body = (what if isinstance(what, str) else json.dumps(what)).encode()
        self.send_response(status)
        for name, text in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    handler = type("HubHandler", (Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield hub
        server.shutdown()
        thread.join()


def test_all_pages_with_one_token_for_each_scope(hub: Hub) -> None:
    api = hub.api()
    assert api.tags("team/app") == TAGS
    assert api.tags("team/app") == TAGS
    assert hub.scopes == ["repository:team/app:pull"]
    assert hub.asked.count("/v2/team/app/tags/list") == 7


def test_a_login_is_checked(hub: Hub) -> None:
    hub.api().check()
    with pytest.raises(Denied) as raised:
        hub.api(Credentials("ada", "wr0ng")).check()
    assert raised.value.what == "The registry does not accept the login"
    assert raised.value.why == "401 incorrect username or password"
    assert raised.value.hint == f"docker login 127.0.0.1:{hub.port}"


def test_who_is_not_logged_in_may_look_and_not_push(hub: Hub) -> None:
    with pytest.raises(Denied, match="There is no login") as raised:
        hub.api(None).check()
    assert "only who is logged in may push" in raised.value.why
    assert hub.api(None).tags("team/app") == TAGS


def test_a_token_may_stand_for_a_login(hub: Hub) -> None:
    hub.api(Credentials("", "", "identity")).check()
    with pytest.raises(Denied, match="who is that"):
        hub.api(Credentials("", "", "another")).check()


def test_a_repository_that_is_not_there_has_no_tags(hub: Hub) -> None:
    assert hub.api().tags("team/none") == []


def test_refusals_have_the_registrys_own_words(hub: Hub) -> None:
    with pytest.raises(Denied) as raised:
        hub.api().tags("team/secret")
    assert raised.value.why == "403 DENIED: requested access to the resource is denied"
    with pytest.raises(LabError) as limited:
        hub.api().tags("team/broken")
    assert limited.value.why == "429 TOOMANYREQUESTS: slow down"


def test_what_is_no_registry_is_said(hub: Hub) -> None:
    hub.is_web_site = True
    with pytest.raises(LabError, match="What answers there is no registry"):
        hub.api().tags("team/app")


def test_plain_http_is_for_this_machine_and_what_the_engine_was_told(hub: Hub) -> None:
    """A name that leads here, and is not known to be this machine."""
    host = f"localhost.localdomain.invalid:{hub.port}"
    with pytest.raises(Unreachable, match="does not answer"):
        RegistryApi(host, lambda: ADA, lambda host: False).check()
    assert hub.asked == []


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("my_docker_hub_repo/weather", ("docker.io", "my_docker_hub_repo/weather")),
        ("docker.io/team/weather", ("docker.io", "team/weather")),
        ("index.docker.io/team/weather", ("docker.io", "team/weather")),
        ("registry.example/team/weather", ("registry.example", "team/weather")),
        ("127.0.0.1:5000/weather", ("127.0.0.1:5000", "weather")),
        ("localhost/weather", ("localhost", "weather")),
        ("weather", ("docker.io", "weather")),
    ],
)
def test_names_are_split_by_dockers_rule(name: str, parts: tuple[str, str]) -> None:
    assert split(name) == parts


def test_credentials_do_not_show_themselves() -> None:
    assert repr(ADA) == "Credentials()"
    assert ADA.words("x") == {"username": "ada", "password": "s3cret", "serveraddress": "x"}
    assert Credentials("", "", "t").words("x") == {"identitytoken": "t", "serveraddress": "x"}
