"""Manages the lab's ECR repositories: creates them with the ownership tag, lists their images, deletes them."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from typing import Any

from ...aws_tags import LAB_TAG, as_items, as_mapping, require_ownership
from ...errors import LabError
from ..base import Say
from ..client_errors import client_error, error_code, items_of
from .docker_login import DockerLogin
from .registry_api import RegistryApi
from .session import refused

# a repository keeps at least this many of its newest images; older ones expire
KEPT_IMAGES = 20
_ABSENT = "RepositoryNotFoundException"


class EcrRepositories:
    """One repository for each service, named LAB/SERVICE."""

    def __init__(
        self,
        lab: str,
        clients: Callable[[str], Any],
        is_insecure: Callable[[str], bool] = lambda host: False,
        kept: int = KEPT_IMAGES,
    ) -> None:
        """`kept` is how many of its newest images a repository keeps."""
        self._lab = lab
        self._clients = clients
        self._is_insecure = is_insecure
        self._kept = kept
        self._lock = threading.Lock()
        self._known: tuple[str, DockerLogin] | None = None

    def name(self, service: str) -> str:
        """The beginning of an image's name, before its tag. Raises LabError."""
        url, _ = self._login()
        return f"{url.partition('://')[2].strip('/')}/{self._path(service)}"

    def login(self) -> dict[str, str]:
        """The login in the form that the Docker engine takes. Raises LabError."""
        url, login = self._login()
        return login.auth_config(url)

    def blockers(self) -> list[LabError]:
        """What prevents a push."""
        try:
            self._login()
        except LabError as error:
            return [error]
        return []

    def tags(self, service: str) -> list[str]:
        """The tags in a repository, oldest first. Raises LabError if it isn't the lab's."""
        if self._owned(service) is None:
            return []
        request = {"repositoryName": self._path(service), "filter": {"tagStatus": "TAGGED"}}
        try:
            found = items_of(self._ecr, "describe_images", "imageDetails", **request)
        except client_error() as error:
            if error_code(error) == _ABSENT:
                return []
            raise self._refused("ECR can't list the images in a repository", error, service) from error
        # an image without a push time counts as old
        found.sort(key=lambda image: image["imagePushedAt"].timestamp() if "imagePushedAt" in image else 0.0)
        return [tag for image in found for tag in image.get("imageTags", ())]

    def labels(self, service: str, tag: str) -> dict[str, str]:
        """The labels of an image, from ECR's registry API, which accepts the engine's login. Raises LabError.

        https://docs.aws.amazon.com/AmazonECR/latest/userguide/Registries.html#registry_auth_http
        """
        url, login = self._login()
        host = url.partition("://")[2].strip("/")
        return RegistryApi(host, lambda: login, self._is_insecure).labels(self._path(service), tag)

    def prepare(self, service: str, say: Say) -> None:
        """Create a service's repository, unless the lab has it already. Raises LabError."""
        if self._owned(service) is None:
            say(f"creating repository {self._path(service)}")
            try:
                self._ecr.create_repository(
                    repositoryName=self._path(service),
                    tags=as_items({LAB_TAG: self._lab}, key="Key", value="Value"),
                    # a tag is the hash of a source, so its image never changes
                    imageTagMutability="IMMUTABLE",
                    imageScanningConfiguration={"scanOnPush": True},
                )
            except client_error() as error:
                if error_code(error) != "RepositoryAlreadyExistsException":
                    raise self._refused("ECR can't create a repository", error, service) from error
                self._owned(service)
        try:
            self._ecr.put_lifecycle_policy(
                repositoryName=self._path(service), lifecyclePolicyText=lifecycle(self._kept)
            )
        except client_error() as error:
            # old images then cost storage, but pushing still works
            say(f"repository {self._path(service)} has no lifecycle rule: {error}")

    def delete(self, service: str) -> list[str]:
        """Delete a service's repository and its images, if there are any; nothing is retained. Raises LabError."""
        if self._owned(service) is None:
            return []
        try:
            self._ecr.delete_repository(repositoryName=self._path(service), force=True)
        except client_error() as error:
            if error_code(error) != _ABSENT:
                raise self._refused("ECR can't delete a repository", error, service) from error
        return []

    def hint(self) -> str:
        """What to do about a rejected push."""
        if ".amazonaws.com" not in self._ecr.meta.endpoint_url:
            return "the emulator at AWS_ENDPOINT_URL may have no registry; set `registry:` in the config to another one"
        return "attach the policies in docs/aws.md, which allow pushing to ECR"

    @property
    def _ecr(self) -> Any:
        return self._clients("ecr")

    def _path(self, service: str) -> str:
        return f"{self._lab}/{service}"

    def _login(self) -> tuple[str, DockerLogin]:
        """The registry's URL and its login, requested once: it is valid for longer than any command, twelve hours."""
        with self._lock:
            if self._known is None:
                try:
                    found = self._ecr.get_authorization_token()["authorizationData"][0]
                except client_error() as error:
                    raise refused("ECR doesn't issue a login for pushing", error) from error
                user, _, password = base64.b64decode(found["authorizationToken"]).decode().partition(":")
                self._known = found["proxyEndpoint"], DockerLogin(user, password)
            return self._known

    def _owned(self, service: str) -> str | None:
        """The ARN of a service's repository; None if there is none. Raises LabError if it isn't the lab's."""
        path = self._path(service)
        try:
            arn = self._ecr.describe_repositories(repositoryNames=[path])["repositories"][0]["repositoryArn"]
            tags = as_mapping(self._ecr.list_tags_for_resource(resourceArn=arn).get("tags"), key="Key", value="Value")
        except client_error() as error:
            if error_code(error) == _ABSENT:
                return None
            raise self._refused("ECR can't describe a repository", error, service) from error
        require_ownership("ECR repository", path, self._lab, tags)
        return str(arn)

    def _refused(self, what: str, error: Exception, service: str) -> LabError:
        return refused(what, error, where=f"ECR repository {self._path(service)}")


def lifecycle(kept: int = KEPT_IMAGES) -> str:
    """The lifecycle policy that expires old images."""
    rule = {
        "rulePriority": 1,
        "description": f"keep the newest {kept} images",
        "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": kept},
        "action": {"type": "expire"},
    }
    return json.dumps({"rules": [rule]})
