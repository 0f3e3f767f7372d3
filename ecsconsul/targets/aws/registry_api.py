"""A client for a registry's HTTP API: login, tags, labels, digests and deletion of images.

https://distribution.github.io/distribution/spec/api/. The Docker engine does the pushing.
"""

from __future__ import annotations

import ipaddress
import re
import threading
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import LabError, Unreachable
from .docker_login import DockerLogin

if TYPE_CHECKING:
    from requests import Response

DOCKER_HUB = "docker.io"
_HUB_HOSTS = (DOCKER_HUB, f"index.{DOCKER_HUB}", f"registry-1.{DOCKER_HUB}")
CONNECT_SECONDS, READ_SECONDS = 5.0, 30.0
# the most pages of a list to read, with 100 or 1000 tags each
PAGES = 100
_MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.index.v1+json"
)
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
_DIGEST = re.compile(r"^sha256:[0-9a-f]{64}$")
# where the engine looks for a registry's certificate authority
_CERTIFICATES = Path("/etc/docker/certs.d")


class Denied(LabError):
    """The registry doesn't allow this user the request, or hides whether the repository exists."""


class RegistryApi:
    """One registry. Uses HTTPS, and as the engine does, HTTP if it is on this machine or `is_insecure`."""

    def __init__(self, host: str, login: Callable[[], DockerLogin | None], is_insecure: Callable[[str], bool]) -> None:
        self._host = host
        self._address = f"registry-1.{DOCKER_HUB}" if host in _HUB_HOSTS else host
        self._login = login
        self._is_insecure = is_insecure
        self._lock = threading.Lock()
        self._scheme = ""
        self._authorizations: dict[str, str] = {}

    def check(self) -> None:
        """Raises Unreachable if nothing answers, Denied if a login is missing or rejected."""
        answer = self._request("GET", "/v2/", "")
        if answer.status_code != 200:
            raise self._error("The server doesn't speak the registry API", answer)
        if self._authorizations.get("") and not self._login():
            raise self._denied("anyone may pull, but pushing needs a login")

    def tags(self, repository: str) -> list[str]:
        """The tags of a repository in the registry's order; none if there is no such repository. Raises Denied."""
        path = f"/v2/{repository}/tags/list?n=1000"
        found: list[str] = []
        for _ in range(PAGES):
            answer = self._request("GET", path, f"repository:{repository}:pull")
            if answer.status_code == 404:
                return []
            if answer.status_code != 200:
                raise self._error("The registry can't list the tags of a repository", answer)
            found += self._parsed(answer).get("tags") or []
            next_page = answer.links.get("next", {}).get("url")
            if not next_page:
                break
            path = "/" + next_page.partition("://")[2].partition("/")[2] if "://" in next_page else next_page
        return found

    def labels(self, repository: str, tag: str) -> dict[str, str]:
        """The labels of an image, or of its first platform if it has several. Raises LabError."""
        manifest = self._json(repository, f"manifests/{tag}")
        if manifest.get("manifests"):
            manifest = self._json(repository, f"manifests/{manifest['manifests'][0]['digest']}")
        if "config" not in manifest:
            return {}
        config = self._json(repository, f"blobs/{manifest['config']['digest']}")
        return dict((config.get("config") or {}).get("Labels") or {})

    def digest(self, repository: str, tag: str) -> str:
        """The digest of an image, or of its list of platforms if it has several. Raises LabError."""
        head = self._request("HEAD", f"/v2/{repository}/manifests/{tag}", f"repository:{repository}:pull")
        return self._digest(head)

    def delete(self, repository: str, tag: str) -> None:
        """Delete an image, if it exists. Raises LabError: many registries don't support deletion."""
        scope = f"repository:{repository}:pull,delete"
        head = self._request("HEAD", f"/v2/{repository}/manifests/{tag}", scope)
        if head.status_code == 404:
            return
        digest = self._digest(head)
        answer = self._request("DELETE", f"/v2/{repository}/manifests/{digest}", scope)
        if answer.status_code not in (200, 202, 404):
            raise self._error("The registry can't delete an image", answer)

    def _digest(self, head: Response) -> str:
        digest = str(head.headers.get("Docker-Content-Digest", ""))
        if head.status_code != 200 or not _DIGEST.match(digest):
            raise self._error("The registry can't describe an image", head)
        return digest

    def _json(self, repository: str, path: str) -> dict[str, Any]:
        answer = self._request("GET", f"/v2/{repository}/{path}", f"repository:{repository}:pull")
        if answer.status_code != 200:
            raise self._error("The registry can't describe an image", answer)
        return self._parsed(answer)

    def _request(self, method: str, path: str, scope: str) -> Response:
        """One request, with the authorization that the registry asks for. Raises Denied, Unreachable."""
        answer = self._send(method, path, self._authorizations.get(scope, ""))
        if answer.status_code == 401:
            self._authorizations[scope] = self._authorize(answer, scope)
            answer = self._send(method, path, self._authorizations[scope])
        if answer.status_code in (401, 403):
            raise self._denied(_words(answer))
        return answer

    def _authorize(self, refusal: Response, scope: str) -> str:
        """The Authorization header for a registry's challenge. Raises Denied."""
        scheme, _, rest = refusal.headers.get("WWW-Authenticate", "").partition(" ")
        login = self._login()
        if scheme.lower() == "bearer":
            return f"Bearer {self._token(dict(_PARAMETER.findall(rest)), scope, login)}"
        if scheme.lower() == "basic" and login:
            return f"Basic {b64encode(f'{login.username}:{login.password}'.encode()).decode()}"
        raise self._denied(_words(refusal))

    def _token(self, challenge: dict[str, str], scope: str, login: DockerLogin | None) -> str:
        """A token from the registry's token server; without a login, one for anonymous access."""
        query = {name: text for name, text in (("service", challenge.get("service", "")), ("scope", scope)) if text}
        if "realm" not in challenge:
            raise self._denied("its challenge doesn't name a token server")
        if login and login.identity_token:
            form = {"grant_type": "refresh_token", "refresh_token": login.identity_token, "client_id": "ecsconsul"}
            answer = self._http("POST", challenge["realm"], data={**query, **form})
        else:
            basic = (login.username, login.password) if login else None
            answer = self._http("GET", challenge["realm"], params=query, auth=basic)
        if answer.status_code in (401, 403):
            raise self._denied(_words(answer))
        if answer.status_code != 200:
            raise self._error("The registry doesn't issue a token", answer)
        found = self._parsed(answer)
        return str(found.get("token") or found.get("access_token") or "")

    def _send(self, method: str, path: str, authorization: str) -> Response:
        headers = {"Accept": _MANIFESTS if "/manifests/" in path else "application/json"}
        if authorization:
            headers["Authorization"] = authorization
        return self._http(method, f"{self._base()}{path}", headers=headers)

    def _base(self) -> str:
        """The registry's URL."""
        with self._lock:
            if not self._scheme:
                self._scheme = "http" if self._uses_http() else "https"
            return f"{self._scheme}://{self._address}"

    def _uses_http(self) -> bool:
        """Whether HTTP is allowed and HTTPS doesn't work."""
        if not (_is_loopback(self._address) or self._is_insecure(self._host)):
            return False
        try:
            self._http("GET", f"https://{self._address}/v2/")
        except Unreachable:
            return True
        return False

    def _http(self, method: str, url: str, **options: Any) -> Response:
        import requests

        authority = _CERTIFICATES / self._address / "ca.crt"
        with requests.Session() as session:
            # no proxy for this machine itself
            session.trust_env = not _is_loopback(self._address)
            if authority.is_file():
                session.verify = str(authority)
            # the login is `docker login`'s, never one from ~/.netrc
            options["auth"] = options.get("auth") or (lambda request: request)
            try:
                return session.request(method, url, timeout=(CONNECT_SECONDS, READ_SECONDS), **options)
            except requests.exceptions.RequestException as error:
                raise Unreachable(
                    "The registry doesn't answer",
                    where=f"registry {self._host}",
                    why=str(error),
                    hint="check `registry:` in the config, and that this machine can reach it",
                ) from error

    def _parsed(self, answer: Response) -> dict[str, Any]:
        try:
            found: dict[str, Any] = answer.json()
        except ValueError as error:
            raise self._error("The server doesn't speak the registry API", answer) from error
        return found

    def _denied(self, why: str) -> Denied:
        host = "" if self._host in _HUB_HOSTS else f" {self._host}"
        what = "The registry rejects the login" if self._login() else "There is no login for the registry"
        return Denied(what, where=f"registry {self._host}", why=why, hint=f"run `docker login{host}`")

    def _error(self, what: str, answer: Response) -> LabError:
        hint = "check `registry:` in the config; if it is right, the registry's own log may say more"
        return LabError(what, where=f"registry {self._host}", why=_words(answer), hint=hint)


def split(name: str) -> tuple[str, str]:
    """The registry's host and the rest of an image's name. As in Docker, a name without a host is Docker Hub's."""
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return (DOCKER_HUB if first in _HUB_HOSTS else first), rest
    return DOCKER_HUB, name


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0] or address
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _words(answer: Response) -> str:
    """The registry's status and its own error message."""
    try:
        body = answer.json()
        errors = [f"{one.get('code', '')}: {one.get('message', '')}" for one in body.get("errors") or ()]
        text = "; ".join(errors) or str(body.get("details") or body.get("message") or "")
    except (ValueError, AttributeError):
        text = answer.text[:200].strip()
    return f"{answer.status_code} {text or answer.reason}"
