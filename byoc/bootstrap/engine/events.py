"""What the engine tells while it runs, as facts fit to be shown: counts, names, seconds.

Fed from the SDK's event thread, read by whoever draws progress. The engine's events carry the
old and the new state of each resource; nothing of that passes here. Message texts are redacted
and lose their colours. Pure, but for the clock that is handed in.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from byoc import log

if TYPE_CHECKING:
    from pulumi.automation.events import EngineEvent, StepEventMetadata

Clock = Callable[[], float]
"""Seconds that never run backwards."""

UNCHANGED: Final = frozenset({"same", "read", "refresh"})
"""Operations that change nothing in the account."""

DESTRUCTIVE: Final = frozenset(
    {"delete", "replace", "create-replacement", "delete-replaced", "discard-replaced"}
)
"""Operations after which something that was there is gone."""

_COLOUR: Final = re.compile(r"<\{%[a-z0-9 ]*%\}>|\x1b\[[0-9;]*m")
# "sdk-v2/provider2.go:572: sdk.helper_schema: creating …": where in the provider, which no user asked.
_ORIGIN: Final = re.compile(r"^(?:[\w./@-]+\.go:\d+: |sdk\.\w+: )+")


@dataclass(frozen=True)
class Subject:
    """The resource that an event is about; ``type`` as in the program: ``aws:eks/cluster:Cluster``."""

    urn: str
    type: str
    name: str

    @classmethod
    def of(cls, urn: str) -> "Subject":
        """Read a URN: ``urn:pulumi:STACK::PROJECT::PARENT$TYPE::NAME``."""
        parts = urn.split("::", 3)
        if len(parts) < 4:  # noqa: PLR2004 -- the four parts of a URN
            return cls(urn, "", urn)
        return cls(urn, parts[2].rpartition("$")[2], parts[3])


@dataclass(frozen=True)
class Started:
    """A call to the provider began."""

    subject: Subject
    op: str


@dataclass(frozen=True)
class Ended:
    """It succeeded after ``seconds``; ``done`` of ``total`` changes are made (0: total unknown)."""

    subject: Subject
    op: str
    seconds: float
    done: int
    total: int


@dataclass(frozen=True)
class Broken:
    """It failed after ``seconds``."""

    subject: Subject
    op: str
    seconds: float


@dataclass(frozen=True)
class Said:
    """A message, one line; ``subject`` is ``None`` where it is about the run as a whole."""

    severity: str
    text: str
    subject: Subject | None


@dataclass(frozen=True)
class Violated:
    """A rule of a policy pack does not hold; a mandatory one ends the run."""

    policy: str
    mandatory: bool
    text: str
    subject: Subject | None


@dataclass(frozen=True)
class Summed:
    """The run's own count of what it did, by operation."""

    changes: Mapping[str, int]
    seconds: float


@dataclass(frozen=True)
class Step:
    """What a preview would do to one resource; ``keys`` are the inputs that differ."""

    subject: Subject
    op: str
    keys: tuple[str, ...] = ()


Progress = Started | Ended | Broken | Said | Violated | Summed
Listener = Callable[[Progress], None]


def clean(text: str) -> str:
    """First line that says something, without colours, origins and anything like a secret."""
    told = _lines(text)
    return _ORIGIN.sub("", told[0]) if told else ""


def _lines(text: str) -> list[str]:
    plain = log.redact_text(_COLOUR.sub("", text))
    lines = [line.strip().lstrip("*").strip() for line in plain.splitlines()]
    return [line for line in lines if line and not line.endswith(("error occurred:", "errors occurred:"))]


class Tracker:
    """Turns events into :data:`Progress` and remembers what a sentence about the run needs.

    Args:
        clock: seconds for durations.
        total: changes that the preview announced; 0 where there was none.
        listener: told each fact, in the order of the engine.
    """

    def __init__(self, clock: Clock, listener: Listener | None = None, total: int = 0) -> None:
        self.total = total
        self.done = 0
        self.errors: list[Said] = []
        self.violations: list[Violated] = []
        self.changes: Mapping[str, int] = {}
        self._clock = clock
        self._listener = listener
        self._since: dict[str, float] = {}
        self._calls: set[str] = set()
        self._steps: dict[str, Step] = {}

    @property
    def steps(self) -> tuple["Step", ...]:
        """What a preview would change, each once."""
        return tuple(self._steps.values())

    @property
    def in_flight(self) -> int:
        """Calls to providers that have begun and not ended."""
        return len(self._calls)

    def feed(self, event: "EngineEvent") -> None:
        """Take one event of the SDK; never raises, because the SDK would only warn."""
        for fact in self._facts(event):
            if isinstance(fact, Said) and fact.severity == "error":
                self.errors.append(fact)
            elif isinstance(fact, Violated):
                self.violations.append(fact)
            elif isinstance(fact, Summed):
                self.changes = fact.changes
            if self._listener is not None:
                self._listener(fact)

    def _facts(self, event: "EngineEvent") -> Iterator[Progress]:
        if event.resource_pre_event:
            yield from self._begun(event.resource_pre_event.metadata, bool(event.resource_pre_event.planning))
        elif event.res_outputs_event:
            yield from self._ended(event.res_outputs_event.metadata, bool(event.res_outputs_event.planning))
        elif event.res_op_failed_event:
            metadata = event.res_op_failed_event.metadata
            yield Broken(Subject.of(metadata.urn), _op(metadata), self._seconds(metadata))
        elif event.diagnostic_event:
            said = event.diagnostic_event
            text = clean(said.message)
            # "info#err" is what the program and its plugins write on stderr; "debug" nobody asked for.
            if text and said.severity in {"info", "warning", "error"}:
                yield Said(said.severity, text, Subject.of(said.urn) if said.urn else None)
        elif event.policy_event:
            broken = event.policy_event
            about = Subject.of(broken.resource_urn) if broken.resource_urn else None
            mandatory = broken.enforcement_level == "mandatory"
            # A rule's description and what it found are lines of one message.
            yield Violated(broken.policy_name, mandatory, ": ".join(_lines(broken.message)), about)
        elif event.summary_event:
            counts = {_text(op): count for op, count in event.summary_event.resource_changes.items()}
            yield Summed(counts, float(event.summary_event.duration_seconds))

    def _begun(self, metadata: "StepEventMetadata", planning: bool) -> Iterator[Progress]:
        if not _counts(metadata):
            return
        if planning:
            self._plan(metadata)
        else:
            self._since[_call(metadata)] = self._clock()
            # A component begins and ends, too, but nobody is called for it.
            if any(state is not None and state.custom for state in (metadata.new, metadata.old)):
                self._calls.add(_call(metadata))
            yield Started(Subject.of(metadata.urn), _op(metadata))

    def _ended(self, metadata: "StepEventMetadata", planning: bool) -> Iterator[Progress]:
        if not _counts(metadata):
            return
        if planning:
            self._plan(metadata)
        else:
            self.done += 1
            subject, seconds = Subject.of(metadata.urn), self._seconds(metadata)
            yield Ended(subject, _op(metadata), seconds, self.done, self.total)

    def _plan(self, metadata: "StepEventMetadata") -> None:
        # A refresh begins every resource as "refresh" and says only at its end what differs.
        step = Step(Subject.of(metadata.urn), _op(metadata), tuple(metadata.diffs or ()))
        self._steps.setdefault(_call(metadata), step)

    def _seconds(self, metadata: "StepEventMetadata") -> float:
        now = self._clock()
        self._calls.discard(_call(metadata))
        return now - self._since.pop(_call(metadata), now)


def _text(op: object) -> str:
    return str(getattr(op, "value", op))


def _op(metadata: "StepEventMetadata") -> str:
    return _text(metadata.op)


def _counts(metadata: "StepEventMetadata") -> bool:
    # Providers are no objects of the account; the engine leaves them out of its own count, too.
    return _op(metadata) not in UNCHANGED and not metadata.type.startswith("pulumi:providers:")


def _call(metadata: "StepEventMetadata") -> str:
    # A replacement makes and deletes under one URN.
    return f"{_op(metadata)} {metadata.urn}"
