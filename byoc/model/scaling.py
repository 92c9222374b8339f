"""When a cell changes the scale factor of a workspace by itself: pure, so load curves can be played to it.

The cell measures the load of each workspace that may be scaled, folds every measurement into a :class:`Trend`
with :func:`advance`, and asks :func:`decide`. What holds for every load curve:

* nothing beyond the customer's ``maxScaleFactor`` and nothing below the scale factor that was asked for;
* no change without a load that asked for it all the time that the sensitivity names, without a gap;
* a change makes no reason for the opposite one: down only where the load at the lower factor would be well
  below what takes it up.

===========  ========  ============  ===========================================  ============
sensitivity  up above  for           down below, as it would be one factor lower  for
===========  ========  ============  ===========================================  ============
HIGH         70 %      1 minute      45 %                                         5 minutes
NORMAL       80 %      3 minutes     50 %                                         15 minutes
LOW          90 %      10 minutes    55 %                                         30 minutes
===========  ========  ============  ===========================================  ============
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from byoc.model.size import MULTIPLIERS
from byoc.model.spec import Sensitivity, WorkspaceSpec

LONGEST_GAP: Final = timedelta(seconds=60)
"""Between two measurements of one trend; what happened in a longer one is not known."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What one sensitivity means; loads as fractions of the processors that may be used."""

    up: float
    up_after: timedelta
    down: float
    down_after: timedelta


RULES: Final = {
    Sensitivity.HIGH: Rules(0.70, timedelta(minutes=1), 0.45, timedelta(minutes=5)),
    Sensitivity.NORMAL: Rules(0.80, timedelta(minutes=3), 0.50, timedelta(minutes=15)),
    Sensitivity.LOW: Rules(0.90, timedelta(minutes=10), 0.55, timedelta(minutes=30)),
}


@dataclass(frozen=True, slots=True)
class Load:
    """The mean load between two moments, as a fraction of the processors that might be used."""

    start: datetime
    end: datetime
    busy: float


@dataclass(frozen=True, slots=True)
class Trend:
    """A stretch of time in which every load asked for the same change.

    Attributes:
        target: the scale factor asked for; None where the load fits the one in effect.
        busy_seconds: load times seconds, for the mean.
    """

    target: int | None
    start: datetime
    end: datetime
    busy_seconds: float

    @property
    def length(self) -> timedelta:
        """How long it has been so."""
        return self.end - self.start

    @property
    def load(self) -> float:
        """The mean load of the stretch."""
        seconds = self.length.total_seconds()
        return self.busy_seconds / seconds if seconds else 0.0


@dataclass(frozen=True, slots=True)
class Change:
    """A decision, with the figures that led to it."""

    before: int
    after: int
    load: float
    seconds: float


def may_scale(spec: WorkspaceSpec) -> bool:
    """Whether the customer lets the cell choose the scale factor."""
    return spec.auto_scale.max_scale_factor > spec.scale_factor


def advance(spec: WorkspaceSpec, factor: int, trend: Trend | None, load: Load) -> Trend:
    """Fold a measurement that was made at scale factor ``factor`` into ``trend``; None begins a new one."""
    target = _target(spec, factor, load.busy)
    spent = load.busy * (load.end - load.start).total_seconds()
    goes_on = trend is not None and trend.target == target and load.start - trend.end <= LONGEST_GAP
    if trend is None or not goes_on:
        return Trend(target, load.start, load.end, spent)
    # A gap counts with the load after it, so that the mean stays one of the whole stretch.
    gap = max((load.start - trend.end).total_seconds(), 0.0) * load.busy
    return replace(trend, end=load.end, busy_seconds=trend.busy_seconds + gap + spent)


def decide(spec: WorkspaceSpec, factor: int, trend: Trend | None) -> Change | None:
    """Return the change that has been asked for long enough; None for none."""
    if trend is None or trend.target is None or trend.target == factor:
        return None
    rules = RULES[spec.auto_scale.sensitivity]
    patience = rules.up_after if trend.target > factor else rules.down_after
    if trend.length < patience:
        return None
    return Change(factor, trend.target, round(trend.load, 3), trend.length.total_seconds())


def _target(spec: WorkspaceSpec, factor: int, busy: float) -> int | None:
    rules = RULES[spec.auto_scale.sensitivity]
    higher = min((each for each in MULTIPLIERS if each > factor), default=factor)
    lower = max((each for each in MULTIPLIERS if each < factor), default=factor)
    if busy >= rules.up and factor < higher <= spec.auto_scale.max_scale_factor:
        return higher
    if spec.scale_factor <= lower < factor and busy * factor / lower <= rules.down:
        return lower
    return None
