"""Runs the cell's program without an engine, and writes down what it registers.

Used by the plan and to derive permissions. A ``Recorder`` stands where Pulumi's engine would: it answers
each registration as a preview does. No process, no network, no credentials; the invariant: what is
recorded is what the same program registers with the engine, resource by resource and option by option.
"""

import asyncio
import contextvars
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, cast

import pulumi
from google.protobuf import empty_pb2
from pulumi.runtime import mocks, rpc, settings
from pulumi.runtime.proto import resource_pb2
from pulumi.runtime.stack import run_in_stack

from byoc.cell.args import Facts
from byoc.cell.foretold import UNKNOWN, computed, identity
from byoc.errors import Failed

PROJECT: Final = "byoc"
SECRET: Final = "<secret>"  # noqa: S105 - what is shown in place of one
_STACK_TYPE: Final = "pulumi:pulumi:Stack"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """One resource, as the program registered it.

    Attributes:
        kind: type token, such as ``aws:ec2/vpc:Vpc``; ``byoc:cell:Network`` for a part of ours.
        inputs: what is not known before the apply is ``UNKNOWN``, a secret is ``SECRET``.
        refers: input to the URNs of the resources whose outputs it holds.
        within: URN of the resource it is deleted with; empty for none.
        custom: made in AWS; a part of ours is not.
    """

    urn: str
    kind: str
    name: str
    parent: str
    inputs: Mapping[str, Any]
    depends_on: tuple[str, ...] = ()
    refers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    protect: bool = False
    retain: bool = False
    within: str = ""
    ignore: tuple[str, ...] = ()
    delete_before_replace: bool = False
    custom: bool = True


@dataclass(frozen=True, slots=True)
class Recording:
    """Everything the program registered, in the order of their URNs, and the stack's outputs."""

    resources: tuple[Registered, ...]
    outputs: Mapping[str, Any]

    def of(self, kind: str) -> Iterator[Registered]:
        """Return the resources of one type."""
        return (each for each in self.resources if each.kind == kind)


class AtOnce(ThreadPoolExecutor):
    """Does what a loop would hand to a thread at once: an answer that takes no time needs none."""

    def submit(self, work: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        """Return the end of ``work``."""
        ended: Future[Any] = Future()
        try:
            ended.set_result(work(*args, **named))
        except Exception as error:  # noqa: BLE001 - whoever waits for it is told
            ended.set_exception(error)
        return ended


class _Monitor(mocks.MockMonitor):
    """Answers registrations, from what it was made with and nothing else."""

    def __init__(self, facts: Facts, stack: str) -> None:
        self.facts = facts
        self.stack = stack
        self.seen: dict[str, Registered] = {}
        self.outputs: dict[str, Any] = {}

    def make_urn(self, parent: str, type_: str, name: str) -> str:
        kinds = parent.split("::")[2] if parent else ""
        qualified = f"{kinds}${type_}" if kinds and kinds != _STACK_TYPE else type_
        return f"urn:pulumi:{self.stack}::{PROJECT}::{qualified}::{name}"

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 - the name in Pulumi's protocol
        urn = self.make_urn(request.parent, request.type, request.name)
        if request.type == _STACK_TYPE:
            return resource_pb2.RegisterResourceResponse(urn=urn)
        if urn in self.seen:
            raise Failed(f"the cell's program registers {request.type} `{request.name}` twice")
        made = self.seen[urn] = _registered(urn, request)
        answer = resource_pb2.RegisterResourceResponse(urn=urn, object=request.object)
        if made.custom:
            answer.id = identity(made.kind, made.inputs)
            answer.object.update(computed(made.kind, made.inputs, self.facts))
        return answer

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802 - the name in Pulumi's protocol
        if f"::{_STACK_TYPE}::" in request.urn:
            self.outputs.update(_properties(request.outputs))
        return empty_pb2.Empty()

    def Invoke(self, request: Any) -> Any:  # noqa: N802 - the name in Pulumi's protocol
        raise Failed(f"the cell's program asks AWS for {request.tok}, a plan cannot")

    def ReadResource(self, request: Any) -> Any:  # noqa: N802 - the name in Pulumi's protocol
        raise Failed(f"the cell's program reads {request.type} `{request.name}`, a plan cannot")


def record(program: Callable[[], None], facts: Facts, *, stack: str = "plan") -> Recording:
    """Run ``program`` as a preview would, and return what it registers.

    Args:
        program: makes the resources, as the engine would call it.
        facts: of the account and region, for the ARNs that follow from names.
        stack: name of the stack, which is part of each URN.

    Raises:
        ByocError: what the program raises.
        Failed: the program asks the provider for something, or registers a resource twice.
    """
    monitor = _Monitor(facts, stack)
    contextvars.copy_context().run(_run, program, monitor)
    outputs = dict(sorted(monitor.outputs.items()))
    return Recording(tuple(monitor.seen[urn] for urn in sorted(monitor.seen)), outputs)


def plain_value(value: Any) -> Any:
    """Return ``value`` without wrappings of Pulumi's: unknowns, secrets and archives are a word."""
    if isinstance(value, Mapping):
        if rpc.is_rpc_secret(value):
            return SECRET
        return {key: plain_value(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(each) for each in value]
    if isinstance(value, pulumi.Archive | pulumi.Asset):
        return f"<{type(value).__name__}>"
    if isinstance(value, float) and value.is_integer():
        return int(value)  # the protocol knows one kind of number
    return value if isinstance(value, str | int | float | bool | None) else UNKNOWN


def _registered(urn: str, request: Any) -> Registered:
    return Registered(
        urn=urn,
        kind=request.type,
        name=request.name,
        parent=request.parent,
        inputs=_properties(request.object),
        depends_on=tuple(sorted(request.dependencies)),
        refers={
            name: tuple(sorted(one.urns)) for name, one in request.propertyDependencies.items() if one.urns
        },
        protect=request.protect,
        retain=request.retainOnDelete,
        within=request.deletedWith,
        ignore=tuple(request.ignoreChanges),
        delete_before_replace=request.deleteBeforeReplace,
        custom=request.custom,
    )


def _properties(struct: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", plain_value(rpc.deserialize_properties(struct, keep_unknowns=True)))


def _run(program: Callable[[], None], monitor: _Monitor) -> None:
    with _loop() as loop:
        settings.set_root_resource(None)  # type: ignore[arg-type]  # a program starts without one
        settings.configure(_settings(monitor))
        loop.run_until_complete(run_in_stack(program))


def _settings(monitor: Any) -> Any:
    make: Any = mocks.MockSettings
    return make(
        monitor=monitor,
        monitor_features=set(monitor.GetDeploymentInfo(empty_pb2.Empty()).supportedFeatures),
        engine=mocks.MockEngine(None),
        project=PROJECT,
        stack=monitor.stack,
        dry_run=True,
        organization=None,
        callbacks=None,
    )


@contextmanager
def _loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Give the program an event loop and a thread of its own, and leave nothing behind."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.set_default_executor(AtOnce())
    try:
        yield loop
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(loop.shutdown_default_executor())
        asyncio.set_event_loop(None)
        loop.close()
