"""The AWS session of a command: account, region, and clients whose errors say what to do."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from ...errors import LabError, Unreachable
from ..client_errors import client_error, error_code

CONNECT_TIMEOUT, READ_TIMEOUT = 5, 60
# attempts for each request, with the backoff of botocore's standard mode; they wait out throttling
ATTEMPTS = 5
# their answers aren't worth a long wait; emulators that lack them answer with an internal error
_ATTEMPTS = {"iam": 2, "resourcegroupstaggingapi": 2}
# https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html and those of STS and S3
_BAD_CREDENTIALS = {
    "ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidClientTokenId", "UnrecognizedClientException",
    "AuthFailure", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature",
    "MissingAuthenticationToken", "MissingAuthenticationTokenException", "OptInRequired",
}  # fmt: skip
_DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "UnauthorizedAccess"}
# how emulators answer for an operation that they lack
_UNSUPPORTED = {
    "NotImplemented", "NotImplementedException", "NotImplementedError", "InvalidAction", "UnknownOperationException",
    "UnsupportedOperation", "UnsupportedOperationException", "InternalFailure", "InternalError", "InternalServerError",
    "404", "500", "501",
}  # fmt: skip
_LOG_IN = "log in again (`aws sso login` or `aws configure`), or choose another profile with --profile or AWS_PROFILE"
_POLICY = "attach the policies in docs/aws.md; `ecsconsul doctor` checks each of their permissions"
_DEBUG = "run the command again with --debug to see the request"

T = TypeVar("T")


@dataclass(frozen=True)
class Identity:
    """The caller."""

    account: str
    arn: str

    @property
    def partition(self) -> str:
        """aws, aws-cn or aws-us-gov."""
        return [*self.arn.split(":"), "aws"][1] or "aws"


class Session:
    """Creates each client of a command once, and looks up the caller once."""

    def __init__(self, region: str | None, profile: str | None) -> None:
        # boto3 itself only reads AWS_DEFAULT_REGION
        self._region = region or os.environ.get("AWS_REGION")
        self._profile = profile
        self._lock = threading.RLock()
        self._session: Any = None
        self._clients: dict[str, Any] = {}
        self._identity: Identity | None = None
        # called before each request; raises LabError to stop a command that may not go on
        self.guard: Callable[[], None] | None = None

    @property
    def profile(self) -> str | None:
        """The profile from the command line or AWS_PROFILE."""
        return self._profile or os.environ.get("AWS_PROFILE")

    @property
    def region(self) -> str:
        """The region from the command line, AWS_REGION or the profile. Raises LabError if there is none."""
        found = self._region or self._boto3().region_name
        if not found:
            raise LabError(
                "No AWS region is set",
                where=f"profile {self.profile}" if self.profile else "command line, AWS_REGION, default profile",
                hint="pass --region (for example eu-central-1), set AWS_REGION, or add `region = ...` to the profile",
            )
        return str(found)

    def endpoint(self) -> str | None:
        """The URL of an emulator that all requests go to, if there is one."""
        return os.environ.get("AWS_ENDPOINT_URL") or None

    def client(self, service: str) -> Any:
        """A boto3 client. Raises LabError if the profile, its credentials or the region are missing."""
        with self._lock:
            if service not in self._clients:
                client = self._new_client(service, self.region, total_max_attempts=_ATTEMPTS.get(service, ATTEMPTS))
                client.meta.events.register("before-call", self._ask_guard)
                self._clients[service] = client
            return self._clients[service]

    def impatient_client(self, service: str, *, region: str = "", read_timeout: float, attempts: int) -> Any:
        """A client of its own that the guard doesn't stop, and that waits only so many seconds for an answer."""
        limits = {"connect_timeout": min(read_timeout, CONNECT_TIMEOUT), "read_timeout": read_timeout}
        with self._lock:
            return self._new_client(service, region or self.region, total_max_attempts=attempts, **limits)

    def _ask_guard(self, **_: Any) -> None:
        if self.guard:
            self.guard()

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
                    raise _translated(error) from error
            return self._session

    def _new_client(
        self,
        service: str,
        region: str,
        *,
        total_max_attempts: int,
        connect_timeout: float = CONNECT_TIMEOUT,
        read_timeout: float = READ_TIMEOUT,
    ) -> Any:
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        try:
            if self._boto3().get_credentials() is None:
                where = f"profile {self.profile or 'default'}"
                why = "neither the environment nor the profile has any"
                raise LabError("There are no AWS credentials", where=where, why=why, hint=_LOG_IN)
            config = Config(
                connect_timeout=connect_timeout,
                read_timeout=read_timeout,
                retries={"mode": "standard", "total_max_attempts": total_max_attempts},
                # steps run in parallel
                max_pool_connections=32,
                user_agent_extra="ecsconsul",
                # an emulator's buckets have no names of their own in DNS
                s3={"addressing_style": "path" if self.endpoint() else "auto"},
            )
            client = self._boto3().client(service, region_name=region, config=config)
        except BotoCoreError as error:
            raise _translated(error) from error
        client.meta.events.register("after-call", _check_credentials)
        client.meta.events.register("after-call-error", _translate_failure)
        return client


def _check_credentials(parsed: dict[str, Any], model: Any, **_: Any) -> None:
    """Raises LabError if AWS rejects the credentials; callers handle other errors."""
    error = parsed.get("Error") or {}
    code = error.get("Code", "")
    if code in _BAD_CREDENTIALS:
        raise LabError(
            "AWS rejects the credentials",
            where=f"{model.service_model.service_id}:{model.name}",
            why=f"{code}: {error.get('Message', '')}",
            hint=_LOG_IN,
        )


def _translate_failure(exception: Exception, event_name: str, **_: Any) -> None:
    """Raises LabError for a request without an answer, ClientError for an answer that isn't AWS's."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    if isinstance(exception, BotoCoreError):
        raise _translated(exception) from exception
    if isinstance(exception, ResponseParserError):
        answer = {"Error": {"Code": "InternalError", "Message": str(exception).partition("\n")[0]}}
        raise ClientError(answer, event_name.rpartition(".")[2]) from exception


def _translated(error: Exception) -> LabError:
    """Our error for one that botocore raised before AWS answered."""
    from botocore import exceptions

    unreached = (exceptions.ConnectionError, exceptions.HTTPClientError)
    if isinstance(error, unreached):
        return Unreachable(
            "AWS doesn't answer",
            why=str(error),
            hint="check the internet connection, --region, and AWS_ENDPOINT_URL if it is set",
        )
    if isinstance(error, exceptions.ProfileNotFound):
        hint = "choose one of those that `aws configure list-profiles` shows"
        return LabError("There is no such AWS profile", why=str(error), hint=hint)
    if isinstance(error, exceptions.NoRegionError):
        return LabError("No AWS region is set", hint="pass --region (for example eu-central-1), or set AWS_REGION")
    why = f"{type(error).__name__}: {error}"
    unusable = (
        exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.CredentialRetrievalError,
        exceptions.TokenRetrievalError, exceptions.RefreshWithMFAUnsupportedError, exceptions.UnknownCredentialError,
        exceptions.InvalidConfigError, exceptions.SSOError,
    )  # fmt: skip
    if isinstance(error, unusable):
        return LabError("The AWS credentials can't be used", why=why, hint=_LOG_IN)
    return LabError("The request to AWS failed", why=why, hint=_DEBUG)


def is_denied(error: Exception) -> bool:
    """Whether AWS knows the caller and doesn't allow the request."""
    return error_code(error) in _DENIED


def is_inconclusive(error: Exception) -> bool:
    """Whether an error says nothing about the resource: the caller may not ask, or an emulator lacks the operation."""
    return is_denied(error) or error_code(error) in _UNSUPPORTED


def unless_inconclusive(request: Callable[[], T]) -> T | None:
    """What a request returns; None if its error is inconclusive."""
    try:
        return request()
    except client_error() as error:
        if not is_inconclusive(error):
            raise
        return None


def refused(what: str, error: Exception, *, where: str = "") -> LabError:
    """Our error for one that AWS answered with."""
    hint = _POLICY if is_denied(error) else _DEBUG
    return LabError(what, where=where, why=str(error), hint=hint)
