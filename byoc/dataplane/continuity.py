"""Whether the state folder is the one that the ledger speaks of, or an older copy of it.

Asked by the agent before it connects. Report numbers tell the Control Plane of most restored
copies; one that was made since the agent's last start has the numbers that an honest restart
has, and is found here: the ledger says which generation was applied last. The invariant: a
copy found once is not found again, for the ledger then says that a new incarnation began.
"""

from pathlib import Path
from typing import Any, Final

from byoc import log
from byoc.dataplane.ledger_files import read_line, tail
from byoc.dataplane.state import CellState

LOOK_BACK: Final = 1024 * 1024
"""Bytes of the ledger's end that are looked at: a few thousand requests."""
_LOG: Final = log.get(__name__)


def check(ledger: Path, state: CellState) -> bool:
    """Begin a new incarnation if ``state`` is older than the ledger in folder ``ledger``.

    Raises:
        Unwritable, LedgerBroken: it is older, and this could not be stored.
    """
    began, newest = look(ledger, since=state.life.began_in)
    if began not in {"", state.life.incarnation}:
        _LOG.warning("the state is of an incarnation that is over", incarnation=state.life.incarnation)
        state.begin_anew("ledger")
        return True
    for name, generation in newest.items():
        spec = state.desired.spec(name)
        held = 0 if spec is None else spec.generation
        if held < generation:
            _LOG.warning("the state is older than the ledger", id=name, held=held, applied=generation)
            state.begin_anew("ledger", id=name, held=held, applied=generation)
            return True
    return False


def look(ledger: Path, *, since: int = 0) -> tuple[str, dict[str, int]]:
    """Return the last incarnation that the ledger saw begin, "" for none, and what was applied in it.

    What was applied: the newest generation by id. ``since``: what the ledger says of terms before this
    epoch proves nothing, for the incarnation began later, with the other agent.
    """
    began = ""
    newest: dict[str, int] = {}
    received: dict[int, tuple[str, int]] = {}
    epoch = 0
    for record in _last_records(ledger):
        match record:
            case {"kind": "leader", "epoch": int(epoch)}:
                received.clear()
            case _ if epoch < since:
                continue
            case {"kind": "incarnation", "began": str(began)}:
                newest.clear()
            case {"kind": "received", "seq": int(seq), "target": str(target), "changes": [*changes]}:
                generations = [change["generation"] for change in changes if isinstance(change, dict)]
                received[seq] = target.rpartition("/")[2], max(generations, default=0)
            case {"kind": "outcome", "outcome": "applied", "request": int(request)} if request in received:
                name, generation = received[request]
                newest[name] = max(generation, newest.get(name, 0))
            case _:
                pass
    return began, newest


def _last_records(ledger: Path) -> list[dict[str, Any]]:
    try:
        lines, _ = tail(ledger, LOOK_BACK)
    except OSError:
        # No ledger proves nothing; one that cannot be read is refused by the guard.
        return []
    found = [read_line(line) for line in lines]
    return [record for record, _ in filter(None, found)]
