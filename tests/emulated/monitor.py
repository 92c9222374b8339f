"""Runs a Pulumi program without an engine, and is strict about what it registers.

``deploy`` gives the program a loop and settings of its own and returns everything it registered: the
stock mocks forget dependencies and options, and let two resources share a URN.
"""

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import pulumi
from google.protobuf import empty_pb2
from pulumi.runtime import mocks as sdk
from pulumi.runtime import rpc, settings
from pulumi.runtime.proto import resource_pb2
from pulumi.runtime.stack import run_in_stack

from byoc.cell.recorder import AtOnce
from tests.emulated import resources
from tests.emulated.handlers import handler
from tests.emulated.handlers.handler import REGION, UNKNOWN, Aws, Properties, Refused
from tests.emulated.semantics import foreseen, merged
from tests.emulated.spared import spared

PROJECT, STACK = "byoc", "test"
_STACK_TYPE = "pulumi:pulumi:Stack"


@dataclass(frozen=True)
class Registration:
    """One resource as the program registered it.

    Attributes:
        inputs: plain; what is known only after the apply is ``UNKNOWN``.
        secrets: paths of the inputs that are secret.
        depends_on: URNs.
        property_dependencies: URNs by input.
    """

    urn: str
    token: str
    name: str
    parent: str
    custom: bool
    inputs: Mapping[str, Any]
    secrets: frozenset[str]
    depends_on: frozenset[str]
    property_dependencies: Mapping[str, frozenset[str]]
    protect: bool
    retain: bool
    deleted_with: str
    ignore_changes: tuple[str, ...]
    replace_on_changes: tuple[str, ...]
    delete_before_replace: bool
    secret_outputs: tuple[str, ...]
    aliases: int
    provider: str


class Mocks(Protocol):
    """What stands behind the monitor."""

    def resource(self, asked: Registration, *, preview: bool) -> tuple[str, Properties]:
        """The id and outputs of a resource."""


class PlainMocks:
    """Every resource is at once there, with made-up outputs; the checks of the provider hold."""

    def __init__(self, region: str = REGION) -> None:
        self.region = region

    def resource(self, asked: Registration, *, preview: bool) -> tuple[str, Properties]:
        """The inputs and what AWS would add, out of nothing."""
        if not asked.token.startswith("aws:"):
            return ("" if preview else f"{asked.name}-id"), dict(asked.inputs)
        of = handler(asked.token)
        inputs = resources.ready(asked.token, asked.name, asked.inputs, self.region)
        if preview:
            return "", foreseen(of, inputs)
        identity = of.key(inputs) or f"{asked.name}-id"
        return identity, merged(inputs, of.pretend(inputs, identity))


class AccountMocks:
    """Every resource is made in an emulated account."""

    def __init__(self, aws: Aws) -> None:
        self.aws = aws

    def resource(self, asked: Registration, *, preview: bool) -> tuple[str, Properties]:
        """Make it, unless this is a preview."""
        if preview or not asked.token.startswith("aws:"):
            return PlainMocks(self.aws.region).resource(asked, preview=preview)
        inputs = resources.ready(asked.token, asked.name, asked.inputs, self.aws.region)
        return resources.create(self.aws, asked.token, asked.name, inputs)


@dataclass
class Deployment:
    """What one run of a program registered.

    Attributes:
        resources: by URN, in the order of registration.
        outputs: of each custom resource, by URN.
        registered: outputs that components registered, by URN.
        exports: of the stack.
        secret_exports: those that are secret.
    """

    resources: dict[str, Registration] = field(default_factory=dict)
    outputs: dict[str, Properties] = field(default_factory=dict)
    registered: dict[str, Properties] = field(default_factory=dict)
    exports: Properties = field(default_factory=dict)
    secret_exports: set[str] = field(default_factory=set)

    def of(self, token: str) -> list[Registration]:
        """The resources of one type."""
        return [one for one in self.resources.values() if one.token == token]

    def one(self, token: str, name: str) -> Registration:
        """The only resource of this type and name.

        Raises:
            LookupError: there is none.
        """
        for one in self.of(token):
            if one.name == name:
                return one
        raise LookupError(f"{token} `{name}` is not registered: {[one.name for one in self.of(token)]}")

    def waits_for(self, urn: str) -> set[str]:
        """URNs of everything a resource waits for, itself or through others, its parents' waits too."""
        seen: set[str] = set()
        todo = [urn]
        while todo:
            at = self.resources.get(todo.pop())
            if at is not None:
                more = (at.depends_on | ({at.parent} if at.parent else set())) - seen
                seen |= more
                todo += more
        return {one for one in seen if one in self.resources}


class StrictMonitor(sdk.MockMonitor):
    """Answers registrations from mocks, keeps all of them, and refuses a second of the same URN."""

    def __init__(self, mocks: Mocks, *, preview: bool = False) -> None:
        self.behind = mocks
        self.preview = preview
        self.seen = Deployment()
        self.resources = {}

    def make_urn(self, parent: str, type_: str, name: str) -> str:
        """The URN as the engine writes it: the stack is nobody's type."""
        kinds = parent.split("::")[2] if parent else ""
        qualified = f"{kinds}${type_}" if kinds and kinds != _STACK_TYPE else type_
        return f"urn:pulumi:{STACK}::{PROJECT}::{qualified}::{name}"

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 - the name in Pulumi's protocol
        """Answer one registration."""
        urn = self.make_urn(request.parent, request.type, request.name)
        if request.type == _STACK_TYPE:
            return resource_pb2.RegisterResourceResponse(urn=urn)
        if urn in self.seen.resources:
            raise Refused("DuplicateURN", f"{request.type} `{request.name}` is registered twice")
        asked = self.seen.resources[urn] = _registration(urn, request)
        answer = resource_pb2.RegisterResourceResponse(urn=urn)
        if not asked.custom:
            answer.object.CopyFrom(request.object)
            return answer
        answer.id, outputs = self.behind.resource(asked, preview=self.preview)
        self.seen.outputs[urn] = outputs
        answer.object.update(_protocol(outputs, asked))
        return answer

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802 - the name in Pulumi's protocol
        """Keep what a component, or the stack, gives out."""
        secrets: set[str] = set()
        outputs = _plain(rpc.deserialize_properties(request.outputs, keep_unknowns=True), "", secrets)
        if f"::{_STACK_TYPE}::" in request.urn:
            self.seen.exports.update(outputs)
            self.seen.secret_exports.update(secrets)
        else:
            self.seen.registered[request.urn] = outputs
        return empty_pb2.Empty()

    def Invoke(self, request: Any) -> Any:  # noqa: N802 - the name in Pulumi's protocol
        """Refuse: a cell's program asks nothing, so that plan, preview and apply agree."""
        raise Refused("Invoke", f"the program asks the provider for {request.tok}")

    def ReadResource(self, request: Any) -> Any:  # noqa: N802 - the name in Pulumi's protocol
        """Refuse, as an invoke."""
        raise Refused("Read", f"the program reads {request.type} `{request.name}`")


def deploy(
    program: Callable[[], None],
    mocks: Mocks,
    *,
    preview: bool = False,
    config: Mapping[str, str] | None = None,
) -> Deployment:
    """Run ``program`` and return what it registered.

    Args:
        config: by key, of this project; ``aws:region`` where the key has a colon.

    Raises:
        Refused: the provider or AWS would refuse; what the program raises comes as it is.
    """
    monitor = StrictMonitor(mocks, preview=preview)
    contextvars.copy_context().run(_run, program, monitor, dict(config or {}))
    return monitor.seen


def _run(program: Callable[[], None], monitor: StrictMonitor, config: dict[str, str]) -> None:
    with spared(), _loop() as loop:
        settings.set_root_resource(None)  # type: ignore[arg-type]  # a program starts without one
        settings.configure(_settings(monitor))
        pulumi.runtime.set_all_config(
            {key if ":" in key else f"{PROJECT}:{key}": value for key, value in config.items()}
        )
        loop.run_until_complete(run_in_stack(program))


def _settings(monitor: StrictMonitor) -> Any:
    make: Any = sdk.MockSettings
    return make(
        monitor=monitor,
        monitor_features=set(monitor.GetDeploymentInfo(empty_pb2.Empty()).supportedFeatures),
        engine=sdk.MockEngine(None),
        project=PROJECT,
        stack=STACK,
        dry_run=monitor.preview,
        organization=None,
        callbacks=None,
        # What the SDK would share with the run before, whose tasks a failure may have left behind.
        outputs=set(),
        lock=threading.Lock(),
        package_refs={},
    )


@contextmanager
def _loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Give the program an event loop of its own, and leave nothing behind."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.set_default_executor(AtOnce())
    # A task that failed has told run_in_stack; the loop need not tell the log once more.
    loop.set_exception_handler(lambda *_: None)
    try:
        yield loop
    finally:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_default_executor())
        asyncio.set_event_loop(None)
        loop.close()


def _registration(urn: str, request: Any) -> Registration:
    secrets: set[str] = set()
    inputs = _plain(rpc.deserialize_properties(request.object, keep_unknowns=True), "", secrets)
    by_input = {name: frozenset(row.urns) for name, row in request.propertyDependencies.items()}
    return Registration(
        urn=urn,
        token=request.type,
        name=request.name,
        parent=request.parent if f"::{_STACK_TYPE}::" not in request.parent else "",
        custom=request.custom,
        inputs=inputs,
        secrets=frozenset(secrets),
        depends_on=frozenset(request.dependencies),
        property_dependencies=by_input,
        protect=request.protect,
        retain=request.retainOnDelete,
        deleted_with=request.deletedWith,
        ignore_changes=tuple(request.ignoreChanges),
        replace_on_changes=tuple(request.replaceOnChanges),
        delete_before_replace=request.deleteBeforeReplace,
        secret_outputs=tuple(request.additionalSecretOutputs),
        aliases=len(request.aliases),
        provider=request.provider,
    )


def _plain(value: Any, path: str, secrets: set[str]) -> Any:
    """A value of the protocol without its wrappings; archives stay wrapped, as a provider gets them."""
    if isinstance(value, Mapping):
        if rpc.is_rpc_secret(value):
            secrets.add(path)
            return _plain(value["value"], path, secrets)
        return {
            name: _plain(below, f"{path}.{name}" if path else name, secrets) for name, below in value.items()
        }
    if isinstance(value, list):
        return [_plain(each, path, secrets) for each in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, pulumi.output.Unknown):
        return UNKNOWN
    return _packed(value) if isinstance(value, pulumi.Archive | pulumi.Asset) else value


def _packed(value: Any) -> Properties:
    """An archive or asset as the protocol writes it."""
    if isinstance(value, pulumi.AssetArchive):
        members: Properties = {"assets": {path: _packed(each) for path, each in value.assets.items()}}
    elif isinstance(value, pulumi.StringAsset):
        members = {"text": value.text}
    else:
        members = {"path": str(value.path)}
    archive = isinstance(value, pulumi.Archive)
    kind = rpc._special_archive_sig if archive else rpc._special_asset_sig
    return {rpc._special_sig_key: kind, **members}


def _protocol(outputs: Properties, asked: Registration) -> Properties:
    """Outputs as the protocol takes them: secret stays secret."""

    def wrapped(value: Any, path: str) -> Any:
        if isinstance(value, Mapping):
            made: Any = {
                name: wrapped(below, f"{path}.{name}" if path else name) for name, below in value.items()
            }
        elif isinstance(value, list | tuple):
            made = [wrapped(each, path) for each in value]
        else:
            made = value
        if path and path in asked.secrets:
            return {rpc._special_sig_key: rpc._special_secret_sig, "value": made}
        return made

    made: Properties = wrapped(outputs, "")
    return made
