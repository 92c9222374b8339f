"""Firewall ranges of a workspace group: checked, sorted, and the one range that means all.

Called by the API before intent is written; pure.
"""

import ipaddress
from collections.abc import Iterable
from typing import Final

from byoc.errors import UsageError

EVERYWHERE: Final = "0.0.0.0/0"
"""Never stored as a range: it becomes ``allow_all_traffic``."""


def parse_ranges(texts: Iterable[str]) -> tuple[tuple[str, ...], bool]:
    """Return the ranges in their stored form, and whether they let everybody in.

    Raises:
        UsageError: one of them is no address and no CIDR range.
    """
    ranges = set()
    for text in texts:
        _check(text.strip())
        ranges.add(text.strip())
    if EVERYWHERE in ranges:
        return (), True
    return tuple(sorted(ranges)), False


def _check(text: str) -> None:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        shown = text[:64].encode("ascii", "replace").decode()
        message = f"firewallRanges: `{shown}` is not a CIDR range" if shown.isprintable() else _UNREADABLE
        raise UsageError(message, hint="write 203.0.113.0/24 or 203.0.113.7") from error


_UNREADABLE: Final = "firewallRanges: not a CIDR range"
