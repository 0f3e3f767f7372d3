"""The AWS session of a command: whose account, which region, and clients whose failures say what to do."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import Any

from ...errors import LabError, Unreachable
from ..client_errors import error_code

CONNECT_TIMEOUT, READ_TIMEOUT = 5, 60
# of each request, with the pauses of botocore's standard mode between them: throttling is waited out
ATTEMPTS = 5
# what they tell is not worth waiting for; emulators that lack them answer with an internal error
_ATTEMPTS = {"iam": 2, "resourcegroupstaggingapi": 2}
# https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html and those of STS and S3
_BAD_CREDENTIALS = {
    "ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidClientTokenId", "UnrecognizedClientException",
    "AuthFailure", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature",
    "MissingAuthenticationToken", "MissingAuthenticationTokenException", "OptInRequired",
}  # fmt: skip
_DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "UnauthorizedAccess"}
# how emulators say that they lack an operation
_LACKING = {
    "NotImplemented", "NotImplementedException", "NotImplementedError", "InvalidAction", "UnknownOperationException",
    "UnsupportedOperation", "UnsupportedOperationException", "InternalFailure", "InternalError", "InternalServerError",
    "404", "500", "501",
}  # fmt: skip
_LOG_IN = "log in anew (`aws sso login`, `aws configure`), or name another profile with --profile or AWS_PROFILE"
_POLICY = "docs/aws.md has the policy that the lab needs; `ecsconsul doctor` asks for each of its permissions"


@dataclass(frozen=True)
class Identity:
    """Who calls."""

    account: str
    arn: str

    @property
    def partition(self) -> str:
        """aws, aws-cn or aws-us-gov."""
        return [*self.arn.split(":"), "aws"][1] or "aws"


class Session:
    """Makes the clients of one command, each once; asks who the caller is, once."""

    def __init__(self, region: str | None, profile: str | None) -> None:
        # boto3 itself heeds AWS_DEFAULT_REGION only
        self._region = region or os.environ.get("AWS_REGION")
        self._profile = profile
        self._lock = threading.RLock()
        self._session: Any = None
        self._clients: dict[str, Any] = {}
        self._identity: Identity | None = None

    @property
    def profile(self) -> str | None:
        """The profile that was named, on the command line or in AWS_PROFILE."""
        return self._profile or os.environ.get("AWS_PROFILE")

    @property
    def region(self) -> str:
        """The region that was named, or the profile's. Raises LabError when there is none."""
        found = self._region or self._boto3().region_name
        if not found:
            raise LabError(
                "No AWS region is named",
                where=f"profile {self.profile}" if self.profile else "",
                hint="--region eu-central-1, or AWS_REGION, or `region = ...` in the profile",
            )
        return str(found)

    def endpoint(self) -> str | None:
        """The URL that all requests go to, where it is not AWS's own."""
        return os.environ.get("AWS_ENDPOINT_URL") or None

    def client(self, service: str) -> Any:
        """A boto3 client. Raises LabError when the profile, its credentials or the region are missing."""
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._new_client(service)
            return self._clients[service]

    def identity(self) -> Identity:
        """The account and the caller. Raises LabError."""
        with self._lock:
            if self._identity is None:
                found = self.client("sts").get_caller_identity()
                self._identity = Identity(found["Account"], found["Arn"])
            return self._identity

    def _boto3(self) -> Any:
        import boto3
        from botocore.exceptions import BotoCoreError

        with self._lock:
            if self._session is None:
                try:
                    self._session = boto3.Session(profile_name=self._profile, region_name=self._region)
                except BotoCoreError as error:
                    raise _about(error) from error
            return self._session

    def _new_client(self, service: str) -> Any:
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        region = self.region
        try:
            if self._boto3().get_credentials() is None:
                raise LabError("There are no AWS credentials", hint=_LOG_IN)
            config = Config(
                connect_timeout=CONNECT_TIMEOUT,
                read_timeout=READ_TIMEOUT,
                retries={"mode": "standard", "total_max_attempts": _ATTEMPTS.get(service, ATTEMPTS)},
                # the services of a lab are walked side by side
                max_pool_connections=32,
                user_agent_extra="ecsconsul",
            )
            client = self._boto3().client(service, region_name=region, config=config)
        except BotoCoreError as error:
            raise _about(error) from error
        client.meta.events.register("after-call", _heed_refusal)
        client.meta.events.register("after-call-error", _heed_failure)
        return client


def _heed_refusal(parsed: dict[str, Any], model: Any, **_: Any) -> None:
    """Raises LabError for an answer that says that the caller is not known; others are for who asked."""
    error = parsed.get("Error") or {}
    code = error.get("Code", "")
    if code in _BAD_CREDENTIALS:
        raise LabError(
            "AWS does not accept the credentials",
            where=f"{model.service_model.service_id}:{model.name}",
            why=f"{code}: {error.get('Message', '')}",
            hint=_LOG_IN,
        )


def _heed_failure(exception: Exception, event_name: str, **_: Any) -> None:
    """Raises LabError for a request that got no answer, ClientError for an answer that is none of AWS's."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    if isinstance(exception, BotoCoreError):
        raise _about(exception) from exception
    if isinstance(exception, ResponseParserError):
        refusal = {"Error": {"Code": "InternalError", "Message": str(exception).partition("\n")[0]}}
        raise ClientError(refusal, event_name.rpartition(".")[2]) from exception


def _about(error: Exception) -> LabError:
    """An error of botocore before AWS has answered, in our own form."""
    from botocore import exceptions

    unreached = (exceptions.ConnectionError, exceptions.HTTPClientError)
    if isinstance(error, unreached):
        return Unreachable(
            "AWS does not answer",
            why=str(error),
            hint="is there a way to the internet, and do --region and AWS_ENDPOINT_URL name what you mean?",
        )
    if isinstance(error, exceptions.ProfileNotFound):
        return LabError("There is no such AWS profile", why=str(error), hint="`aws configure list-profiles` shows them")
    if isinstance(error, exceptions.NoRegionError):
        return LabError("No AWS region is named", hint="--region eu-central-1, or AWS_REGION")
    why = f"{type(error).__name__}: {error}"
    if isinstance(error, _credential_errors()):
        return LabError("The AWS credentials cannot be used", why=why, hint=_LOG_IN)
    return LabError("The request to AWS failed", why=why, hint="--debug shows what went over the wire")


def _credential_errors() -> tuple[type[Exception], ...]:
    from botocore import exceptions as e

    return (
        e.NoCredentialsError, e.PartialCredentialsError, e.CredentialRetrievalError, e.TokenRetrievalError,
        e.RefreshWithMFAUnsupportedError, e.UnknownCredentialError, e.InvalidConfigError, e.SSOError,
    )  # fmt: skip


def is_denied(error: Exception) -> bool:
    """Whether AWS knows the caller and does not let it do this."""
    return error_code(error) in _DENIED


def tells_nothing(error: Exception) -> bool:
    """Whether a refusal says nothing of what was asked for: the caller may not ask, or an emulator lacks the answer."""
    return is_denied(error) or error_code(error) in _LACKING


def refused(what: str, error: Exception, *, where: str = "") -> LabError:
    """A refusal of AWS, in our own form."""
    hint = _POLICY if is_denied(error) else "--debug shows what went over the wire"
    return LabError(what, where=where, why=str(error), hint=hint)
