"""Break-glass sessions in the cell's own record, beside the one in the state bucket.

Called by the command line after what it tells of has happened. The invariant: an emergency is not held up
by it; where the cell cannot be told, whoever broke the glass is, and the next command tells the cell.
"""

from byoc.bootstrap.aws import Account
from byoc.bootstrap.breakglass.plan import Session
from byoc.bootstrap.control import FunctionPapers
from byoc.errors import ByocError
from byoc.model.control import Glass, GlassNote
from byoc.wire.control import note_glass


def tell(account: Account, session: Session) -> str:
    """Tell the cell of a session and of its end; return why it could not be told, "" if it was.

    What the cell was told before it does not put on record again.
    """
    papers = FunctionPapers(account, session.cell)
    try:
        for note in _notes(session):
            note_glass(papers, note)
    except ByocError as error:
        return error.message
    return ""


def _notes(session: Session) -> list[GlassNote]:
    opened = GlassNote(session.id, Glass.OPENED, session.by, session.reason, session.opened_at, session.until)
    if session.closed_at is None:
        return [opened]
    by = session.closed_by or session.by
    closed = GlassNote(session.id, Glass.CLOSED, by, session.reason, session.closed_at, session.until)
    return [opened, closed]
