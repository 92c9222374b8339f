"""Tells Kubernetes which machines are out of service, and which are back; see ``machines`` for when.

Run by the cluster's runtime, beside its watches. One watch, and no request while every machine speaks.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from byoc import log
from byoc.clock import Clock
from byoc.dataplane.kubernetes import kinds
from byoc.dataplane.kubernetes.capacity import Node, zones
from byoc.dataplane.kubernetes.client import Cluster
from byoc.dataplane.kubernetes.kinds import Json
from byoc.dataplane.kubernetes.machines import Machine, decide, next_look, tainted
from byoc.dataplane.kubernetes.views import Pod
from byoc.errors import ByocError
from byoc.model.report import Reason, Zone

AUTOSCALER_SECONDS: Final = 300.0
"""Within so long whoever adds machines has added one that is large enough, if there are such."""
_LONGEST_PAUSE: Final = 10.0
_IDLE: Final = 3600.0
_LOG: Final = log.get(__name__)


class Tending:
    """The machines of the cluster.

    Args:
        patience: seconds that a machine may be silent.
    """

    def __init__(self, cluster: Cluster, clock: Clock, patience: float) -> None:
        self._cluster = cluster
        self._clock = clock
        self._patience = patience
        self._nodes: dict[str, Node] = {}
        self._told: dict[str, Json] = {}
        """The Nodes as the cluster tells them, also those that nobody understands."""
        self._news = asyncio.Event()
        self._listed = asyncio.Event()

    async def run(self) -> None:
        """Follow the machines until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(), name="watch of nodes")
            tasks.create_task(self._tend(), name="machines out of service")

    async def ready(self) -> None:
        """Wait until the machines were listed once."""
        await self._listed.wait()

    def missed(self, machine: str) -> Reason | None:
        """Return why nothing can be done for a pod of ``machine`` now; None where it is well."""
        if machine not in self._told:
            return Reason.MACHINE_LOST
        node = self._nodes.get(machine)
        # Of one that is there and that nobody understands nothing bad is known.
        if node is None or node.machine.silent_since is None:
            return None
        found = node.machine
        others = any(each.ready_since and each.zone == found.zone for each in self._machines())
        return Reason.MACHINE_LOST if others else Reason.ZONE_LOST

    def outgrown(self, pod: Pod, now: datetime) -> bool:
        """Whether a pod has waited for long and could run on no machine even if nothing else were on it."""
        if (now - pod.created).total_seconds() < AUTOSCALER_SECONDS:
            return False
        millicores, memory = pod.asks
        return not any(
            each.millicores >= millicores and each.memory >= memory for each in self._nodes.values()
        )

    def zones(self, selector: Mapping[str, str]) -> tuple[Zone, ...]:
        """Return what the machines with the labels of ``selector`` offer; nothing before the first look."""
        return zones(self._nodes.values(), selector)

    def _machines(self) -> list[Machine]:
        return [node.machine for node in self._nodes.values()]

    async def _follow(self) -> None:
        errors = 0
        while True:
            try:
                nodes, number = await self._cluster.list(kinds.NODE)
                for gone in self._told.keys() - {each["metadata"]["name"] for each in nodes}:
                    self._forget(gone)
                for each in nodes:
                    self._take("ADDED", each)
                self._news.set()
                self._listed.set()
                while True:
                    async for change in self._cluster.watch(kinds.NODE, number):
                        errors = 0
                        number = change.object["metadata"]["resourceVersion"]
                        self._take(change.what, change.object)
            except ByocError as error:
                errors += 1
                _LOG.info("watch of machines begins anew", error=error.message)
            await self._clock.sleep(min(_LONGEST_PAUSE, 0.2 * 2.0 ** min(errors - 1, 10)))

    def _take(self, what: str, node: Json) -> None:
        name = node["metadata"]["name"]
        if what == "DELETED":
            self._forget(name)
        else:
            self._note(name, node)
        self._news.set()

    def _note(self, name: str, node: Json) -> None:
        """Take in a machine; one that nobody understands is none, and is named once until it changes that."""
        known = name in self._told and name not in self._nodes
        self._told[name] = node
        try:
            self._nodes[name] = Node.read(node)
        except ValueError as error:
            self._nodes.pop(name, None)
            if not known:
                _LOG.error("a machine is not understood", machine=name, error=str(error)[:200])

    def _forget(self, name: str) -> None:
        self._told.pop(name, None)
        self._nodes.pop(name, None)

    async def _tend(self) -> None:
        while True:
            self._news.clear()
            now = self._clock.now()
            verdicts = decide(self._machines(), now, self._patience)
            told = [await self._say(each.machine, out=each.out) for each in verdicts]
            due = next_look(self._machines(), now, self._patience)
            await self._until(due if all(told) else _LONGEST_PAUSE)

    async def _until(self, due: float | None) -> None:
        """Wait for news, or for as many seconds."""
        waiting = asyncio.ensure_future(self._news.wait())
        timing = asyncio.ensure_future(self._clock.sleep(_IDLE if due is None else min(due, _IDLE)))
        try:
            await asyncio.wait({waiting, timing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            timing.cancel()

    async def _say(self, name: str, *, out: bool) -> bool:
        """Return whether it was said."""
        node = self._told.get(name)
        if node is None:
            # Taken away meanwhile: there is nobody to say it of.
            return True
        try:
            self._take("MODIFIED", await self._cluster.merge(kinds.NODE, name, tainted(node, out=out)))
        except ByocError as error:
            # Changed meanwhile, most likely: the watch brings it, and with it another look.
            _LOG.info("machine not told", machine=name, out=out, error=error.message)
            return False
        _LOG.warning("machine out of service" if out else "machine back in service", machine=name)
        return True
