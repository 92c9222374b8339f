"""When a request may be sent again, decided without I/O.

The rule: only if nothing can have happened, or if doing it twice is the same as once. A
request that never left (no connection) may always be repeated; one that was answered 429 or
503, or whose answer was lost, only if its method is idempotent.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

ATTEMPTS: Final = 4
FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 5.0
_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "DELETE"})
_BUSY: Final = frozenset({429, 503})


class Trouble(Enum):
    """What became of an attempt."""

    NOT_SENT = auto()
    """No connection: the other end knows nothing of the request."""
    ANSWER_LOST = auto()
    """Sent, and then silence: it may have been carried out."""
    ANSWERED = auto()


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt that did not succeed.

    Attributes:
        number: 1 for the first.
        asked_pause: seconds that the other end asked to wait; None if it did not.
    """

    number: int
    method: str
    trouble: Trouble
    status: int = 0
    asked_pause: float | None = None


def pause_before_next(attempt: Attempt, chance: float) -> float | None:
    """Return the seconds to wait before trying again, or None to give up.

    Args:
        attempt: the one that failed.
        chance: a random number in [0, 1); the jitter is full, so that many clients spread.
    """
    if attempt.number >= ATTEMPTS or not _may_repeat(attempt):
        return None
    if attempt.asked_pause is not None:
        return min(attempt.asked_pause, LONGEST_PAUSE)
    return pause(attempt.number, chance)


def pause(number: int, chance: float) -> float:
    """Return the jittered, doubling pause after failure ``number`` (1 is the first), in seconds."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(number - 1, 16)) * chance


def _may_repeat(attempt: Attempt) -> bool:
    if attempt.trouble is Trouble.NOT_SENT:
        return True
    if attempt.method not in _IDEMPOTENT:
        return False
    return attempt.trouble is Trouble.ANSWER_LOST or attempt.status in _BUSY


def asked_pause(header: str | None) -> float | None:
    """Read a ``Retry-After`` header given in seconds; None for anything else."""
    return float(header) if header and header.strip().isdecimal() else None
