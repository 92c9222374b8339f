"""What a handler of one resource type is, and the account it acts on.

A handler is the emulated provider's knowledge of one type: what AWS refuses, which calls make, read,
change and end a thing, and what its properties mean when they are compared. Used by the mocks, by the
runner without an engine and by the provider plugin. The invariant: ``read`` needs nothing but the id,
because an import and a repair have nothing else.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, ClassVar

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, ParamValidationError

Properties = dict[str, Any]
Inputs = Mapping[str, Any]
Invoke = Callable[[str, dict[str, Any]], dict[str, Any]]

ACCOUNT = "123456789012"
REGION = "us-east-1"
fixed = MappingProxyType
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""How Pulumi's protocol writes a value that is not known before the apply."""
_CONFIG = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, max_pool_connections=32)


class Refused(Exception):
    """AWS says no: the code it answers with, and its words."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class Aws:
    """Clients of one emulated account in one region; may be used from any thread.

    Args:
        endpoint: address of the emulation.
        invoke: runs the functions of the account; the emulation keeps them and runs nothing.
        transport: carries the calls instead of a socket, as botocore's HTTP session does.
    """

    def __init__(
        self, endpoint: str, region: str = REGION, invoke: Invoke | None = None, transport: Any = None
    ) -> None:
        self.endpoint = endpoint
        self.region = region
        self.invoke = invoke
        self._transport = transport
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()

    def __call__(self, service: str) -> Any:
        # Making a client is not thread safe, and the engine asks for sixteen things at once.
        with self._lock:
            if service not in self._clients:
                make: Any = boto3.client
                self._clients[service] = make(
                    service,
                    endpoint_url=self.endpoint,
                    region_name=self.region,
                    aws_access_key_id="test",
                    aws_secret_access_key="test",
                    config=_CONFIG,
                )
                if self._transport is not None:
                    self._clients[service]._endpoint.http_session = self._transport
            return self._clients[service]

    def arn(self, service: str, resource: str) -> str:
        """The ARN of something regional."""
        return f"arn:aws:{service}:{self.region}:{ACCOUNT}:{resource}"


class Handler(ABC):
    """One resource type.

    Paths are written with dots (``vpcConfig.subnetIds``); the elements of a list share one path.

    Attributes:
        replace: a change of these makes a new thing.
        computed: AWS alone decides on these.
        decided: AWS decides where the program says nothing.
        unread: AWS never gives these back.
        unordered: lists whose order means nothing.
        documents: JSON texts, the same whatever their layout.
        free: maps whose keys are the user's own, such as tags.
        defaults: what the program gets where it says nothing.
        named: the property the provider would make up a name for.
    """

    token: ClassVar[str]
    replace: ClassVar[frozenset[str]] = frozenset()
    computed: ClassVar[frozenset[str]] = frozenset({"arn"})
    decided: ClassVar[frozenset[str]] = frozenset()
    unread: ClassVar[frozenset[str]] = frozenset()
    unordered: ClassVar[frozenset[str]] = frozenset()
    documents: ClassVar[frozenset[str]] = frozenset()
    free: ClassVar[frozenset[str]] = frozenset({"tags"})
    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    named: ClassVar[str] = ""
    delete_before_replace: ClassVar[bool] = False

    def check(self, inputs: Inputs, region: str) -> Iterator[str]:
        """What is wrong with the inputs by themselves, in AWS's words. Everything in them is known."""
        yield from ()

    @abstractmethod
    def create(self, aws: Aws, inputs: Inputs) -> str:
        """Make it and return its id, as the real provider forms ids."""

    @abstractmethod
    def read(self, aws: Aws, identity: str) -> Properties | None:
        """Every property, or ``None`` when it is gone."""

    def update(self, aws: Aws, identity: str, inputs: Inputs, changed: set[str]) -> None:
        """Bring what is there to ``inputs``, which differ at the paths ``changed``."""
        raise Refused("NotUpdatable", f"{self.token} cannot be changed: {', '.join(sorted(changed))}")

    def change(self, aws: Aws, identity: str, before: Inputs, inputs: Inputs, changed: set[str]) -> None:
        """As ``update``, for a type to which it matters what was asked ``before``."""
        self.update(aws, identity, inputs, changed)

    @abstractmethod
    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        """End it; when it is gone already, do nothing."""

    def key(self, inputs: Inputs) -> str:
        """What names it in the account apart from its id; empty where nothing does."""
        return str(inputs.get(self.named, "")) if self.named else ""

    def pretend(self, inputs: Inputs, identity: str) -> Properties:
        """Computed outputs without any account: for mocks, and for which of them exist at all."""
        service, _, kind = self.token.removeprefix("aws:").partition("/")
        return (
            {"arn": f"arn:aws:{service}:{REGION}:{ACCOUNT}:{kind.partition(':')[0]}/{identity}"}
            if "arn" in self.computed
            else {}
        )


REGISTRY: dict[str, Handler] = {}


def register(token: str) -> Callable[[type[Handler]], type[Handler]]:
    """Make the class below the handler of ``token``."""

    def add(kind: type[Handler]) -> type[Handler]:
        kind.token = token
        REGISTRY[token] = kind()
        return kind

    return add


def paths(text: str) -> frozenset[str]:
    """The words of ``text``."""
    return frozenset(text.split())


@contextmanager
def in_words(what: str) -> Iterator[None]:
    """Say of a refusal what was tried.

    Raises:
        Refused: AWS, or its client, refused.
    """
    try:
        yield
    except ClientError as error:
        about = error.response["Error"]
        raise Refused(about["Code"], f"{what}: {about['Message']}") from error
    except ParamValidationError as error:
        raise Refused("ValidationError", f"{what}: {error}") from error


_ABSENT = ("NotFound", "NoSuch", "404", "NotFoundException", "ResourceNotFound")


def gone(error: ClientError) -> bool:
    """Whether AWS says that there is no such thing."""
    return any(sign in error.response["Error"]["Code"] for sign in _ABSENT)


def found(call: Callable[[], Any]) -> Any:
    """What ``call`` answers, or ``None`` when AWS says that there is no such thing."""
    try:
        return call()
    except ClientError as error:
        if gone(error):
            return None
        raise


def tag_list(tags: Mapping[str, str] | None, key: str = "Key", value: str = "Value") -> list[dict[str, str]]:
    """Tags as most of AWS's calls want them."""
    return [{key: name, value: text} for name, text in (tags or {}).items()]


def tag_map(tags: list[dict[str, str]] | None, key: str = "Key", value: str = "Value") -> dict[str, str]:
    """Tags as properties; AWS's own are not the program's."""
    return {tag[key]: tag[value] for tag in tags or [] if not tag[key].startswith("aws:")}


def put(target: Properties, **members: Any) -> Properties:
    """Add those members that say something."""
    target.update({name: value for name, value in members.items() if value not in (None, "", [], {})})
    return target
