"""How each process of the product starts, says that it is ready, and stops.

Called by the commands ``controlplane serve``, ``gateway serve`` and ``agent run``. The
invariant: SIGTERM, SIGINT and the end of the lifeline all mean the same, "finish what must
be finished and leave", so no child outlives its supervisor and none is ever cut short by it.
"""

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from byoc.errors import UsageError

Announce = Callable[[Mapping[str, object]], None]
"""Says once that the process serves; the mapping holds what its caller must know, such as a port."""

Main = Callable[[Announce], Awaitable[None]]
"""The work of a process: runs until cancelled, and cleans up when it is."""

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
    """Run ``main`` until it returns, a signal asks for the end, or the lifeline closes.

    Args:
        main: is given the function that announces readiness; cancelled when it is to stop.
        lifeline_fd: an inherited descriptor that reads as ended once the supervisor is dead.
        ready_fd: where to write the line that says the process is ready.

    Raises:
        UsageError: a descriptor is not open.
    """
    if lifeline_fd is not None:
        _check_open(lifeline_fd, "--lifeline")
    announce = announcer(ready_fd)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _STOPPING:
        loop.add_signal_handler(number, stop.set)
    transport = await _watch(lifeline_fd, stop) if lifeline_fd is not None else None
    try:
        await _race(main(announce), stop)
    finally:
        if transport is not None:
            transport.close()
        for number in _STOPPING:
            loop.remove_signal_handler(number)


async def _race(work: Awaitable[None], stop: asyncio.Event) -> None:
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
    transport, _ = await loop.connect_read_pipe(lambda: _Lifeline(stop), pipe)
    return transport


def _check_open(descriptor: int, option: str) -> None:
    try:
        os.fstat(descriptor)
    except OSError as error:
        message = f"{option}: {descriptor} is not an open file descriptor"
        raise UsageError(message) from error
