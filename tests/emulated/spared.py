"""What the SDK need not do in a run that has no engine: half of its time, and most of its garbage.

Used by ``monitor.deploy``. The invariant: a run registers the same with it as without, which a test
compares.
"""

import asyncio
import gc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any

import pulumi
from pulumi import _types
from pulumi.runtime import known_types, rpc, settings
from pulumi.runtime import resource as sdk_resource
from pulumi.runtime import stack as sdk_stack
from pulumi.runtime.proto import source_pb2

_UNWRAPPED: Any = cache(_types.unwrap_type)
_PRESENT: Any = cache(_types.unwrap_optional_type)


@contextmanager
def spared() -> Iterator[None]:
    """Let what runs inside do without."""
    with ExitStack() as all_of:
        for place, name, instead in _instead():
            all_of.enter_context(_put(place, name, instead))
        all_of.enter_context(_uncollected())
        yield


def _instead() -> Iterator[tuple[Any, str, Any]]:
    """Yield the places in the SDK, and what stands there meanwhile."""
    # It waits for the first of its tasks to end, each time again for all the others.
    yield sdk_stack, "asyncio", SimpleNamespace(**{**vars(asyncio), "wait": _wait})
    # It reads the sources of every caller of every resource, for an engine to show.
    yield sdk_resource, "_get_stack_trace", source_pb2.StackTrace
    # It works out each URN through six outputs, for where nobody answers with one.
    yield sdk_resource, "create_urn", _urn_of(sdk_resource.create_urn)
    # It takes the same types of the provider's library apart for each value again.
    yield _types, "unwrap_type", _UNWRAPPED
    yield _types, "unwrap_optional_type", _PRESENT
    # It looks for unknowns with a function that holds itself: each look is left to the collector.
    yield rpc, "contains_unknowns", lambda value: _holds_unknown(value, set())


@contextmanager
def _put(place: Any, name: str, instead: Any) -> Iterator[None]:
    before = getattr(place, name)
    setattr(place, name, instead)
    try:
        yield
    finally:
        setattr(place, name, before)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Collect garbage after the run: during it, each collection looks through the whole test session."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


async def _wait(tasks: Any, **_: Any) -> Any:
    """Wait for all at once, or for the first that fails."""
    return await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)


def _urn_of(work_out: Callable[..., Any]) -> Callable[..., Any]:
    def of(name: Any, type_: Any, parent: Any = None, project: Any = None, stack: Any = None) -> Any:
        plain = (name, type_, parent or "", project or "", stack or "")
        if not all(isinstance(each, str) for each in plain):
            return work_out(name, type_, parent, project, stack)
        of_stack = f"urn:pulumi:{stack or settings.get_stack()}::{project or settings.get_project()}::"
        before = f"{parent.rpartition('::')[0]}$" if parent is not None else of_stack
        return pulumi.Output.from_input(f"{before}{type_}::{name}")

    return of


def _holds_unknown(value: Any, seen: set[int]) -> bool:
    if not isinstance(value, dict | list):
        return known_types.is_unknown(value)
    if id(value) in seen:
        return False
    seen.add(id(value))
    return any(_holds_unknown(each, seen) for each in (value.values() if isinstance(value, dict) else value))
