"""Volumes that are nearly full: the cell expands them by itself, as far as the customer lets it.

Used by the reconciler at each turn, with or without the Control Plane; the runtime says what is nearly
full and how far its settings let it grow. The invariants: a decision is in the ledger before anything acts
on it; the customer's policy is asked first, as for a larger size asked by somebody (verb
``workspace.resize``, subject ``auto-grow``).
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final

from byoc import log
from byoc.dataplane.desired import HeldWorkspace
from byoc.dataplane.policy import Policy, decide, none_spent
from byoc.dataplane.rates import Rates
from byoc.dataplane.runtime import Observation, Room
from byoc.dataplane.state import CellState
from byoc.errors import ByocError
from byoc.ids import WorkspaceID
from byoc.model.report import Reason
from byoc.model.verbs import Verb

SUBJECT: Final = "auto-grow"
"""Who asks, for rules of a policy that name subjects."""
_LOG: Final = log.get(__name__)


class Grower:
    """Asks the policy, and puts on record what is done."""

    def __init__(
        self, state: CellState, policy: Callable[[], Policy], rates: Callable[[], Rates] | None = None
    ) -> None:
        self._state = state
        self._policy = policy
        self._rates = rates
        self._told: dict[WorkspaceID, tuple[int, str]] = {}
        """What is on record of a workspace: to how much, and which rule refused it."""

    def forget(self, name: WorkspaceID) -> None:
        """Look after a workspace no longer."""
        self._told.pop(name, None)

    def turn(self, held: HeldWorkspace, seen: Observation, now: datetime) -> Observation:
        """Return ``seen`` with no more growth in it than the customer allows and the ledger holds."""
        room = seen.room
        # What was allowed once stays so until it is done: another try must not count twice.
        if room is None or not room.grow_to_gib or self._told.get(held.spec.id) == (room.grow_to_gib, ""):
            return seen
        try:
            rule = self._rule(now)
            self._record(held, room, rule)
        except ByocError as error:
            # A decision that is not on record is not carried out: look again.
            _LOG.warning("growth not recorded", workspace=held.spec.id, error=error.message)
            rule = error.code
        return replace(seen, room=Room(Reason.VOLUME_AT_LIMIT, held_gib=room.held_gib)) if rule else seen

    def _rule(self, now: datetime) -> str:
        """Return the rule that refuses a growth now; empty where none does."""
        spent = self._rates().spent if self._rates is not None else none_spent
        verdict = decide(self._policy(), Verb.WORKSPACE_RESIZE, SUBJECT, now, now, spent=spent)
        return "" if verdict.allowed and not verdict.approval else verdict.rule

    def _record(self, held: HeldWorkspace, room: Room, rule: str) -> None:
        told = (room.grow_to_gib, rule)
        if self._told.get(held.spec.id) == told:
            return
        self._state.ledger.record(
            "decision",
            workspace=held.spec.id,
            generation=held.spec.generation,
            verb=Verb.WORKSPACE_RESIZE.value,
            reason=Reason.EXPANDING_VOLUME.value,
            before=room.held_gib,
            after=room.grow_to_gib,
            **({"refused": rule} if rule else {}),
        )
        self._told[held.spec.id] = told
        if not rule and self._rates is not None:
            self._rates().spend(self._policy(), Verb.WORKSPACE_RESIZE)
