"""The cell's end of the papers in a cluster: it looks at the customer's object, and shows its own.

Made by the agent that leads. The invariants: the customer's papers are read only, and the admission policy
sees to it; while the cluster's API is away, what was read last counts, and before anything was read what the
kubelet brought into the pod; an agent that no longer leads shows nothing.
"""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from lightkube import Client
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap
from lightkube.types import PatchType

from byoc import log
from byoc.cell.incluster import NAMESPACE, PAPERS, SHOWN
from byoc.clock import Clock
from byoc.dataplane.desk import FolderDesk
from byoc.dataplane.kubernetes.connect import translated
from byoc.errors import ByocError, Failed, NotFound, Unwritable
from byoc.model.papers import Paper

LOOK_SECONDS: Final = 2.0
_LOG: Final = log.get(__name__)


class ClusterDesk:
    """A desk of two ConfigMaps.

    Args:
        mounted: where the kubelet brings the customer's papers; None where it does not.
        leading: whether this agent may still write.
    """

    def __init__(
        self, client: Client, mounted: Path | None = None, leading: Callable[[], bool] = lambda: True
    ) -> None:
        self._client = client
        self._mounted = FolderDesk(mounted, mounted) if mounted is not None else None
        self._leading = leading
        self._words: Mapping[str, str] | None = None

    def word(self, paper: Paper) -> str:
        """Return what the customer laid down, as of the last look."""
        if self._words is None:
            self.look()
        if self._words is not None:
            return self._words.get(paper.value, "")
        if self._mounted is None:
            raise Failed(f"the ConfigMap {PAPERS} cannot be read")
        return self._mounted.word(paper)

    def look(self) -> bool:
        """Read the customer's object; return whether there is news. What was read before counts on if not."""
        try:
            found = _data(self._client, PAPERS)
        except ByocError as error:
            _LOG.warning("the customer's papers cannot be read now", error=error.message)
            return False
        news = found != self._words
        self._words = found
        return news

    async def run(self, clock: Clock, changed: Callable[[], None]) -> None:
        """Look every few seconds until cancelled."""
        while True:
            if await asyncio.to_thread(self.look):
                changed()
            await clock.sleep(LOOK_SECONDS)

    def show(self, paper: Paper, text: str) -> None:
        """Show the customer a paper of the cell's own."""
        if not self._leading():
            raise Unwritable("this agent may not lead any more")
        try:
            self._patch({paper.value: text})
        except ByocError as error:
            raise Unwritable(error.message) from error

    def shown(self, paper: Paper) -> str:
        """Return what was shown last; nothing where nobody can say."""
        try:
            return _data(self._client, SHOWN).get(paper.value, "")
        except ByocError as error:
            _LOG.warning("what was shown last cannot be read", error=error.message)
            return ""

    def _patch(self, data: dict[str, str]) -> None:
        try:
            with translated(f"ConfigMap {SHOWN}"):
                self._client.patch(ConfigMap, SHOWN, {"data": data}, patch_type=PatchType.MERGE)
        except NotFound:
            made = ConfigMap(metadata=ObjectMeta(name=SHOWN, namespace=NAMESPACE), data=data)
            with translated(f"ConfigMap {SHOWN}"):
                self._client.create(made)


def _data(client: Client, name: str) -> Mapping[str, str]:
    try:
        with translated(f"ConfigMap {name}"):
            return client.get(ConfigMap, name).data or {}
    except NotFound:
        return {}
