"""Breaking the glass of a cell, from the customer's account alone: open, list, close, end all at a destroy.

Called by the command line. The invariants: a session is on record before anything of it is made; a run that
was killed anywhere is cleaned by the next ``open`` or by ``close``; nobody asks a control plane.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from byoc.bootstrap import record, state
from byoc.bootstrap.aws import Account
from byoc.bootstrap.breakglass import plan, unmake, ways
from byoc.bootstrap.breakglass.journal import Journal
from byoc.bootstrap.breakglass.make import Site, make
from byoc.bootstrap.breakglass.plan import STALE, Session, State
from byoc.bootstrap.record import Stage
from byoc.cell import config
from byoc.cell.outputs import CellOutputs
from byoc.clock import Clock
from byoc.errors import Conflict, NotFound
from byoc.ids import NewID

Found = tuple[Session, State]
_HELD: Final = {State.OPEN, State.OPENING}


class BreakGlass:
    """The glass of every cell of an account and region.

    Args:
        account: with the customer's own credentials; nothing else is needed.
        pause: how to wait, in seconds, for what AWS takes its time for.
    """

    def __init__(self, account: Account, clock: Clock, pause: Callable[[float], None]) -> None:
        self._account = account
        self._clock = clock
        self._pause = pause
        name = state.bucket_name(account.identity.account, account.region)
        self._objects = state.BucketObjects(account, name)
        self._journal = Journal(self._objects)

    def open(
        self, cell: str, *, ttl: timedelta, reason: str, new_id: NewID, another: bool = False
    ) -> Session:
        """Start a machine that ends by itself after ``ttl``, and return its session.

        What earlier sessions left is removed first.

        Raises:
            UsageError: there is no reason.
            NotFound: the account's region has no such cell.
            PreconditionFailed: no session could be opened in the cell's network.
            Conflict: a session is open, and another one was not asked for.
            Forbidden: the credentials do not allow something; the next run removes what was made until then.
        """
        reason = plan.check_reason(reason)
        site, by = self._site(cell), self._account.identity.arn
        ways.check(site)
        self._clean(cell, by, another=another)
        session = plan.begin(cell, unique=new_id(), by=by, reason=reason, ttl=ttl, now=self._clock.now())
        self._journal.opening(session)
        machine = make(site, session)
        return self._journal.opened(session, machine, self._clock.now())

    def sessions(self, cell: str = "") -> list[Found]:
        """Return every session with what it is now, the newest first."""
        found = self._journal.sessions(cell)
        living = {
            one
            for name in {session.cell for session in found if session.closed_at is None}
            for one in unmake.machines(self._account, name).values()
        }
        now = self._clock.now()
        return [(one, plan.state_of(one, now, alive=one.id in living)) for one in found]

    def close(self, session_id: str) -> Session:
        """End a session and remove everything of it; one that is closed stays so.

        Raises:
            NotFound: there never was such a session.
            StillPending: the machine takes longer than five minutes to end.
        """
        plan.check_id(session_id)
        session = next((one for one in self._journal.sessions() if one.id == session_id), None)
        if session is None:
            raise NotFound(
                f"{self._account.region} has no session `{session_id}`", hint="byoc breakglass list"
            )
        return self._end(session)

    def end_all(self, cell: str, *, logs: str = "") -> None:
        """Remove everything of a cell that is to be destroyed; ``logs`` names the log group to remove too."""
        for session in self._journal.sessions(cell):
            if session.closed_at is None:
                self._end(session)
        if logs:
            unmake.remove_log(self._account, logs)

    # --- parts ---------------------------------------------------------------------------

    def _site(self, cell: str) -> Site:
        found = record.read(self._objects, cell)
        if found is None or found.stage is Stage.DESTROYED:
            others = ", ".join(record.cells(self._objects)) or "none"
            raise NotFound(
                f"account {self._account.identity.account} has no cell `{cell}` in {self._account.region}",
                hint=f"cells there: {others}",
            )
        outputs = CellOutputs.from_mapping(found.outputs)
        return Site(self._account, config.from_mapping(found.values), outputs, self._pause)

    def _clean(self, cell: str, by: str, *, another: bool) -> None:
        held = []
        for session, its in self.sessions(cell):
            # Who opens again does not open any more what was begun before.
            if its in STALE or (its is State.OPENING and session.by == by):
                self._end(session)
            elif its in _HELD:
                held.append(session)
        if held and not another:
            one = held[0]
            raise Conflict(
                f"session {one.id} of cell {cell} is open until {plan.instant(one.until)}, by {one.by}",
                hint=f"use that one, `byoc breakglass close {one.id}`, or add --another",
            )

    def _end(self, session: Session) -> Session:
        unmake.unmake(self._account, session, self._pause)
        others = [one for one in self._journal.sessions(session.cell) if one.closed_at is None]
        if all(one.id == session.id for one in others):
            unmake.remove_document(self._account, session.cell)
        if session.closed_at is not None:
            return session
        return self._journal.closed(session, self._account.identity.arn, self._clock.now())
