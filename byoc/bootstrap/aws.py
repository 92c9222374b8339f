"""The customer's account, as this package calls it: clients, who we are there, AWS's refusals in our words.

The home of boto3. The invariant: no exception of botocore leaves a ``with translated(...)`` block.
"""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any, Final

from boto3 import Session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    InvalidRegionError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOTokenLoadError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)

from byoc.errors import ByocError, Failed, Forbidden, PreconditionFailed, Unreachable

_CONFIG: Final = Config(
    retries={"mode": "standard", "max_attempts": 5},
    connect_timeout=10,
    read_timeout=60,
    user_agent_extra="byoc",
)
_EXPIRED: Final = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
_WRONG: Final = {
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "AuthFailure",
    "SignatureDoesNotMatch",
}
_DENIED: Final = {
    "AccessDenied",
    "AccessDeniedException",
    "UnauthorizedOperation",
    "UnauthorizedAccess",
    "403",
}
# The words with which AWS names the layer that said no.
_LAYERS: Final = (
    ("service control policy", "a service control policy of the organization"),
    ("resource control policy", "a resource control policy of the organization"),
    ("permissions boundary", "the permissions boundary of your identity"),
    ("session policy", "the policy of your session"),
    ("resource-based policy", "the policy of the resource itself"),
    ("identity-based policy", "the policies of your identity"),
)
_ACTION: Final = re.compile(r"perform:? ([a-z0-9-]+:[A-Za-z]+)")


@dataclass(frozen=True, slots=True)
class Identity:
    """As whom AWS knows us."""

    account: str
    arn: str

    @property
    def partition(self) -> str:
        """``aws``, ``aws-cn`` or ``aws-us-gov``."""
        return self.arn.split(":")[1]


class Account:
    """One account in one region.

    Args:
        session: credentials of the customer; never stored, never logged.
        region: where the cell is to be.
    """

    def __init__(self, session: Session, region: str) -> None:
        self.region = region
        self._session = session
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()

    def client(self, service: str) -> Any:
        """Return the client of one AWS service, made once. May be called from any thread."""
        with self._lock:
            if service not in self._clients:
                make: Any = self._session.client
                self._clients[service] = make(service, region_name=self.region, config=_CONFIG)
            return self._clients[service]

    @cached_property
    def identity(self) -> Identity:
        """As whom the credentials speak.

        Raises:
            PreconditionFailed: there are none, or they have expired; or AWS has no such region.
        """
        try:
            with translated("sts:GetCallerIdentity"):
                found = self.client("sts").get_caller_identity()
        except Unreachable as error:
            raise self._no_region() or error from error
        return Identity(found["Account"], found["Arn"])

    def _no_region(self) -> PreconditionFailed | None:
        """Say that the region does not exist; one that is newer than this release answers, so nobody asks."""
        known = [
            region
            for partition in self._session.get_available_partitions()
            for region in self._session.get_available_regions("eks", partition_name=partition)
        ]
        if self.region in known:
            return None
        near = get_close_matches(self.region, known, 1)
        hint = f"did you mean {near[0]}?" if near else "such as eu-west-1"
        return PreconditionFailed(f"AWS has no region `{self.region}`, or none that answers", hint=hint)

    @property
    def credentials(self) -> tuple[str, str, str]:
        """Key id, secret and session token as they are now, to sign with.

        Raises:
            PreconditionFailed: there are none, or they have expired.
        """
        with translated("sts:GetCallerIdentity"):
            found = self._session.get_credentials()
            if found is None:
                raise NoCredentialsError
            now = found.get_frozen_credentials()
        return now.access_key or "", now.secret_key or "", now.token or ""


def open_account(region: str, *, profile: str | None = None) -> Account:
    """Return the account that the caller's AWS configuration names.

    Raises:
        PreconditionFailed: there is no such profile.
    """
    try:
        session = Session(profile_name=profile)
    except ProfileNotFound as error:
        raise PreconditionFailed(
            f"there is no AWS profile `{profile}`", hint="aws configure list-profiles shows those there are"
        ) from error
    return Account(session, region)


@contextmanager
def translated(action: str) -> Iterator[None]:
    """Turn what botocore raises inside into our tree; ``action`` is what was tried: ``ec2:CreateVpc``.

    Raises:
        PreconditionFailed: no credentials, or none that AWS takes.
        Forbidden: the credentials do not allow it; the hint names the layer that refused.
        Unreachable: AWS could not be reached.
        Failed: anything else AWS answered.
    """
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise PreconditionFailed(
            "there are no AWS credentials", hint="aws configure, or set AWS_PROFILE"
        ) from error
    except (SSOTokenLoadError, UnauthorizedSSOTokenError, TokenRetrievalError) as error:
        raise PreconditionFailed("the AWS session has ended", hint="aws sso login") from error
    except ClientError as error:
        raise _answered(error, action) from error
    except InvalidRegionError as error:
        raise PreconditionFailed(
            f"`{error.kwargs['region_name']}` is no region", hint="a region's code, such as eu-west-1"
        ) from error
    except EndpointConnectionError as error:
        raise Unreachable(f"AWS cannot be reached for {action}", hint="check network and region") from error
    except BotoCoreError as error:
        raise Failed(f"{action}: {error}") from error


def code_of(error: ClientError) -> str:
    """Return AWS's code of a refusal, such as ``AccessDenied``."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _answered(error: ClientError, action: str) -> ByocError:
    code, words = code_of(error), str(error.response.get("Error", {}).get("Message", ""))
    if code in _EXPIRED:
        return PreconditionFailed("the AWS credentials have expired", hint="log in to AWS again")
    if code in _WRONG:
        return PreconditionFailed("AWS does not know these credentials", hint="aws sts get-caller-identity")
    if code in _DENIED:
        found = _ACTION.search(words)
        return Forbidden(f"AWS denied {found[1] if found else action}", hint=_refused_by(words))
    return Failed(f"AWS refused {action}: {code}: {_first_line(words)}")


def _refused_by(words: str) -> str:
    for sign, layer in _LAYERS:
        if sign in words:
            return f"refused by {layer}; `byoc cell permissions` prints what is needed"
    return "`byoc cell permissions` prints what is needed"


def _first_line(words: str) -> str:
    return words.splitlines()[0][:300] if words else "no reason given"
