"""What is remembered of one workspace between looks, and what follows from it and its view. Pure.

Used by the runtime. A kubelet and a controller start an engine again by themselves, often before anybody
has looked; so the end of a run is remembered until the plan has taken note of it, and every end is
counted once. All of it can be lost with the agent: then what runs is looked at anew.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from byoc.dataplane.engine_sql import Answer
from byoc.dataplane.kubernetes import names
from byoc.dataplane.kubernetes.cache import View
from byoc.dataplane.kubernetes.engine_files import ENGINE_TOO_OLD, TOOL_MISSING, VOLUME_EMPTY
from byoc.dataplane.kubernetes.views import Claim, Ended, Pod
from byoc.dataplane.local.verdict import why_it_ended
from byoc.dataplane.runtime import Failures, Process
from byoc.model.report import Reason

UNRESPONSIVE_AFTER: Final = 15.0
"""Seconds without an answer from an engine that had answered."""
STARTING_AT_MOST: Final = 3600.0
"""Seconds for a start: recovery after a crash may be long, and so may the wait for a machine."""
_FOUND: Final = {
    VOLUME_EMPTY: Reason.VOLUME_MISSING,
    ENGINE_TOO_OLD: Reason.ENGINE_TOO_OLD,
    TOOL_MISSING: Reason.UPGRADE_TOOL_MISSING,
}
"""What the preparation's exit status says of the volume."""
_FAILED: Final = {names.PREPARE: Reason.ENGINE_CANNOT_START, names.UPGRADE: Reason.DATA_NOT_UPGRADED}
"""What failed with each step before the engine, where its words name no cause."""
_SOON: Final = timedelta(seconds=5)
"""A wait that lasts no longer is not worth a word."""
ATTACHED_WITHIN: Final = timedelta(seconds=30)
"""How long attaching a volume may take before it is said: a cloud needs half of that."""


@dataclass(slots=True)
class Following:
    """What is remembered of one workspace.

    Attributes:
        run: the pod's run that is followed; None before one was seen.
        ended: the run that was followed came to its end, and nobody has started another.
        answered: monotonic time of the last answer, or of when we began to look.
        first_answer: when the run answered first; None before.
        moving: an action is under way that ends or starts the engine: what ends now was asked to.
        leaving: somebody was told to replace the run that is followed: its end counts as asked for.
        certificate: that the engine showed last, PEM.
        renewed: the engine's Secret is known to hold a newer one.
    """

    run: tuple[str, int, int] | None = None
    ended: bool = False
    answered: float = 0.0
    first_answer: datetime | None = None
    moving: bool = False
    leaving: bool = False
    restart_needed: bool = False
    failures: Failures = field(default_factory=Failures)
    answer: Answer = field(default_factory=Answer)
    certificate: bytes = b""
    renewed: bool = False

    def begin(self, now: float) -> None:
        """Follow whichever run comes next."""
        self.run, self.ended, self.leaving, self.restart_needed = None, False, False, False
        self.answered, self.first_answer = now, None
        self.answer, self.certificate = Answer(), b""

    def heard(self, answer: Answer, certificate: bytes, at: datetime, now: float) -> None:
        """The run answered."""
        self.answer, self.answered = answer, now
        self.certificate = certificate or self.certificate
        self.failures = self.failures.answered()
        self.first_answer = self.first_answer or at

    def look(self, view: View, generation: int, at: datetime, now: float, *, rolling: bool = False) -> None:
        """Find out whether the run that is followed came to its end, and count it once.

        ``rolling``: the pod is being replaced by one that was asked for.
        """
        self.leaving = rolling or self.leaving
        if self.moving or self.ended or not view.wanted:
            return self._nothing_runs(view)
        pod = view.pod
        if pod is not None and pod.upgrading:
            # However long that takes: it is no silence.
            self.answered = now
        if self.run is None:
            if pod is None or pod.deleting or (pod.running_since is None and pod.ended is None):
                return None
            self.run = pod.run
            self.answered = self.answered or now
        if pod is not None and pod.run == self.run and not pod.deleting and pod.ended is None:
            self.leaving = rolling
            return None
        if self.leaving:
            self.begin(now)
            self.leaving = rolling
            return None
        self._count(pod, generation, at)
        return None

    def _nothing_runs(self, view: View) -> None:
        removed = view.set is None and not view.wanted
        if not self.moving and removed and self.run is not None and not self.ended:
            # Somebody removed what keeps the engine running.
            self.ended = True

    def _count(self, pod: Pod | None, generation: int, at: datetime) -> None:
        reason = _why(pod.ended) if pod is not None and pod.ended is not None else None
        if self.first_answer is None:
            self.failures = self.failures.failed(generation, reason or Reason.ENGINE_CANNOT_START, at)
        else:
            ran = (at - self.first_answer).total_seconds()
            why = reason or Reason.ENGINE_EXITED
            self.failures = self.failures.crashed(generation, why, at, ran_seconds=ran)
        self.ended = True

    def process(self, view: View, now: float) -> Process:
        """Return what the engine is doing."""
        wanted = view.wanted
        if not wanted and not view.runs:
            return Process.EXITED if self.ended else Process.ABSENT
        if not wanted:
            return Process.STARTING if self.first_answer is None else Process.RUNNING
        if self.ended:
            return Process.EXITED
        silent = now - self.answered
        if self.first_answer is None:
            return Process.STARTING if silent < STARTING_AT_MOST else Process.UNRESPONSIVE
        return Process.RUNNING if silent < UNRESPONSIVE_AFTER else Process.UNRESPONSIVE

    def stopped(self) -> None:
        """It was stopped as asked: nothing of before counts."""
        self.begin(0.0)
        self.failures = Failures()

    def hung(self, before: Failures, generation: int, at: datetime) -> None:
        """Count an engine that had to be ended because it did not answer."""
        self.failures = replace(before).crashed(generation, Reason.ENGINE_UNRESPONSIVE, at, ran_seconds=0)


def waiting_for(pod: Pod | None, claim: Claim | None, at: datetime) -> Reason | None:
    """Return what a pod that does not run yet lacks, once that takes a while."""
    if pod is not None and pod.upgrading:
        return Reason.UPGRADING_DATA
    if pod is None or pod.running_since is not None or at - pod.created < _SOON:
        return None
    if pod.unschedulable:
        return Reason.WAITING_FOR_MACHINE
    if pod.unpulled:
        return Reason.IMAGE_UNAVAILABLE
    late = at - pod.created >= ATTACHED_WITHIN
    if (claim is not None and not claim.bound) or (pod.unhoused and late):
        return Reason.WAITING_FOR_VOLUME
    return None


def _why(ended: Ended) -> Reason | None:
    if ended.step == names.PREPARE and ended.exit_code in _FOUND:
        return _FOUND[ended.exit_code]
    return why_it_ended(ended.words) or _FAILED.get(ended.step)
