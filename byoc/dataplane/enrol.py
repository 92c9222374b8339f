"""Becoming a cell: waits for what was handed over, asks to be enrolled, pins what it gets.

Run by the agent when it has no identity yet. The invariants: it waits however long, with the
reason ``waiting for enrolment``; the root key is the one handed over past the tunnel, never
one that only came through it; a crash at any point leaves an enrolment that can be repeated.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from byoc import durable, log
from byoc.clock import Clock
from byoc.dataplane.keys import CellKeys, Identity, PinnedKeys, accept_enrolment
from byoc.dataplane.standing import WAITING_FOR_ENROLMENT, Standing
from byoc.dataplane.storage import Storage
from byoc.errors import ByocError, NotAuthenticated, Unreachable, UsageError
from byoc.nimbus.client import request_unenrolled
from byoc.nimbus.dialling import Dial
from byoc.nimbus.http import HttpRequest, HttpResponse
from byoc.wire.cell import Enrolled, decode, encode
from byoc.wire.keys import PublicKey

ENROLMENT: Final = "enrolment.json"
_LOG: Final = log.get(__name__)
_EAGER_SECONDS: Final = 30.0
_EAGER_POLL: Final = 0.05
_POLL: Final = 1.0
_LONGEST_WAIT: Final = 30.0
_TIMEOUT: Final = 20.0
_OK: Final = 200
_TRY_AGAIN: Final = frozenset({408, 425, 429})
_SERVER_ERROR: Final = 500


@dataclass(frozen=True, slots=True)
class Handed:
    """What was handed over past the tunnel: a token for this cell's thumbprint, and the root key."""

    token: str = field(repr=False)
    root: PublicKey


@dataclass(frozen=True, slots=True)
class Enrolling:
    """What enrolling needs: the cell's folder, memory and keys, how to dial, and whom to tell.

    Attributes:
        kept: where the enrolment is stored.
        mounted: where the enrolment is handed over, if not in the folder; that file is not ours to remove.
    """

    folder: Path
    kept: Storage
    keys: CellKeys
    dial: Dial
    clock: Clock
    standing: Standing
    mounted: Path | None = None

    async def enrol(self) -> tuple[Identity, PinnedKeys]:
        """Return once the cell is enrolled and that is on disk.

        Raises:
            Unwritable: the answer could not be stored; enrolling may be repeated.
        """
        refused: bytes | None = None
        while True:
            text = await self._wait_for_file(refused)
            try:
                handed = read_handed(text)
                answer = await self._ask(handed)
                known = accept_enrolment(self.kept, answer, handed.root, self.clock)
            except (NotAuthenticated, UsageError) as error:
                # The same text would be refused again: wait for another one.
                refused = text
                _LOG.error("not enrolled", error=error.message)
                self.standing.say("refused", f"not enrolled: {error.message}")
            else:
                if self.mounted is None:
                    durable.remove(self.folder / ENROLMENT)
                _LOG.info("enrolled", cell=known[0].cell_id)
                return known

    async def _wait_for_file(self, refused: bytes | None) -> bytes:
        began = self.clock.monotonic()
        while True:
            text = _content(self.mounted or self.folder / ENROLMENT)
            if text is not None and text != refused:
                return text
            if refused is None:
                self.standing.say("waiting", WAITING_FOR_ENROLMENT)
            eager = self.clock.monotonic() - began < _EAGER_SECONDS
            await self.clock.sleep(_EAGER_POLL if eager else _POLL)

    async def _ask(self, handed: Handed) -> Enrolled:
        body = json.dumps(encode(self.keys.enrolment(handed.token))).encode()
        asked = HttpRequest("POST", "/cell/v1/enrol", (("content-type", "application/json"),), body)
        wait = _EAGER_POLL
        while True:
            try:
                return _read_answer(
                    await request_unenrolled(self.dial, asked, clock=self.clock, timeout=_TIMEOUT)
                )
            except Unreachable as error:
                self.standing.say("connecting", f"enrolling: {error.message}")
            await self.clock.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def read_handed(text: bytes) -> Handed:
    """Read what was handed over.

    Raises:
        UsageError: it is not {token, rootKey}.
    """
    try:
        value: Any = json.loads(text)
        token, root = value["token"], PublicKey.from_jwk(value["rootKey"])
    except (ValueError, KeyError, TypeError, AttributeError, UsageError) as error:
        raise UsageError(f"{ENROLMENT} is not {{token, rootKey}}") from error
    if not isinstance(token, str) or not token:
        raise UsageError(f"{ENROLMENT} holds no token")
    return Handed(token, root)


def _read_answer(answer: HttpResponse) -> Enrolled:
    if answer.status in _TRY_AGAIN or answer.status >= _SERVER_ERROR:
        raise Unreachable(f"the control plane answered {answer.status}")
    if answer.status != _OK:
        raise NotAuthenticated(f"the control plane refused the enrolment: {_detail(answer)}")
    try:
        return decode(Enrolled, json.loads(answer.body))
    except (ValueError, ByocError) as error:
        raise UsageError("the answer to the enrolment is not understood") from error


def _detail(answer: HttpResponse) -> str:
    try:
        value = json.loads(answer.body)
        said = value.get("detail") or value.get("message") or value.get("code") or value.get("title")
    except (ValueError, AttributeError):
        said = None
    return str(said)[:200] if said else f"HTTP {answer.status}"
