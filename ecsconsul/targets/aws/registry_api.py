"""A registry's own API: login, tags, labels and deletion of images (https://distribution.github.io/distribution/spec/api/).

Nothing is built or pushed here: that is the Docker engine's work.
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

if TYPE_CHECKING:
    from requests import Response

    from .docker_login import Credentials

DOCKER_HUB = "docker.io"
_HUB_HOSTS = (DOCKER_HUB, f"index.{DOCKER_HUB}", f"registry-1.{DOCKER_HUB}")
CONNECT_SECONDS, READ_SECONDS = 5.0, 30.0
# pages of a list, 100 or 1000 tags each; a registry that never ends is not followed for ever
PAGES = 100
_MANIFESTS = ", ".join(
    (
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.index.v1+json",
    )
)
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
# where the engine looks for the authority of a registry
_CERTIFICATES = Path("/etc/docker/certs.d")


class Denied(LabError):
    """The registry does not let this user do it, or does not say whether the repository is there."""


class RegistryApi:
    """One registry, asked over HTTPS; over HTTP where it is on this machine or `is_insecure`, as the engine does."""

    def __init__(self, host: str, login: Callable[[], Credentials | None], is_insecure: Callable[[str], bool]) -> None:
        self._host = host
        self._address = f"registry-1.{DOCKER_HUB}" if host in _HUB_HOSTS else host
        self._login = login
        self._is_insecure = is_insecure
        self._lock = threading.Lock()
        self._scheme = ""
        self._authorizations: dict[str, str] = {}

    def check(self) -> None:
        """Raises Unreachable where nothing answers, Denied where a login is missing or not accepted."""
        answer = self._ask("GET", "/v2/", "")
        if answer.status_code != 200:
            raise self._error("The registry does not answer as one", answer)
        if self._authorizations.get("") and not self._login():
            raise self._denied("everybody may look, but only who is logged in may push")

    def tags(self, repository: str) -> list[str]:
        """The tags of a repository, as the registry orders them; none: there is no such repository. Raises Denied."""
        path = f"/v2/{repository}/tags/list?n=1000"
        found: list[str] = []
        for _ in range(PAGES):
            answer = self._ask("GET", path, f"repository:{repository}:pull")
            if answer.status_code == 404:
                return []
            if answer.status_code != 200:
                raise self._error("The tags of a repository cannot be listed", answer)
            found += self._parsed(answer).get("tags") or []
            following = answer.links.get("next", {}).get("url")
            if not following:
                break
            path = "/" + following.partition("://")[2].partition("/")[2] if "://" in following else following
        return found

    def labels(self, repository: str, tag: str) -> dict[str, str]:
        """The labels of an image; of the first platform, where it has several. Raises LabError."""
        manifest = self._json(repository, f"manifests/{tag}")
        if manifest.get("manifests"):
            manifest = self._json(repository, f"manifests/{manifest['manifests'][0]['digest']}")
        if "config" not in manifest:
            return {}
        config = self._json(repository, f"blobs/{manifest['config']['digest']}")
        return dict((config.get("config") or {}).get("Labels") or {})

    def delete(self, repository: str, tag: str) -> None:
        """Delete an image; one that is gone is fine. Raises LabError: many registries do not allow it."""
        scope = f"repository:{repository}:pull,delete"
        head = self._ask("HEAD", f"/v2/{repository}/manifests/{tag}", scope)
        if head.status_code == 404:
            return
        digest = head.headers.get("Docker-Content-Digest", "")
        if head.status_code != 200 or not digest:
            raise self._error("An image cannot be looked at", head)
        answer = self._ask("DELETE", f"/v2/{repository}/manifests/{digest}", scope)
        if answer.status_code not in (200, 202, 404):
            raise self._error("An image cannot be deleted", answer)

    def _json(self, repository: str, path: str) -> dict[str, Any]:
        answer = self._ask("GET", f"/v2/{repository}/{path}", f"repository:{repository}:pull")
        if answer.status_code != 200:
            raise self._error("An image cannot be looked at", answer)
        return self._parsed(answer)

    def _ask(self, method: str, path: str, scope: str) -> Response:
        """One request, with the authorization that the registry wants. Raises Denied, Unreachable."""
        answer = self._send(method, path, self._authorizations.get(scope, ""))
        if answer.status_code == 401:
            self._authorizations[scope] = self._authorize(answer, scope)
            answer = self._send(method, path, self._authorizations[scope])
        if answer.status_code in (401, 403):
            raise self._denied(_words(answer))
        return answer

    def _authorize(self, refusal: Response, scope: str) -> str:
        """What a registry that wants to know who asks accepts as an answer. Raises Denied."""
        scheme, _, rest = refusal.headers.get("WWW-Authenticate", "").partition(" ")
        login = self._login()
        if scheme.lower() == "bearer":
            return f"Bearer {self._token(dict(_PARAMETER.findall(rest)), scope, login)}"
        if scheme.lower() == "basic" and login:
            return f"Basic {b64encode(f'{login.username}:{login.password}'.encode()).decode()}"
        raise self._denied(_words(refusal))

    def _token(self, told: dict[str, str], scope: str, login: Credentials | None) -> str:
        """A token of the server that the registry trusts; without a login one for what everybody may do."""
        asked = {name: text for name, text in (("service", told.get("service", "")), ("scope", scope)) if text}
        if "realm" not in told:
            raise self._denied("the registry does not tell where tokens are given")
        if login and login.identity_token:
            form = {"grant_type": "refresh_token", "refresh_token": login.identity_token, "client_id": "ecsconsul"}
            answer = self._request("POST", told["realm"], data={**asked, **form})
        else:
            basic = (login.username, login.password) if login else None
            answer = self._request("GET", told["realm"], params=asked, auth=basic)
        if answer.status_code in (401, 403):
            raise self._denied(_words(answer))
        if answer.status_code != 200:
            raise self._error("The registry gives no token", answer)
        found = self._parsed(answer)
        return str(found.get("token") or found.get("access_token") or "")

    def _send(self, method: str, path: str, authorization: str) -> Response:
        headers = {"Accept": _MANIFESTS if "/manifests/" in path else "application/json"}
        if authorization:
            headers["Authorization"] = authorization
        return self._request(method, f"{self._base()}{path}", headers=headers)

    def _base(self) -> str:
        """The registry's URL; found out once."""
        with self._lock:
            if not self._scheme:
                self._scheme = "http" if self._speaks_http() else "https"
            return f"{self._scheme}://{self._address}"

    def _speaks_http(self) -> bool:
        """Where HTTP is allowed at all, HTTPS is tried first."""
        if not (_is_loopback(self._address) or self._is_insecure(self._host)):
            return False
        try:
            self._request("GET", f"https://{self._address}/v2/")
        except Unreachable:
            return True
        return False

    def _request(self, method: str, url: str, **more: Any) -> Response:
        import requests

        authority = _CERTIFICATES / self._address / "ca.crt"
        with requests.Session() as session:
            # on the way to this machine there is no proxy
            session.trust_env = not _is_loopback(self._address)
            if authority.is_file():
                session.verify = str(authority)
            # no login of ~/.netrc: that of `docker login` counts
            more.setdefault("auth", _nobody)
            more["auth"] = more["auth"] or _nobody
            try:
                return session.request(method, url, timeout=(CONNECT_SECONDS, READ_SECONDS), **more)
            except requests.exceptions.RequestException as error:
                raise Unreachable(
                    "The registry does not answer",
                    where=f"registry {self._host}",
                    why=str(error),
                    hint="is `registry:` in the config what you mean?",
                ) from error

    def _parsed(self, answer: Response) -> dict[str, Any]:
        try:
            found: dict[str, Any] = answer.json()
        except ValueError as error:
            raise self._error("What answers there is no registry", answer) from error
        return found

    def _denied(self, why: str) -> Denied:
        host = "" if self._host in _HUB_HOSTS else f" {self._host}"
        what = "The registry does not accept the login" if self._login() else "There is no login for the registry"
        return Denied(what, where=f"registry {self._host}", why=why, hint=f"docker login{host}")

    def _error(self, what: str, answer: Response) -> LabError:
        return LabError(what, where=f"registry {self._host}", why=_words(answer))


def split(name: str) -> tuple[str, str]:
    """The registry's host and the rest of an image's name, by Docker's rule: what has no host is Docker Hub's."""
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


def _nobody(request: Any) -> Any:
    return request


def _words(answer: Response) -> str:
    """What the registry says, in its own words; its status where it says nothing."""
    try:
        told = answer.json()
        errors = [f"{one.get('code', '')}: {one.get('message', '')}" for one in told.get("errors") or ()]
        said = "; ".join(errors) or str(told.get("details") or told.get("message") or "")
    except (ValueError, AttributeError):
        said = answer.text[:200].strip()
    return f"{answer.status_code} {said or answer.reason}"
