"""Values on the command line: durations, automatic rules, fields, ids. Pure."""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from typing import Any, Final, TypeVar
from uuid import UUID

from byoc.errors import NotFound, UsageError

T = TypeVar("T")
_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
LONGEST_WAIT: Final = 30 * 86_400


def seconds(text: str, option: str) -> float:
    """Read a duration such as ``90``, ``90s``, ``30m`` or ``2h``.

    Raises:
        UsageError: it is none, or longer than 30 days.
    """
    match = re.fullmatch(r"(\d{1,9})([smhd]?)", text.strip())
    value = int(match[1]) * _UNITS[match[2]] if match else -1
    if not 0 <= value <= LONGEST_WAIT:
        raise UsageError(
            f"{option}: `{text[:64]}` is not a duration", hint="durations look like 90s, 30m, 2h"
        )
    return float(value)


def auto_suspend(text: str) -> dict[str, Any]:
    """Read ``idle:3600``, ``scheduled:2h`` or ``off`` into the API's field.

    Raises:
        UsageError: it is none of them.
    """
    if text.lower() in {"off", "disabled"}:
        return {"suspendType": "DISABLED"}
    kind, _, after = text.partition(":")
    if kind.upper() not in {"IDLE", "SCHEDULED"} or not after:
        raise UsageError(
            f"--auto-suspend: `{text[:64]}` is not a rule", hint="rules are idle:3600, scheduled:2h and off"
        )
    return {
        "suspendType": kind.upper(),
        "suspendAfterSeconds": int(seconds(after, "--auto-suspend")),
    }


def auto_scale(text: str) -> dict[str, Any]:
    """Read ``off``, ``4`` or ``4:high`` into the API's field.

    Raises:
        UsageError: it is none of them.
    """
    if text.lower() == "off":
        return {"maxScaleFactor": 1}
    most, _, sensitivity = text.partition(":")
    if most not in {"1", "2", "4"} or sensitivity.upper() not in {"", "LOW", "NORMAL", "HIGH"}:
        raise UsageError(f"--auto-scale: `{text[:64]}` is not a rule", hint="rules are off, 2, 4 and 4:high")
    return {"maxScaleFactor": int(most), "sensitivity": sensitivity.upper() or "NORMAL"}


def fields(given: Iterable[str]) -> dict[str, Any]:
    """Read ``key=value`` fields: JSON where the value is JSON, text otherwise; ``a.b=1`` nests.

    Raises:
        UsageError: one is not a field.
    """
    found: dict[str, Any] = {}
    for each in given:
        key, equals, text = each.partition("=")
        if not equals or not key:
            raise UsageError(f"-f: `{each[:64]}` is not a field", hint="fields look like name=sales")
        place = found
        *folders, last = key.split(".")
        for folder in folders:
            place = place.setdefault(folder, {})
            if not isinstance(place, dict):
                raise UsageError(f"-f: `{folder}` is a value and a folder of values")
        place[last] = _json_or_text(text)
    return found


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def is_id(text: str) -> bool:
    """Whether ``text`` is an id, not a name."""
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def pick(
    wanted: str, items: Sequence[T], name: Callable[[T], str], *, what: str, hint: str, narrow: str
) -> T:
    """Return the one item with the name ``wanted``.

    Args:
        wanted: a name.
        items: all there are.
        name: how to read an item's name.
        what: what to call one.
        hint: how to list them.
        narrow: how to choose among several of one name.

    Raises:
        NotFound: there is none; the message offers the nearest name.
        UsageError: there are several.
    """
    found = [item for item in items if name(item) == wanted]
    if len(found) > 1:
        raise UsageError(f"{len(found)} {what}s are named `{wanted}`", hint=narrow)
    if found:
        return found[0]
    near = get_close_matches(wanted, [name(item) for item in items], n=1)
    offer = f"; did you mean `{near[0]}`?" if near else ""
    raise NotFound(f"no {what} named `{wanted[:100]}`{offer}", hint=hint)
