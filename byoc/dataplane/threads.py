"""Blocking work, done in threads: SQL, files, processes.

Used by the runtimes. The invariant: nothing runs on unseen after who asked for it was cancelled.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """At most ``many`` threads, which logs and debuggers call ``name``."""

    def __init__(self, many: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(many, thread_name_prefix=name)

    async def do(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Do blocking work in a thread; a cancelled caller waits for its end."""
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._pool, lambda: work(*arguments, **named))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait({future})
            raise

    async def close(self) -> None:
        """Wait for what is under way, and take nothing more."""
        await asyncio.to_thread(self._pool.shutdown)
