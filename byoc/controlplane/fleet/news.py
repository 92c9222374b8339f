"""Wakes those who follow a workspace's events, at the commit that brings one. No polling."""

import asyncio
from collections import defaultdict

from byoc.clock import Clock
from byoc.controlplane.fleet import topics
from byoc.errors import Unreachable
from byoc.nimbus.deadline import within
from byoc.store.seam import Store, Topics


class News:
    """Followers by workspace, in this process."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._followers: dict[str, set[asyncio.Event]] = defaultdict(set)
        store.listen(self._heard)

    @property
    def followers(self) -> int:
        """How many wait now."""
        return sum(len(events) for events in self._followers.values())

    async def wait(self, workspace: str, after: int, timeout: float) -> None:  # noqa: ASYNC109 - it ends without an error
        """Return once there is an event above ``after``, or after ``timeout`` seconds."""
        topic = topics.workspace(workspace)
        woken = asyncio.Event()
        self._followers[topic].add(woken)
        try:
            # Looked for after following: an event in between is in one or the other.
            if not await self._store.read(lambda tx: tx.story.has_events(workspace, above=after)):
                async with within(self._clock, timeout, "waiting for an event"):
                    await woken.wait()
        except Unreachable:
            return
        finally:
            self._followers[topic].discard(woken)
            if not self._followers[topic]:
                del self._followers[topic]

    def _heard(self, heard: Topics) -> None:
        for topic in heard & self._followers.keys():
            for woken in self._followers[topic]:
                woken.set()
