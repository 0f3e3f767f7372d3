"""A registry's API in Docker Hub's style (tokens, pages, errors), played by a small server.

test_registry.py covers docker-registry itself, with and without a login.
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
from ecsconsul.targets.aws.docker_login import DockerLogin
from ecsconsul.targets.aws.registry_api import Denied, RegistryApi, split

ADA = DockerLogin("ada", "s3cret")
TAGS = [f"tag-{number:03}" for number in range(250)]
PAGE = 100
DIGEST = "sha256:" + "12ab" * 16


@dataclass
class Hub:
    """A registry behind a token server; `requests` are the requested paths, without queries."""

    port: int = 0
    requests: list[str] = field(default_factory=list)
    scopes: list[str] = field(default_factory=list)
    is_web_site: bool = False

    def api(self, login: DockerLogin | None = ADA) -> RegistryApi:
        return RegistryApi(f"127.0.0.1:{self.port}", lambda: login, lambda host: False)


class Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.hub.requests.append(url.path)
        if self.hub.is_web_site:
            self._answer(200, "<html>")
        elif url.path == "/token":
            self._token(query, self.headers.get("Authorization", ""))
        elif not self.headers.get("Authorization", "").startswith("Bearer good"):
            challenge = f'Bearer realm="http://127.0.0.1:{self.hub.port}/token",service="hub",scope="x"'
            self._reject(401, "UNAUTHORIZED", "authentication required", {"WWW-Authenticate": challenge})
        elif url.path == "/v2/":
            self._answer(200, {})
        elif url.path == "/v2/team/app/tags/list":
            self._tags(query)
        elif url.path == "/v2/team/secret/tags/list":
            self._reject(403, "DENIED", "requested access to the resource is denied")
        elif url.path == "/v2/team/broken/tags/list":
            self._reject(429, "TOOMANYREQUESTS", "slow down")
        else:
            self._reject(404, "NAME_UNKNOWN", "repository name not known to registry")

    def do_HEAD(self) -> None:
        url = urlsplit(self.path)
        self.hub.requests.append(url.path)
        digests = {"/v2/team/app/manifests/1.22.7": DIGEST, "/v2/team/app/manifests/odd": "md5:12"}
        if not self.headers.get("Authorization", "").startswith("Bearer good"):
            challenge = f'Bearer realm="http://127.0.0.1:{self.hub.port}/token",service="hub",scope="x"'
            self._answer(401, "", {"WWW-Authenticate": challenge})
        elif url.path in digests and "image.index" in self.headers["Accept"]:
            self._answer(200, "", {"Docker-Content-Digest": digests[url.path]})
        else:
            self._answer(404, "")

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.hub.requests.append(self.path)
        known = form["grant_type"] == ["refresh_token"] and form["refresh_token"] == ["identity"]
        self._answer(200, {"access_token": "good"}) if known else self._reject(401, "UNAUTHORIZED", "who is that")

    def _token(self, query: dict[str, str], authorization: str) -> None:
        self.hub.scopes.append(query.get("scope", ""))
        basic = base64.b64encode(b"ada:s3cret").decode()
        if authorization in ("", f"Basic {basic}"):
            self._answer(200, {"token": "good"})
        else:
            self._answer(401, {"details": "incorrect username or password"})

    def _tags(self, query: dict[str, str]) -> None:
        begin = TAGS.index(query["last"]) + 1 if "last" in query else 0
        page = TAGS[begin : begin + PAGE]
        more = begin + PAGE < len(TAGS)
        link = {"Link": f'</v2/team/app/tags/list?last={page[-1]}&n={PAGE}>; rel="next"'} if more else {}
        self._answer(200, {"name": "team/app", "tags": page}, link)

    def _reject(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        self._answer(status, {"errors": [{"code": code, "message": message}]}, headers)

    def _answer(self, status: int, what: object, headers: dict[str, str] | None = None) -> None:
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


def test_all_pages_are_read_with_one_token_per_scope(hub: Hub) -> None:
    api = hub.api()
    assert api.tags("team/app") == TAGS
    assert api.tags("team/app") == TAGS
    assert hub.scopes == ["repository:team/app:pull"]
    assert hub.requests.count("/v2/team/app/tags/list") == 7


def test_digest_of_a_tag_needs_no_login(hub: Hub) -> None:
    assert hub.api(None).digest("team/app", "1.22.7") == DIGEST
    assert hub.scopes == ["repository:team/app:pull"]


@pytest.mark.parametrize("tag", ["gone", "odd"])
def test_digest_of_a_missing_image_or_of_another_form_is_an_error(hub: Hub, tag: str) -> None:
    with pytest.raises(LabError, match="The registry can't describe an image"):
        hub.api(None).digest("team/app", tag)


def test_check_rejects_a_wrong_login(hub: Hub) -> None:
    hub.api().check()
    with pytest.raises(Denied) as raised:
        hub.api(DockerLogin("ada", "wr0ng")).check()
    assert raised.value.what == "The registry rejects the login"
    assert raised.value.why == "401 incorrect username or password"
    assert raised.value.hint == f"run `docker login 127.0.0.1:{hub.port}`"


def test_anonymous_user_may_pull_but_not_push(hub: Hub) -> None:
    with pytest.raises(Denied, match="There is no login") as raised:
        hub.api(None).check()
    assert "pushing needs a login" in raised.value.why
    assert hub.api(None).tags("team/app") == TAGS


def test_identity_token_is_a_login(hub: Hub) -> None:
    hub.api(DockerLogin("", "", "identity")).check()
    with pytest.raises(Denied, match="who is that"):
        hub.api(DockerLogin("", "", "another")).check()


def test_missing_repository_has_no_tags(hub: Hub) -> None:
    assert hub.api().tags("team/none") == []


def test_errors_carry_the_registrys_message(hub: Hub) -> None:
    with pytest.raises(Denied) as raised:
        hub.api().tags("team/secret")
    assert raised.value.why == "403 DENIED: requested access to the resource is denied"
    with pytest.raises(LabError) as limited:
        hub.api().tags("team/broken")
    assert limited.value.why == "429 TOOMANYREQUESTS: slow down"


def test_web_site_is_not_a_registry(hub: Hub) -> None:
    hub.is_web_site = True
    with pytest.raises(LabError, match="doesn't speak the registry API"):
        hub.api().tags("team/app")


def test_plain_http_is_not_used_for_other_hosts(hub: Hub) -> None:
    """The name is not known to be this machine's."""
    host = f"localhost.localdomain.invalid:{hub.port}"
    with pytest.raises(Unreachable, match="doesn't answer"):
        RegistryApi(host, lambda: ADA, lambda host: False).check()
    assert hub.requests == []


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
def test_names_are_split_as_docker_does(name: str, parts: tuple[str, str]) -> None:
    assert split(name) == parts


def test_repr_of_a_login_shows_nothing() -> None:
    assert repr(ADA) == "DockerLogin()"
    assert ADA.auth_config("x") == {"username": "ada", "password": "s3cret", "serveraddress": "x"}
    assert DockerLogin("", "", "t").auth_config("x") == {"identitytoken": "t", "serveraddress": "x"}
