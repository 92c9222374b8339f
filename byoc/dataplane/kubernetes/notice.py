"""What an agent shows of itself in its cluster: the thumbprint of its keys, and how the cell stands.

Written by the agent that leads, read by whoever installs the cell and by ``byoc access status``. Nothing
depends on it: it is written aside, the newest word only, and tried again when it could not be.
"""

import asyncio
from typing import Final

from lightkube import Client
from lightkube.resources.core_v1 import ConfigMap, Secret
from lightkube.types import PatchType

from byoc import log
from byoc.cell.incluster import ENROLMENT, TOKEN
from byoc.clock import Clock
from byoc.dataplane.bell import Bell
from byoc.dataplane.kubernetes.connect import translated
from byoc.errors import ByocError, NotFound

_AGAIN_SECONDS: Final = 5.0
_LOG: Final = log.get(__name__)


class Notice:
    """The ConfigMap ``byoc-enrolment``."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._bell = Bell(clock)
        self._wanted: dict[str, str] = {}
        self._shown: dict[str, str] = {}

    def show(self, **said: str) -> None:
        """Show ``thumbprint`` or ``standing``, soon."""
        self._wanted |= said
        self._bell.ring()

    async def run(self) -> None:
        """Write what is to be shown, until cancelled."""
        while True:
            wanted = dict(self._wanted)
            shown = wanted == self._shown or await self._shows(wanted)
            await self._bell.wait(None if shown else _AGAIN_SECONDS)

    async def _shows(self, wanted: dict[str, str]) -> bool:
        try:
            await asyncio.to_thread(self._write, wanted)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not end the showing unseen
            said = error.message if isinstance(error, ByocError) else repr(error)
            _LOG.warning("standing not shown in the cluster", error=said)
            return False
        self._shown = wanted
        return True

    def _write(self, said: dict[str, str]) -> None:
        with translated(f"ConfigMap {ENROLMENT}"):
            self._client.patch(ConfigMap, ENROLMENT, {"data": said}, patch_type=PatchType.MERGE)


def put_token_away(client: Client) -> None:
    """Remove the Secret by which the cell was enrolled: the token in it was used.

    Raises:
        ByocError: it could not be removed.
    """
    try:
        with translated(f"Secret {TOKEN}"):
            client.delete(Secret, TOKEN)
    except NotFound:
        return
