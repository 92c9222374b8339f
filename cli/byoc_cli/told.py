"""What a record of the ledger says to people, in a line; ``-o json`` has all of it. Pure.

Used by ``byoc ledger tail``. A kind that is not known here is shown as its fields.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from byoc_cli.output import compact

Record = Mapping[str, Any]
_OWN: Final = frozenset({"seq", "prev", "at", "kind", "hash"})


def told(record: Record) -> str:
    """Return what a record says."""
    say = _TELLERS.get(str(record.get("kind")))
    return (say(record) if say is not None else "") or _plain(record)


def _received(record: Record) -> str:
    if "target" not in record:
        return ""
    changes = record.get("changes") or []
    verbs = record.get("verbs") or [each.get("verb") for each in changes]
    target = str(record["target"]).removeprefix("/cell/v1/")
    return f"{' '.join(map(str, verbs)) or record.get('method')} on {target} by {record.get('sub')}"


def _outcome(record: Record) -> str:
    if "outcome" not in record:
        return ""
    rule = f" by rule {record['rule']}" if record.get("rule") else ""
    return f"{record['outcome']}{rule}, request {record.get('request')} (status {record.get('status')})"


def _asked(record: Record) -> str:
    values = "; ".join(
        f"{each.get('setting')}: {each.get('before') or 'none'} -> {each.get('after') or 'none'}"
        for each in record.get("asks") or []
    )
    verbs = " ".join(map(str, record.get("verbs") or []))
    return f"{verbs} of {_object(record)} waits for approval, asked by {record.get('sub')}{_in(values)}"


def _approval(record: Record) -> str:
    word = "approved" if record.get("approved") is True else "refused"
    return f"{_object(record)} {word} by {record.get('by')}{_in(record.get('request'))}"


def _died(record: Record) -> str:
    why = "a newer change has come" if record.get("why") == "newer" else "nobody answered within a day"
    return f"{_object(record)} waits no more: {why}{_in(record.get('request'))}"


def _object(record: Record) -> str:
    return f"{record.get('id')} generation {record.get('generation')}"


def _policy(record: Record) -> str:
    lists = [
        f"{name} {' '.join(map(str, record[name]))}"
        for name in ("allow", "deny", "approval")
        if record.get(name)
    ]
    tables = [f"{word} for {' '.join(record[name])}" for name, word in _TABLES if record.get(name)]
    said = "; ".join([*lists, *tables]) or "nothing is allowed"
    problem = f"; the newest text is not in force: {record['problem']}" if record.get("problem") else ""
    return f"in force ({str(record.get('digest'))[:12]}): {said}{problem}"


def _access(record: Record) -> str:
    word = "revoked" if record.get("revoked") else "restored"
    by = f" by {record['by']}" if record.get("by") else ""
    return f"{word}{by}" + (f": {record['reason']}" if record.get("reason") else "")


def _glass(record: Record) -> str:
    until = f" until {record['until']}" if record.get("until") else ""
    why = f": {record['reason']}" if record.get("reason") else ""
    return f"session {record.get('session')} {record.get('what')} by {record.get('by')}{until}{why}"


def _copies(record: Record) -> str:
    return f"late, {record.get('behind')} s behind" if record.get("late") else "in time again"


def _leader(record: Record) -> str:
    return f"term {record.get('epoch')} begins, {record.get('holder') or 'one agent'} leads"


def _in(text: object) -> str:
    return f" ({text})" if text else ""


def _plain(record: Record) -> str:
    return " ".join(
        f"{name}={value if isinstance(value, str | int) else compact(value)}"
        for name, value in record.items()
        if name not in _OWN
    )


_TABLES: Final = (
    ("onlyFor", "subjects"),
    ("windows", "windows"),
    ("maxAge", "an age"),
    ("rate", "a rate"),
    ("services", "a way"),
)
_TELLERS: Final[Mapping[str, Callable[[Record], str]]] = {
    "received": _received,
    "outcome": _outcome,
    "approval-asked": _asked,
    "approval": _approval,
    "approval-died": _died,
    "policy": _policy,
    "access": _access,
    "glass": _glass,
    "copies": _copies,
    "leader": _leader,
}
