"""The lab's ECR repositories, simulated by moto. As moto accepts no push, the tests put images there themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from ecsconsul.config.lab import Lab
from ecsconsul.errors import LabError
from ecsconsul.targets.aws.ecr import KEPT_IMAGES, EcrRepositories
from ecsconsul.targets.aws.registry import RegistryImages

ACCOUNT = "123456789012"
HOST = f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com"


class Ecr:
    """A client that records its requests."""

    def __init__(self) -> None:
        self.client = boto3.client(
            "ecr", region_name="eu-west-1", aws_access_key_id="test", aws_secret_access_key="test"
        )
        self.requests: list[str] = []
        self.client.meta.events.register("before-call", lambda model, **_: self.requests.append(model.name))

    def __call__(self, service: str) -> Any:
        assert service == "ecr"
        return self.client


@pytest.fixture
def ecr() -> Iterator[Ecr]:
    with mock_aws():
        yield Ecr()


@pytest.fixture
def repositories(ecr: Ecr) -> EcrRepositories:
    return EcrRepositories("blue", ecr)


def put(ecr: Ecr, service: str, tag: str) -> None:
    """Put an image into a repository, as a push does."""
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    manifest = {"schemaVersion": 2, "mediaType": kind, "config": {"digest": f"sha256:{tag:0<64}"}, "layers": []}
    ecr.client.put_image(repositoryName=f"blue/{service}", imageManifest=json.dumps(manifest), imageTag=tag)


def say(text: str) -> None:
    pass


def test_new_repository_has_tag_scanning_and_lifecycle(ecr: Ecr, repositories: EcrRepositories) -> None:
    assert repositories.tags("weather") == []
    repositories.prepare("weather", say)
    (found,) = ecr.client.describe_repositories()["repositories"]
    assert found["repositoryName"] == "blue/weather"
    assert found["imageTagMutability"] == "IMMUTABLE"
    assert found["imageScanningConfiguration"] == {"scanOnPush": True}
    tags = ecr.client.list_tags_for_resource(resourceArn=found["repositoryArn"])["tags"]
    assert tags == [{"Key": "ecsconsul:lab", "Value": "blue"}]
    text = ecr.client.get_lifecycle_policy(repositoryName="blue/weather")["lifecyclePolicyText"]
    assert json.loads(text)["rules"][0]["selection"]["countNumber"] == KEPT_IMAGES


def test_prepare_can_be_repeated(ecr: Ecr, repositories: EcrRepositories) -> None:
    repositories.prepare("weather", say)
    repositories.prepare("weather", say)
    assert ecr.requests.count("CreateRepository") == 1


def test_tags_are_listed_and_repository_deleted(ecr: Ecr, repositories: EcrRepositories) -> None:
    repositories.prepare("weather", say)
    for tag in ("aaaaaaaaaaaa", "bbbbbbbbbbbb", "0000000000aa"):
        put(ecr, "weather", tag)
    assert sorted(repositories.tags("weather")) == ["0000000000aa", "aaaaaaaaaaaa", "bbbbbbbbbbbb"]
    assert repositories.delete("weather") == []
    assert repositories.delete("weather") == []
    assert repositories.tags("weather") == []
    assert ecr.client.describe_repositories()["repositories"] == []


def test_tags_are_listed_oldest_first_across_pages() -> None:
    """moto gives all images the same time, so a stub answers here: two pages, the newest image first."""
    from datetime import datetime, timezone

    from botocore.stub import Stubber

    with mock_aws():
        client = Ecr().client
    day = {n: datetime(2030, 1, n, tzinfo=timezone.utc) for n in (1, 2, 3)}
    request = {"repositoryName": "blue/weather", "filter": {"tagStatus": "TAGGED"}}
    with Stubber(client) as stubber:
        arn = f"arn:aws:ecr:eu-west-1:{ACCOUNT}:repository/blue/weather"
        stubber.add_response("describe_repositories", {"repositories": [{"repositoryArn": arn}]})
        stubber.add_response("list_tags_for_resource", {"tags": [{"Key": "ecsconsul:lab", "Value": "blue"}]})
        newest = {"imageTags": ["c"], "imagePushedAt": day[3]}
        rest = [{"imageTags": ["b"], "imagePushedAt": day[2]}, {"imageTags": ["a"], "imagePushedAt": day[1]}, {}]
        stubber.add_response("describe_images", {"imageDetails": [newest], "nextToken": "more"}, request)
        stubber.add_response("describe_images", {"imageDetails": rest}, {**request, "nextToken": "more"})
        assert EcrRepositories("blue", lambda service: client).tags("weather") == ["a", "b", "c"]


def test_untagged_repository_is_never_touched(ecr: Ecr, repositories: EcrRepositories) -> None:
    ecr.client.create_repository(repositoryName="blue/weather")
    for use in (
        lambda: repositories.tags("weather"),
        lambda: repositories.prepare("weather", say),
        lambda: repositories.delete("weather"),
    ):
        with pytest.raises(LabError, match="this lab did not make it"):
            use()
    assert len(ecr.client.describe_repositories()["repositories"]) == 1


def test_login_is_requested_once(ecr: Ecr, repositories: EcrRepositories) -> None:
    assert repositories.blockers() == []
    assert repositories.name("weather") == f"{HOST}/blue/weather"
    login = repositories.login()
    assert (login["username"], login["serveraddress"]) == ("AWS", f"https://{HOST}")
    assert repositories.name("portal") == f"{HOST}/blue/portal"
    assert ecr.requests == ["GetAuthorizationToken"]


def test_denied_login_is_a_blocker() -> None:
    from botocore.stub import Stubber

    with mock_aws():
        client = Ecr().client
    with Stubber(client) as stubber:
        stubber.add_client_error("get_authorization_token", "AccessDeniedException", "no")
        (blocker,) = EcrRepositories("blue", lambda service: client).blockers()
    assert blocker.what == "ECR doesn't issue a login for pushing"
    assert "docs/aws.md" in blocker.hint


def test_missing_lifecycle_policies_do_not_stop_a_push(ecr: Ecr, repositories: EcrRepositories) -> None:
    def refuse(**_: Any) -> Any:
        from botocore.awsrequest import AWSResponse

        answer = {"__type": "UnknownOperationException", "message": "not here"}

        class Body:
            def stream(self) -> Iterator[bytes]:
                yield json.dumps(answer).encode()

        return AWSResponse("http://x/", 501, {"x-amzn-errortype": "UnknownOperationException"}, Body())

    ecr.client.meta.events.register_first("before-send.ecr.PutLifecyclePolicy", refuse)
    output: list[str] = []
    repositories.prepare("weather", output.append)
    assert "has no lifecycle rule" in output[-1]
    assert len(ecr.client.describe_repositories()["repositories"]) == 1


def test_lab_without_registry_uses_ecr(ecr: Ecr, tmp_path: Path) -> None:
    images = RegistryImages(Lab(name="blue"), None, ecr, lambda: "arm64")
    assert images.reference("weather", "0123456789ab") == f"{HOST}/blue/weather:0123456789ab-arm64"
    EcrRepositories("blue", ecr).prepare("weather", say)
    for tag in ("0123456789ab", "0123456789ab-arm64", "latest"):
        put(ecr, "weather", tag)
    assert images.tags("weather") == ["0123456789ab"]
    images.delete("weather")
    assert ecr.client.describe_repositories()["repositories"] == []


def test_repr_does_not_show_the_password(repositories: EcrRepositories) -> None:
    password = repositories.login()["password"]
    assert password == f"{ACCOUNT}-auth-token"
    assert password not in repr(vars(repositories))
