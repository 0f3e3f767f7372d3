"""The lab's repositories in ECR: made, claimed by their tag, looked into and deleted; images are pushed by others."""

from __future__ import annotations

import base64
import json
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...aws_tags import LAB_TAG, as_items, as_mapping, claim
from ...errors import LabError
from ..client_errors import error_code
from .session import refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from botocore.exceptions import ClientError

    from ..base import Say

# a repository's images beyond these expire, the oldest first
KEPT_IMAGES = 20
_ABSENT = "RepositoryNotFoundException"


@dataclass(frozen=True)
class _Login:
    """Who pushes, and to where; valid for twelve hours, longer than any command lasts."""

    host: str
    words: dict[str, str] = field(repr=False)


class EcrRepositories:
    """A repository for each service, named LAB/SERVICE."""

    def __init__(self, lab: str, clients: Callable[[str], Any]) -> None:
        self._lab = lab
        self._clients = clients
        self._lock = threading.Lock()
        self._known: _Login | None = None

    def name(self, service: str) -> str:
        """The beginning of an image's name, before its tag. Raises LabError."""
        return f"{self._login().host}/{self._lab}/{service}"

    def login(self) -> dict[str, str]:
        """What the Docker engine needs to push. Raises LabError."""
        return self._login().words

    def blockers(self) -> list[LabError]:
        """What speaks against pushing."""
        try:
            self._login()
        except LabError as error:
            return [error]
        return []

    def tags(self, service: str) -> list[str]:
        """The tags in a repository, oldest first. Raises LabError when it is not the lab's."""
        from botocore.exceptions import ClientError

        if self._claimed(service) is None:
            return []
        pages = self._ecr.get_paginator("describe_images")
        asked = {"repositoryName": self._path(service), "filter": {"tagStatus": "TAGGED"}}
        try:
            found = [image for page in pages.paginate(**asked) for image in page["imageDetails"]]
        except ClientError as error:
            if error_code(error) == _ABSENT:
                return []
            raise self._refused("The images in a repository cannot be listed", error, service) from error
        # one that no time is told of is taken for an old one
        found.sort(key=lambda image: image["imagePushedAt"].timestamp() if "imagePushedAt" in image else 0.0)
        return [tag for image in found for tag in image.get("imageTags", ())]

    def prepare(self, service: str, say: Say) -> None:
        """Make a service's repository; one that the lab has stays. Raises LabError."""
        from botocore.exceptions import ClientError

        if self._claimed(service) is None:
            say(f"making repository {self._path(service)}")
            try:
                self._ecr.create_repository(
                    repositoryName=self._path(service),
                    tags=as_items({LAB_TAG: self._lab}, key="Key", value="Value"),
                    # a tag is the hash of a source, so what it names never changes
                    imageTagMutability="IMMUTABLE",
                    imageScanningConfiguration={"scanOnPush": True},
                )
            except ClientError as error:
                if error_code(error) != "RepositoryAlreadyExistsException":
                    raise self._refused("A repository cannot be made", error, service) from error
                self._claimed(service)
        try:
            self._ecr.put_lifecycle_policy(repositoryName=self._path(service), lifecyclePolicyText=lifecycle())
        except ClientError as error:
            # images are stored, and cost, longer than they must; that is no reason not to push
            say(f"repository {self._path(service)} has no lifecycle rule: {error}")

    def delete(self, service: str) -> list[str]:
        """Delete a service's repository and its images; none is fine. Nothing is kept. Raises LabError."""
        from botocore.exceptions import ClientError

        if self._claimed(service) is None:
            return []
        try:
            self._ecr.delete_repository(repositoryName=self._path(service), force=True)
        except ClientError as error:
            if error_code(error) != _ABSENT:
                raise self._refused("A repository cannot be deleted", error, service) from error
        return []

    def hint(self) -> str:
        """What to do about a push that is refused."""
        if ".amazonaws.com" not in self._ecr.meta.endpoint_url:
            return "behind AWS_ENDPOINT_URL there may be no registry to push to: name one as `registry:` in the config"
        return "docs/aws.md has the policy that the lab needs"

    @property
    def _ecr(self) -> Any:
        return self._clients("ecr")

    def _path(self, service: str) -> str:
        return f"{self._lab}/{service}"

    def _login(self) -> _Login:
        """Asked for once, however many images there are."""
        from botocore.exceptions import ClientError

        with self._lock:
            if self._known is None:
                try:
                    found = self._ecr.get_authorization_token()["authorizationData"][0]
                except ClientError as error:
                    raise refused("ECR gives no login to push with", error) from error
                user, _, password = base64.b64decode(found["authorizationToken"]).decode().partition(":")
                endpoint = found["proxyEndpoint"]
                words = {"username": user, "password": password, "serveraddress": endpoint}
                self._known = _Login(endpoint.partition("://")[2].strip("/"), words)
            return self._known

    def _claimed(self, service: str) -> str | None:
        """The ARN of a service's repository; None: there is none. Raises LabError when it is not the lab's."""
        from botocore.exceptions import ClientError

        path = self._path(service)
        try:
            arn = self._ecr.describe_repositories(repositoryNames=[path])["repositories"][0]["repositoryArn"]
            tags = self._tags_of(arn)
        except ClientError as error:
            if error_code(error) == _ABSENT:
                return None
            raise self._refused("A repository cannot be looked at", error, service) from error
        claim("ECR repository", path, self._lab, tags)
        return str(arn)

    def _tags_of(self, arn: str) -> dict[str, str]:
        found = self._ecr.list_tags_for_resource(resourceArn=arn)
        return as_mapping(found.get("tags"), key="Key", value="Value")

    def _refused(self, what: str, error: ClientError, service: str) -> LabError:
        return refused(what, error, where=f"ECR repository {self._path(service)}")


def lifecycle() -> str:
    """The rule by which ECR forgets old images."""
    rule = {
        "rulePriority": 1,
        "description": f"keep the newest {KEPT_IMAGES} images",
        "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": KEPT_IMAGES},
        "action": {"type": "expire"},
    }
    return json.dumps({"rules": [rule]})
