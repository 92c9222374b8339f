"""What a look at something found: one check, as data. Shared by ``doctor`` and by the preflight."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Result(StrEnum):
    """How a check ended."""

    PASS = "pass"  # noqa: S105 - the opposite of fail
    WARN = "warn"
    """It will do, but somebody should know."""
    FAIL = "fail"
    UNKNOWN = "unknown"
    """Whether it will do could not be found out; never taken for a pass."""
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Args:
        name: what it is about, such as ``python``; what ``--only`` takes.
        result: how it ended.
        detail: what was found, one line.
        action: what to do about it; empty where there is nothing to do.
    """

    name: str
    result: Result
    detail: str
    action: str = ""


def failed(checks: Iterable[Check]) -> list[Check]:
    """Return the checks that stand in the way."""
    return [check for check in checks if check.result is Result.FAIL]
