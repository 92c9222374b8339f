"""How each process of the product starts, says that it is ready, and stops.

Called by the commands ``controlplane serve``, ``gateway serve`` and ``agent run``. The
invariant: SIGTERM, SIGINT and the end of the lifeline all mean the same, "finish what must
be finished and leave", so no child outlives its supervisor and none is ever cut short by it.
"""

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final

from byoc.errors import UsageError

Announce = Callable[[Mapping[str, object]], None]
"""Says once that the process serves; the mapping holds what its caller must know, such as a port."""

Main = Callable[[Announce, asyncio.Event], Awaitable[None]]
"""The work of a process: goes on until the event is set, then finishes and returns."""

_STOPPING: Final = (signal.SIGTERM, signal.SIGINT)


def announcer(ready_fd: int | None) -> Announce:
    """Return a function that writes one line of JSON to ``ready_fd`` and closes it, once.

    With None it does nothing. A reader that has gone away is no error: nobody waits.

    Raises:
        UsageError: ``ready_fd`` is no open file descriptor.
    """
    if ready_fd is not None:
        _check_open(ready_fd, "--ready-fd")
        os.set_inheritable(ready_fd, False)
    left = [] if ready_fd is None else [ready_fd]

    def announce(facts: Mapping[str, object]) -> None:
        if not left:
            return
        try:
            with os.fdopen(left.pop(), "w") as stream:
                stream.write(json.dumps(dict(facts)) + "\n")
        except BrokenPipeError:
            return

    return announce


async def run_until_stopped(
    main: Main, *, lifeline_fd: int | None = None, ready_fd: int | None = None
) -> None:
    """Run ``main`` until it returns; ask it to, once a signal comes or the lifeline closes.

    A second signal does not ask: it cancels.

    Args:
        main: is given the function that announces readiness, and the event that asks for the end.
        lifeline_fd: an inherited descriptor that reads as ended once the supervisor is dead.
        ready_fd: where to write the line that says the process is ready.

    Raises:
        UsageError: a descriptor is not open, or is no pipe.
    """
    if lifeline_fd is not None:
        _check_open(lifeline_fd, "--lifeline")
    announce = announcer(ready_fd)
    stop = asyncio.Event()
    transport = await _watch(lifeline_fd, stop) if lifeline_fd is not None else None
    running = asyncio.ensure_future(main(announce, stop))
    loop = asyncio.get_running_loop()
    for number in _STOPPING:
        loop.add_signal_handler(number, _ask, stop, running)
    try:
        await running
    except asyncio.CancelledError:
        # Cancelled by a second signal: that is an end, not a failure.
        if not stop.is_set():
            raise
    finally:
        running.cancel()
        for number in _STOPPING:
            loop.remove_signal_handler(number)
        if transport is not None:
            transport.close()


async def until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Run work that knows no event: it is cancelled, and waited for, once ``stop`` is set."""
    running = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        running.cancel()
        (result,) = await asyncio.gather(running, return_exceptions=True)
    if isinstance(result, Exception):
        raise result


def _ask(stop: asyncio.Event, running: "asyncio.Future[None]") -> None:
    if stop.is_set():
        running.cancel()
    stop.set()


class _Lifeline(asyncio.Protocol):
    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._stop.set()


async def _watch(descriptor: int, stop: asyncio.Event) -> asyncio.ReadTransport:
    # Not inherited further: an engine that outlives this process must not keep the lifeline open.
    os.set_inheritable(descriptor, False)
    pipe = os.fdopen(descriptor, "rb", buffering=0)
    loop = asyncio.get_running_loop()
    try:
        transport, _ = await loop.connect_read_pipe(lambda: _Lifeline(stop), pipe)
    except ValueError as error:
        pipe.close()
        raise UsageError(f"--lifeline: {descriptor} is not a pipe") from error
    return transport


def _check_open(descriptor: int, option: str) -> None:
    try:
        os.fstat(descriptor)
    except OSError as error:
        message = f"{option}: {descriptor} is not an open file descriptor"
        raise UsageError(message) from error
