"""The customer's policy: which verbs the Control Plane may use in this cell.

A file ``policy.toml`` that only the customer writes; nothing that comes through the tunnel
can. Read by the agent at each request and by the commands ``policy``. :func:`decide` is pure.
The invariants: what no line allows is refused; ``deny`` beats ``allow``; a file that cannot
be understood changes nothing, and whoever asks is told which line is wrong.

::

    allow = ["workspace.*", "group.*", "metrics.read"]   # the default
    deny = ["workspace.terminate"]
    [only_for]                        # subjects as the provider names them
    "workspace.resize" = ["ann@example.com"]
    [max_age]                         # since the change was asked for
    "*" = "7d"
    "workspace.terminate" = "24h"

Two verbs have rules of their own, so that a cell can be operated under any policy:
``cell.read`` tells no more than reports do and is always allowed; ``cell.resync`` is allowed,
without being named, while the cell holds no state at all, which is when it is needed. ``deny``
forbids both.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

from byoc import durable
from byoc.errors import Unwritable, UsageError
from byoc.model.verbs import Verb
from byoc.wire.canonical import digest

T = TypeVar("T")

FILE: Final = "policy.toml"
ACCEPTED: Final = "policy.accepted.toml"
"""Copy of the last text that was understood; in force while ``policy.toml`` is not."""
_AGE: Final = re.compile(r"(\d{1,8})([smhd])\Z")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_DEFAULT_AGE: Final = timedelta(days=7)
_TERMINATE_AGE: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Policy:
    """What the customer allows. Patterns are a verb, ``noun.*`` or ``*``."""

    allow: tuple[str, ...] = ("workspace.*", "group.*", "metrics.read")
    deny: tuple[str, ...] = ()
    only_for: Mapping[str, frozenset[str]] = field(default_factory=dict)
    max_age: Mapping[str, timedelta] = field(default_factory=dict)

    def digest(self) -> str:
        """SHA-256 that stands for the policy in the ledger."""
        return digest(
            {
                "allow": list(self.allow),
                "deny": list(self.deny),
                "onlyFor": {pattern: sorted(names) for pattern, names in self.only_for.items()},
                "maxAge": {pattern: age.total_seconds() for pattern, age in self.max_age.items()},
            }
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the policy says to one verb. ``rule`` is a code, ``reason`` is for a person."""

    allowed: bool
    rule: str
    reason: str


def default_policy() -> Policy:
    """Return the policy of a cell whose customer has written none."""
    return Policy()


def decide(
    policy: Policy, verb: Verb, sub: str, at: datetime, now: datetime, *, state_empty: bool = False
) -> Verdict:
    """Say whether ``sub`` may do ``verb``, asked for at ``at``.

    ``state_empty``: the cell holds nothing, neither objects nor tombstones.
    """
    if pattern := _first(policy.deny, verb):
        return Verdict(False, "policy-deny", f"the customer's policy denies {verb} (deny {pattern})")
    if not _allowed(policy, verb, state_empty=state_empty):
        return Verdict(False, "policy-allow", f"the customer's policy does not allow {verb}")
    subjects = _most_specific(policy.only_for, verb)
    if subjects is not None and sub not in subjects:
        return Verdict(False, "policy-only-for", f"the customer's policy allows {verb} to others only")
    age = _max_age(policy, verb)
    if now - at > age:
        return Verdict(False, "too-old", f"{verb} was asked for more than {_spell(age)} ago")
    return Verdict(True, "policy-allow", f"the customer's policy allows {verb}")


def _allowed(policy: Policy, verb: Verb, *, state_empty: bool) -> bool:
    if verb is Verb.CELL_READ or (verb is Verb.CELL_RESYNC and state_empty):
        return True
    return bool(_first(policy.allow, verb))


def _max_age(policy: Policy, verb: Verb) -> timedelta:
    named = _most_specific(policy.max_age, verb)
    if named is not None:
        return named
    return _TERMINATE_AGE if verb.value.endswith(".terminate") else _DEFAULT_AGE


def _patterns(verb: Verb) -> tuple[str, str, str]:
    return verb.value, verb.value.split(".")[0] + ".*", "*"


def _first(patterns: tuple[str, ...], verb: Verb) -> str:
    return next((pattern for pattern in _patterns(verb) if pattern in patterns), "")


def _most_specific(table: Mapping[str, T], verb: Verb) -> T | None:
    return next((table[pattern] for pattern in _patterns(verb) if pattern in table), None)


def _spell(age: timedelta) -> str:
    seconds = int(age.total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def load_policy(path: Path) -> Policy:
    """Read a policy file; a missing one is the default policy.

    Raises:
        UsageError: it cannot be read or understood; the message names the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return default_policy()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path.name} cannot be read: {type(error).__name__}") from error
    return parse_policy(text, path.name)


def parse_policy(text: str, name: str = FILE) -> Policy:
    """Read the text of a policy.

    Raises:
        UsageError: it cannot be understood; the message names ``name`` and the line.
    """
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        # The library says the line itself, unless it is the last one.
        last = f"(at line {len(text.splitlines()) or 1})"
        raise UsageError(f"{name}: {str(error).replace('(at end of document)', last)}") from error
    return _Reader(text, name).policy(table)


class _Reader:
    """Turns a TOML table into a policy, and knows where in the text a name stands."""

    def __init__(self, text: str, name: str) -> None:
        self._lines = text.splitlines()
        self._name = name

    def policy(self, table: Mapping[str, Any]) -> Policy:
        for key in table:
            if key not in {"allow", "deny", "only_for", "max_age"}:
                raise self._wrong(key, f"unknown setting `{key}`")
        return Policy(
            allow=self._verbs(table, "allow") if "allow" in table else Policy().allow,
            deny=self._verbs(table, "deny"),
            only_for={key: self._names(key, value) for key, value in self._table(table, "only_for").items()},
            max_age={key: self._age(key, value) for key, value in self._table(table, "max_age").items()},
        )

    def _wrong(self, token: str, what: str) -> UsageError:
        number = next((number for number, line in enumerate(self._lines, 1) if token in line), 1)
        return UsageError(f"{self._name} line {number}: {what}")

    def _table(self, table: Mapping[str, Any], name: str) -> dict[str, Any]:
        value = table.get(name, {})
        if not isinstance(value, dict):
            raise self._wrong(name, f"`{name}` is not a table")
        for pattern in value:
            self._check_pattern(pattern)
        return value

    def _verbs(self, table: Mapping[str, Any], name: str) -> tuple[str, ...]:
        value = table.get(name, [])
        if not isinstance(value, list) or not all(isinstance(pattern, str) for pattern in value):
            raise self._wrong(name, f"`{name}` is not a list of verbs")
        for pattern in value:
            self._check_pattern(pattern)
        return tuple(value)

    def _check_pattern(self, pattern: str) -> None:
        if not any(pattern in _patterns(verb) for verb in Verb):
            raise self._wrong(pattern, f"unknown verb `{pattern}`")

    def _names(self, pattern: str, value: object) -> frozenset[str]:
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            raise self._wrong(pattern, f"`{pattern}` is not a list of subjects")
        return frozenset(value)

    def _age(self, pattern: str, value: object) -> timedelta:
        match = _AGE.match(value) if isinstance(value, str) else None
        if match is None:
            raise self._wrong(pattern, f'`{pattern}` is not a time such as "24h" or "7d"')
        return timedelta(**{_UNITS[match[2]]: int(match[1])})


class PolicyFile:
    """The policy in force: the newest text that could be understood, of the file in ``folder``.

    ``problem`` says what is wrong with the present file; empty where nothing is.

    Args:
        folder: the cell's folder; keeps the text that was understood last.
        mounted: where the customer's file is, if not in the folder.
    """

    def __init__(self, folder: Path, mounted: Path | None = None) -> None:
        self._path = mounted or folder / FILE
        self._accepted = folder / ACCEPTED
        self._policy = self._last_accepted()
        self._seen: tuple[int, ...] | None = (-1,)
        self.problem = ""

    def current(self) -> Policy:
        """Return the policy in force now; looks at the file each time."""
        seen = self._look()
        if seen != self._seen:
            self._reload()
            self._seen = seen
        return self._policy

    def _look(self) -> tuple[int, ...] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _reload(self) -> None:
        try:
            policy = load_policy(self._path)
        except UsageError as error:
            self.problem = error.message
            return
        self._policy = policy
        self.problem = ""
        self._keep()

    def _keep(self) -> None:
        """Keep a copy, so that after a restart too a file that is wrong changes nothing."""
        try:
            if self._path.exists():
                durable.write_file(self._accepted, self._path.read_bytes())
            else:
                durable.remove(self._accepted)
        except (OSError, Unwritable) as error:
            self.problem = f"{ACCEPTED} cannot be written: {type(error).__name__}"

    def _last_accepted(self) -> Policy:
        try:
            return load_policy(self._accepted)
        except UsageError:
            # Nothing is known of what the customer wants: allow nothing until the file is mended.
            return Policy(allow=())
