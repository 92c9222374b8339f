"""Auto-scaling in the cell: measures what may be scaled, and stores what ``model/scaling`` decides.

Used by the reconciler at each turn, with or without the Control Plane. The invariants: a decision is in the
ledger and on disk before anything acts on it; the customer's policy is asked first, as for the same change
asked by somebody (verb ``workspace.resize``, subject ``auto-scale``); nothing is decided that the cell has no
room for; and what was not measured counts for nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from byoc import log
from byoc.dataplane.desired import HeldWorkspace, Scaling
from byoc.dataplane.policy import Policy, decide, none_spent
from byoc.dataplane.rates import Rates
from byoc.dataplane.runtime import Limits, Observation, Runtime
from byoc.dataplane.state import CellState
from byoc.errors import ByocError
from byoc.ids import WorkspaceID
from byoc.model import scaling
from byoc.model.metrics import Metric, total
from byoc.model.report import Reason
from byoc.model.scaling import Change, Load, Trend
from byoc.model.verbs import Verb

SUBJECT: Final = "auto-scale"
"""Who asks, for rules of a policy that name subjects."""
LOOK_EVERY: Final = timedelta(seconds=15)
_LOG: Final = log.get(__name__)


@dataclass(frozen=True, slots=True)
class _Look:
    """Counters at one moment, of one life of the engine."""

    at: datetime
    started_at: datetime | None
    cpu_seconds: float


@dataclass(slots=True)
class _Followed:
    look: _Look | None = None
    trend: Trend | None = None
    told: str = ""
    """Why the change that is asked for now cannot be made; said once."""


class Scaler:
    """The loads of the workspaces that may be scaled; all of it can be lost."""

    def __init__(
        self,
        state: CellState,
        runtime: Runtime,
        policy: Callable[[], Policy],
        rates: Callable[[], Rates] | None = None,
    ) -> None:
        self._state = state
        self._runtime = runtime
        self._policy = policy
        self._rates = rates
        self._followed: dict[WorkspaceID, _Followed] = {}

    def forget(self, name: WorkspaceID) -> None:
        """Follow a workspace no longer."""
        self._followed.pop(name, None)

    async def turn(self, held: HeldWorkspace, seen: Observation, now: datetime) -> None:
        """Measure if it is time to, and store a decision if one is due."""
        name, spec = held.spec.id, held.in_effect
        steady = seen.sql_ready and seen.limits == Limits.wanted(spec) and held.auto_suspended is None
        if not scaling.may_scale(held.spec) or not steady:
            self.forget(name)
            return
        followed = self._followed.setdefault(name, _Followed())
        if followed.look is not None and now - followed.look.at < LOOK_EVERY:
            return
        load = await self._measure(name, followed, seen, now)
        if load is None:
            return
        followed.trend = scaling.advance(held.spec, spec.scale_factor, followed.trend, load)
        change = scaling.decide(held.spec, spec.scale_factor, followed.trend)
        # The customer may have spoken while we measured.
        if change is not None and self._state.desired.workspaces.get(name) == held:
            self._make(held, change, followed, now)

    async def _measure(
        self, name: WorkspaceID, followed: _Followed, seen: Observation, now: datetime
    ) -> Load | None:
        samples = await self._runtime.metrics(name)
        used = total(samples, Metric.CPU_USAGE_SECONDS_TOTAL)
        limit = total(samples, Metric.CPU_RESOURCE_LIMITS)
        if used is None or not limit:
            return None
        before, followed.look = followed.look, _Look(now, seen.started_at, used)
        if before is None or before.started_at != seen.started_at or used < before.cpu_seconds:
            return None
        seconds = (now - before.at).total_seconds()
        if seconds <= 0:
            return None
        return Load(before.at, now, (used - before.cpu_seconds) / (seconds * limit))

    def _make(self, held: HeldWorkspace, change: Change, followed: _Followed, now: datetime) -> None:
        name = held.spec.id
        policy = self._policy()
        try:
            rates = self._rates() if self._rates is not None else None
        except ByocError as error:
            _LOG.warning("auto-scaling waits: nobody can count", workspace=name, error=error.message)
            return
        spent = rates.spent if rates is not None else none_spent
        verdict = decide(policy, Verb.WORKSPACE_RESIZE, SUBJECT, now, now, spent=spent)
        wanted = Limits(held.spec.size, change.after, held.spec.cache_config)
        refusal = "" if verdict.allowed and not verdict.approval else verdict.rule
        if not refusal and not self._runtime.has_room(name, wanted):
            refusal = Reason.MEMORY_SHORT.value
        up = change.after > change.before
        figures = {
            "workspace": name,
            "generation": held.spec.generation,
            "verb": Verb.WORKSPACE_RESIZE.value,
            "reason": (Reason.AUTO_SCALED_UP if up else Reason.AUTO_SCALED_DOWN).value,
            "before": change.before,
            "after": change.after,
            # As texts: what is hashed holds no fractions.
            "load": f"{change.load:.3f}",
            "seconds": f"{change.seconds:.0f}",
        }
        try:
            if refusal:
                self._decline(figures, refusal, followed)
                return
            self._state.ledger.record("decision", **figures)
            if rates is not None:
                rates.spend(policy, Verb.WORKSPACE_RESIZE)
            self._state.desired.scale(name, Scaling(change.after, now))
        except ByocError as error:
            # A decision that is not on disk would be undone by a crash: leave it, look again.
            _LOG.warning("auto-scaling not stored", workspace=name, error=error.message)
            return
        self.forget(name)
        reason = Reason.AUTO_SCALED_UP if up else Reason.AUTO_SCALED_DOWN
        self._state.views.tell(held, reason, now, change)
        _LOG.info("auto-scaled", workspace=name, before=change.before, after=change.after, load=change.load)

    def _decline(self, figures: dict[str, object], refusal: str, followed: _Followed) -> None:
        """Put on record, once, that a change was asked for by the load and is not made."""
        told = f"{refusal} {figures['after']}"
        if followed.told == told:
            return
        self._state.ledger.record("decision", **figures, refused=refusal)
        followed.told = told
        _LOG.info("auto-scaling refused", workspace=figures["workspace"], rule=refusal)
