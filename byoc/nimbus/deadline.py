"""A limit on how long something may take, on a ``Clock`` instead of the event loop's own.

Used by everything in ``byoc.nimbus`` that waits for the other end, so that tests can let
minutes pass at once. Invariant: a wait without a limit is only one for local work.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from byoc.clock import Clock
from byoc.errors import Unreachable


@asynccontextmanager
async def within(clock: Clock, seconds: float, what: str) -> AsyncIterator[None]:
    """Cancel the body after ``seconds``.

    Raises:
        Unreachable: the body took longer; the message says that ``what`` did.
    """
    timer = asyncio.create_task(clock.sleep(seconds))
    active = True
    scope = asyncio.timeout(None)

    def expire(done: asyncio.Task[None]) -> None:
        if active and not done.cancelled():
            scope.reschedule(asyncio.get_running_loop().time())

    try:
        async with scope:
            timer.add_done_callback(expire)
            try:
                yield
            finally:
                active = False
    except TimeoutError as error:
        if not scope.expired():
            raise
        raise Unreachable(f"{what} took longer than {seconds:g} seconds") from error
    finally:
        timer.cancel()
