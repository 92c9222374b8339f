"""The customer's hand in the cell: kill switch, approvals, break-glass notes, and how the cell stands.

Made by the agent and given to the guard. One loop looks at the customer's papers when the bell rings, and
now and then; whatever they say is carried out here or by whom ``on_access`` tells. Nothing in it can be
reached through the tunnel.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from byoc import log
from byoc.clock import Clock, stamp
from byoc.dataplane.access import Gate
from byoc.dataplane.approvals import Approvals
from byoc.dataplane.bell import Bell
from byoc.dataplane.desk import Desk
from byoc.dataplane.renewal import Renewals, Succeed
from byoc.dataplane.state import Record
from byoc.errors import Failed, LedgerBroken, Unwritable, UsageError
from byoc.model.control import Access, GlassNotes, Standing
from byoc.model.papers import Paper
from byoc.wire.control import dump, load
from byoc.wire.tokens import RequestClaims

LOOK_SECONDS: Final = 5.0
"""How long a paper lies at most where nobody rings: a cluster changes a folder silently."""
_SHOWN_ANEW: Final = timedelta(seconds=30)
_MOST_GLASS: Final = 200
_LOG: Final = log.get(__name__)

Describe = Callable[[Standing], Standing]
"""Completes what the cell shows of itself by what else the agent knows."""


@dataclass(slots=True)
class Heard:
    """The newest request that was let in."""

    at: datetime | None = None
    what: str = ""

    def note(self, at: datetime, claims: RequestClaims) -> None:
        """Note a request."""
        verbs = [str(change.verb) for change in claims.changes] or [str(verb) for verb in claims.verbs]
        self.at, self.what = at, f"{' '.join(verbs)} on {claims.target.removeprefix('/cell/v1/')}"


class Control:
    """What the customer laid down, and what the cell shows for it.

    Args:
        changed: called when there is something the Control Plane should know.
        succeed: see ``renewal``.
    """

    def __init__(
        self,
        desk: Desk,
        ledger: Record,
        clock: Clock,
        changed: Callable[[], None] = lambda: None,
        succeed: Succeed | None = None,
    ) -> None:
        self._desk = desk
        self._ledger = ledger
        self._clock = clock
        self.bell = Bell(clock)
        self._shown = _last_shown(desk)
        recorded = self._shown.recorded if self._shown else None
        self.gate = Gate(desk, ledger, clock, recorded, _access_before(self._shown))
        self.approvals = Approvals(desk, ledger, clock, changed)
        self.heard = Heard()
        self._renewals = Renewals(desk, ledger, succeed, self._shown.renewed if self._shown else None)
        self._glass = list(self._shown.glass) if self._shown else []

    async def run(self, on_access: Callable[[bool], object], describe: Describe) -> None:
        """Look until cancelled; ``on_access`` is told at each look whether access is revoked."""
        rung = True
        while True:
            on_access(self.look())
            self.show(describe, always=rung)
            rung = await self.bell.wait(LOOK_SECONDS)

    def look(self) -> bool:
        """Take in every paper of the customer's; return whether access is revoked."""
        revoked = self.gate.look()
        self.approvals.look()
        self._note_glass()
        self._renewals.look()
        return revoked

    def show(self, describe: Describe, *, always: bool = True) -> None:
        """Show how the cell stands; what has not changed is not shown anew for a while, unless ``always``."""
        gate = self.gate
        said = describe(
            Standing(
                self._clock.now(),
                heard=gate.access.at,
                recorded=gate.recorded,
                revoked=gate.access.revoked,
                refusing_since=gate.refusing_since,
                refused=gate.refused,
                last_command_at=self.heard.at,
                last_command=self.heard.what,
                glass=tuple(self._glass),
                renewed=self._renewals.done,
            )
        )
        if not always and self._shown is not None and _alike(said, self._shown):
            return
        try:
            self._desk.show(Paper.STANDING, dump(said))
        except Unwritable as error:
            _LOG.warning("standing not shown", error=error.message)
            return
        self._shown = said

    def _note_glass(self) -> None:
        """Put break-glass sessions on the cell's own record, each once."""
        try:
            notes = load(GlassNotes, self._desk.word(Paper.GLASS), GlassNotes()).notes
        except (UsageError, Failed) as error:
            _LOG.error("break-glass notes are not understood", error=error.message)
            return
        for note in notes:
            if note.name in self._glass:
                continue
            said = {"session": note.session, "what": note.what.value, "by": note.by, "reason": note.reason}
            try:
                self._ledger.record("glass", **said, saidAt=stamp(note.at), until=stamp(note.until))
            except (Unwritable, LedgerBroken) as error:
                _LOG.error("a break-glass session is not recorded yet", error=error.message)
                return
            self._glass = [*self._glass, note.name][-_MOST_GLASS:]


def _last_shown(desk: Desk) -> Standing | None:
    try:
        text = desk.shown(Paper.STANDING)
        return load(Standing, text, None) if text else None
    except (UsageError, Failed) as error:
        _LOG.warning("what was shown last is not understood", error=error.message)
        return None


def _access_before(shown: Standing | None) -> Access:
    if shown is None or not shown.revoked or shown.heard is None:
        return Access()
    return Access(revoked=True, at=shown.heard, reason=f"it was before, and {Paper.ACCESS} is gone")


def _alike(new: Standing, old: Standing) -> bool:
    return replace(new, at=old.at) == old and new.at - old.at < _SHOWN_ANEW
