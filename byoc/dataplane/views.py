"""What the cell sees of each workspace now, and every change of it not yet acknowledged.

The reconciler writes, the reporter reads. The invariant: every change of phase or reason is a
transition, in order, and none is dropped before the Control Plane has taken it, up to a bound
that only a cell cut off for long reaches; then the oldest go.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Final

from byoc.dataplane.desired import HeldWorkspace
from byoc.ids import WorkspaceID
from byoc.model.report import Attachments, Phase, Reason, Transition, WorkspaceReport
from byoc.model.scaling import Change
from byoc.wire.cell import spec_digest

MOST: Final = 5000
"""Transitions kept for a Control Plane that is away."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look at a workspace showed."""

    phase: Phase
    reason: Reason
    progress: int | None = None
    endpoint: str | None = None
    password_version: int = 0
    attachments: Attachments | None = None


class Views:
    """Views and transitions.

    Args:
        changed: called after whatever a report should carry.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._views: dict[WorkspaceID, WorkspaceReport] = {}
        self._transitions: deque[Transition] = deque(maxlen=MOST)
        self._first = 0

    @property
    def now(self) -> Mapping[WorkspaceID, WorkspaceReport]:
        """The view of each workspace; generation, digest and spec are the reporter's to fill in."""
        return MappingProxyType(self._views)

    def begin(self, held: HeldWorkspace, now: datetime) -> None:
        """Start to view a workspace: as what it last came to rest as, or as just accepted."""
        name = held.spec.id
        if name in self._views:
            return
        if held.settled is not None:
            last = held.settled
            self._views[name] = _view(held, last.phase, last.reason, last.since)
            return
        reason = Reason.ADOPTED if held.adopted else Reason.ACCEPTED
        self._views[name] = _view(held, Phase.PROVISIONING, reason, now)
        self._add(name, held.spec.generation, now)

    def note(self, held: HeldWorkspace, seen: Seen, now: datetime) -> bool:
        """Take in what was seen; returns whether phase or reason changed."""
        name = held.spec.id
        self.begin(held, now)
        old = self._views[name]
        changed = (old.phase, old.reason) != (seen.phase, seen.reason)
        new = replace(
            old,
            phase=seen.phase,
            reason=seen.reason,
            since=now if changed else old.since,
            progress=seen.progress,
            endpoint=seen.endpoint,
            password_version=seen.password_version,
            attachments=seen.attachments,
        )
        self._views[name] = new
        if changed:
            self._add(name, held.spec.generation, now)
        elif new != old:
            self._changed()
        return changed

    def gone(self, held: HeldWorkspace, now: datetime) -> None:
        """Note that nothing is left of a workspace; kept until that is acknowledged."""
        self.note(held, Seen(Phase.TERMINATED, Reason.REMOVED), now)
        spec = held.spec
        self._views[spec.id] = replace(
            self._views[spec.id],
            generation=spec.generation,
            observed_generation=spec.generation,
            digest=spec_digest(spec),
        )

    def tell(self, held: HeldWorkspace, reason: Reason, now: datetime, scaled: Change | None = None) -> None:
        """Report something that happened without a change of phase."""
        self.begin(held, now)
        self._add(held.spec.id, held.spec.generation, now, reason, scaled)

    def touch(self) -> None:
        """Something else than a view is to be reported."""
        self._changed()

    def drop(self, name: WorkspaceID) -> None:
        """Stop to view a workspace that is gone and reported as gone."""
        self._views.pop(name, None)

    def transitions(self) -> tuple[int, tuple[Transition, ...]]:
        """Return every transition not acknowledged, and the number to acknowledge them by."""
        return self._first + len(self._transitions), tuple(self._transitions)

    def acknowledge(self, number: int) -> None:
        """Forget the transitions that ``transitions`` gave out with ``number``."""
        while self._transitions and self._first < number:
            self._transitions.popleft()
            self._first += 1

    def _add(
        self,
        name: WorkspaceID,
        generation: int,
        now: datetime,
        reason: Reason | None = None,
        scaled: Change | None = None,
    ) -> None:
        view = self._views[name]
        if len(self._transitions) == MOST:
            self._first += 1
        self._transitions.append(
            Transition(
                name,
                generation,
                view.phase,
                reason or view.reason,
                now,
                progress=view.progress,
                scaled=scaled,
            )
        )
        self._changed()


def _view(held: HeldWorkspace, phase: Phase, reason: Reason, since: datetime) -> WorkspaceReport:
    return WorkspaceReport(
        id=held.spec.id,
        generation=held.spec.generation,
        observed_generation=held.observed_generation,
        digest="",
        phase=phase,
        reason=reason,
        since=since,
    )
