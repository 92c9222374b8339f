"""Which of the cell's agents leads: the holder of a Lease, and nobody else.

Used by ``byoc.dataplane.kubernetes.lead``. The invariants: two clocks are never compared: whether a
holder is gone is told by its renewals as *we* saw them, on our own monotonic clock; whoever could not
renew for :data:`MAY_LEAD_SECONDS` stops leading by itself, before anybody else may begin; each term has
an epoch that was never used before.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lightkube import Client
from lightkube.models.coordination_v1 import LeaseSpec
from lightkube.resources.coordination_v1 import Lease
from lightkube.types import PatchType

from byoc.cell.incluster import AGENT
from byoc.clock import Clock
from byoc.dataplane.kubernetes.connect import translated
from byoc.dataplane.meter import HEARTBEAT
from byoc.dataplane.volumes import LOOKED
from byoc.errors import Conflict

LEASE_SECONDS: Final = 15.0
"""A holder that was not seen to renew for so long is gone."""
MAY_LEAD_SECONDS: Final = 10.0
"""So long after its last renewal an agent leads at most."""
RENEW_SECONDS: Final = 3.0
LOOK_SECONDS: Final = 2.0
"""How often the agent that does not lead looks."""
WORDS: Final[Mapping[str, str]] = {HEARTBEAT: "byoc.dev/metered", LOOKED: "byoc.dev/weighed"}
"""Annotations: until when usage was seen, as the meters say it; carried along by the renewals."""
_WHAT: Final = f"Lease {AGENT}"


@dataclass(frozen=True, slots=True)
class Held:
    """What the Lease says, without times: they are of somebody else's clock.

    Attributes:
        renewal: differs after each renewal.
        transitions: the epoch of the term.
        version: of the object.
        words: what the leader says of usage, by name.
    """

    holder: str = ""
    renewal: str = ""
    transitions: int = 0
    version: str = ""
    words: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Watched:
    """What was seen of the Lease, and since when it has been so, on our monotonic clock."""

    held: Held
    since: float

    def seen(self, held: Held, now: float) -> "Watched":
        """Take in another look."""
        same = (held.holder, held.renewal, held.transitions) == (
            self.held.holder,
            self.held.renewal,
            self.held.transitions,
        )
        return Watched(held, self.since if same else now)

    def free(self, now: float) -> bool:
        """Whether nobody leads any more."""
        return not self.held.holder or now - self.since >= LEASE_SECONDS


@dataclass
class Term:
    """One agent's time as leader.

    Attributes:
        epoch: higher than that of every term before.
        renewed_at: when the renewal that succeeded last was begun, on our monotonic clock.
        went_back_from: the epoch that the state had, where the Lease was put back to an older one; else 0.
        words: what the next renewal says of usage, by name.
    """

    epoch: int
    held: Held
    renewed_at: float
    clock: Clock
    over: bool = False
    went_back_from: int = 0
    words: dict[str, str] = field(default_factory=dict)

    @property
    def carried(self) -> Mapping[str, str]:
        """What the Lease says of usage for certain; at first what the leader before has said."""
        return self.held.words

    def valid(self) -> bool:
        """Whether this agent may act as the leader now; asked before everything that another would see."""
        return not self.over and self.clock.monotonic() - self.renewed_at < MAY_LEAD_SECONDS


class LeaseObject:
    """The Lease, for one agent. Its methods block for two seconds at most: call them from a thread.

    Args:
        name: of the agent; its pod's.
    """

    def __init__(self, client: Client, name: str, clock: Clock) -> None:
        self._client = client
        self._name = name
        self._clock = clock

    def look(self) -> Held:
        """Read it.

        Raises:
            NotFound: it is missing; the installation makes it.
            ByocError: it cannot be read now.
        """
        with translated(_WHAT):
            return _held(self._client.get(Lease, AGENT))

    def take(self, seen: Held, at_least: int) -> Term | None:
        """Begin a term if the Lease still is as it was seen; None where somebody was faster.

        ``at_least``: an epoch that is known to have been used.

        Raises:
            ByocError: it cannot be written now.
        """
        now, epoch = self._clock.monotonic(), max(seen.transitions, at_least) + 1
        said = self._said(epoch) | {"acquireTime": self._stamp()}
        try:
            went_back = at_least if at_least > seen.transitions else 0
            held = self._write(seen, said, {})
            return Term(epoch, held, now, self._clock, went_back_from=went_back)
        except Conflict:
            return None

    def renew(self, term: Term) -> None:
        """Go on leading.

        Raises:
            Conflict: the Lease is another's.
            ByocError: it could not be written; the term goes on until its time is over.
        """
        now = self._clock.monotonic()
        try:
            held = self._write(term.held, self._said(term.epoch), term.words)
        except Conflict:
            # A renewal whose answer was lost looks like this too.
            found = self.look()
            if (found.holder, found.transitions) != (self._name, term.epoch):
                raise
            held = self._write(found, self._said(term.epoch), term.words)
        term.held, term.renewed_at = held, now

    def release(self, term: Term) -> None:
        """Say that nobody leads, so that another need not wait.

        Raises:
            ByocError: it could not be written; the others wait until the time is over.
        """
        term.over = True
        self._write(term.held, self._said(term.epoch) | {"holderIdentity": ""}, term.words)

    def _said(self, epoch: int) -> dict[str, Any]:
        return {
            "holderIdentity": self._name,
            "leaseDurationSeconds": int(LEASE_SECONDS),
            "leaseTransitions": epoch,
            "renewTime": self._stamp(),
        }

    def _stamp(self) -> str:
        return self._clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def _write(self, seen: Held, said: dict[str, Any], words: Mapping[str, str]) -> Held:
        metadata: dict[str, Any] = {"resourceVersion": seen.version}
        news = {WORDS[name]: word for name, word in words.items() if word != seen.words.get(name)}
        if news:
            metadata["annotations"] = news
        patch = {"metadata": metadata, "spec": said}
        with translated(_WHAT):
            return _held(self._client.patch(Lease, AGENT, patch, patch_type=PatchType.MERGE))


def _held(found: Lease) -> Held:
    spec = found.spec or LeaseSpec()
    metadata = found.metadata
    annotations = (metadata.annotations or {}) if metadata else {}
    return Held(
        holder=spec.holderIdentity or "",
        renewal=str(spec.renewTime or ""),
        transitions=spec.leaseTransitions or 0,
        version=(metadata.resourceVersion or "") if metadata else "",
        words={name: annotations[own] for name, own in WORDS.items() if annotations.get(own)},
    )
