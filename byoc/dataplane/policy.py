"""The customer's policy: which verbs the Control Plane may use in this cell, and how.

A file ``policy.toml`` that only the customer writes; nothing that comes through the tunnel
can. Read by the agent at each request and by the commands ``policy``. :func:`decide` is pure.
The invariants: what no line allows is refused; ``deny`` beats ``allow``; of the patterns that
fit a verb the most specific one counts; a file that cannot be understood changes nothing, and
whoever asks is told which line is wrong. The format is explained in docs/policy.md::

    allow = ["workspace.*", "group.*", "metrics.read"]   # the default
    deny = ["workspace.update"]
    approval = ["workspace.terminate"]                    # waits for somebody in the cell
    [only_for]                        # subjects as the provider names them
    "workspace.resize" = ["ann@example.com"]
    [max_age]                         # since the change was asked for
    "*" = "7d"
    "workspace.terminate" = "24h"
    [windows]                         # when it may be done
    "workspace.resize" = [{ days = ["sat", "sun"], hours = "22:00-06:00", zone = "Europe/Zurich" }]
    [rate]                            # how often at most
    "workspace.terminate" = "3/1h"
    [services]                        # what `service.open` may open, and nothing else
    grafana = { to = "grafana.monitoring.svc:3000", max_life = "30m" }

Three verbs have rules of their own, so that a cell can be operated under any policy:
``cell.read`` tells no more than reports do, ``cell.rekey`` has the cell make keys that nobody
else sees, and both are always allowed; ``cell.resync`` is allowed, without being named, while the
cell holds no state at all, which is when it is needed. ``deny`` forbids all three.
"""

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

from byoc import durable
from byoc.clock import stamp
from byoc.dataplane.named import Named, check_name, parse_named
from byoc.dataplane.windows import Window, next_opening, parse_window
from byoc.errors import Unwritable, UsageError
from byoc.model.verbs import CHANGES, Verb
from byoc.wire.canonical import digest

T = TypeVar("T")

FILE: Final = "policy.toml"
ACCEPTED: Final = "policy.accepted.toml"
"""Copy of the last text that was understood; in force while ``policy.toml`` is not."""
_AGE: Final = re.compile(r"(\d{1,8})([smhd])\Z")
_RATE: Final = re.compile(r"([1-9]\d{0,5})/([1-9]\d{0,5})([smhd])\Z")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
LONGEST_PERIOD: Final = timedelta(days=7)
"""What a rate may count over at most."""
SETTINGS: Final = ("allow", "deny", "approval", "only_for", "max_age", "windows", "rate", "services")
_DEFAULT_AGE: Final = timedelta(days=7)
_TERMINATE_AGE: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Rate:
    """How often at most: ``times`` in any stretch of ``period``."""

    times: int
    period: timedelta

    def spell(self) -> str:
        """Return it as it stands in a policy."""
        return f"{self.times}/{spell_age(self.period)}"


Spent = Callable[[str, timedelta], int]
"""How often something was done under a pattern of ``rate`` in the last so much time."""


def none_spent(_pattern: str, _period: timedelta) -> int:
    """Count nothing: where nobody counts, no rate is passed."""
    return 0


@dataclass(frozen=True, slots=True)
class Policy:
    """What the customer allows. Patterns are a verb, ``noun.*`` or ``*``."""

    allow: tuple[str, ...] = ("workspace.*", "group.*", "metrics.read")
    deny: tuple[str, ...] = ()
    approval: tuple[str, ...] = ()
    only_for: Mapping[str, frozenset[str]] = field(default_factory=dict)
    max_age: Mapping[str, timedelta] = field(default_factory=dict)
    windows: Mapping[str, tuple[Window, ...]] = field(default_factory=dict)
    rate: Mapping[str, Rate] = field(default_factory=dict)
    services: Mapping[str, Named] = field(default_factory=dict)

    def settings(self) -> dict[str, Any]:
        """Return the whole of it as JSON, as the ledger keeps it."""
        settings: dict[str, Any] = {
            "allow": list(self.allow),
            "deny": list(self.deny),
            "approval": list(self.approval),
            "onlyFor": {pattern: sorted(names) for pattern, names in self.only_for.items()},
            "maxAge": {pattern: age.total_seconds() for pattern, age in self.max_age.items()},
            "windows": {pattern: [one.spell() for one in some] for pattern, some in self.windows.items()},
            "rate": {pattern: rate.spell() for pattern, rate in self.rate.items()},
        }
        if self.services:
            settings["services"] = {
                name: {"to": one.spell(), "maxLife": spell_age(one.max_life)}
                for name, one in self.services.items()
            }
        return settings

    def digest(self) -> str:
        """SHA-256 that stands for the policy in the ledger."""
        return digest(self.settings())


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the policy says to one verb.

    Attributes:
        rule: a code.
        reason: the same for a person.
        setting: the line of the policy that decided; empty where it is none of the file's.
        approval: it may be done once somebody in the cell has approved it.
    """

    allowed: bool
    rule: str
    reason: str
    setting: str = ""
    approval: bool = False


def default_policy() -> Policy:
    """Return the policy of a cell whose customer has written none."""
    return Policy()


def decide(
    policy: Policy,
    verb: Verb,
    sub: str,
    at: datetime,
    now: datetime,
    *,
    state_empty: bool = False,
    spent: Spent = none_spent,
) -> Verdict:
    """Say whether ``sub`` may do ``verb``, asked for at ``at``.

    ``state_empty``: the cell holds nothing, neither objects nor tombstones. ``spent`` counts what
    was done before.
    """
    if pattern := first(policy.deny, verb):
        reason = f"the customer's policy denies {verb} (deny {pattern})"
        return Verdict(False, "policy-deny", reason, f'deny "{pattern}"')
    if not _allowed(policy, verb, state_empty=state_empty):
        return Verdict(False, "policy-allow", f"the customer's policy does not allow {verb}", "allow")
    limits = (_whom(policy, verb, sub), _age(policy, verb, now - at), _when(policy, verb, now))
    refusal = next((verdict for verdict in limits if verdict is not None), None)
    if refusal is None:
        refusal = _how_often(policy, verb, spent)
    if refusal is not None:
        return refusal
    setting = f'allow "{pattern}"' if (pattern := first(policy.allow, verb)) else ""
    if pattern := first(policy.approval, verb):
        if verb in CHANGES:
            reason = f"the customer's policy wants {verb} to be approved in the cell"
            return Verdict(True, "policy-approval", reason, f'approval "{pattern}"', approval=True)
        if not _always(verb, state_empty=state_empty):
            reason = f"the customer's policy wants {verb} to be approved, and only a change can wait for that"
            return Verdict(False, "policy-approval", reason, f'approval "{pattern}"')
    return Verdict(True, "policy-allow", f"the customer's policy allows {verb}", setting)


def _whom(policy: Policy, verb: Verb, sub: str) -> Verdict | None:
    pattern = most_specific(policy.only_for, verb)
    if pattern is None or sub in policy.only_for[pattern]:
        return None
    reason = f"the customer's policy allows {verb} to others only"
    return Verdict(False, "policy-only-for", reason, f'only_for "{pattern}"')


def _age(policy: Policy, verb: Verb, passed: timedelta) -> Verdict | None:
    age = longest_age(policy, verb)
    if passed <= age:
        return None
    pattern = most_specific(policy.max_age, verb)
    reason = f"{verb} was asked for more than {spell_age(age)} ago"
    return Verdict(False, "too-old", reason, f'max_age "{pattern}"' if pattern else "max_age by default")


def _when(policy: Policy, verb: Verb, now: datetime) -> Verdict | None:
    pattern = most_specific(policy.windows, verb)
    if pattern is None or any(window.holds(now) for window in policy.windows[pattern]):
        return None
    opening = next_opening(policy.windows[pattern], now)
    then = f"; the next one opens at {stamp(opening)}" if opening is not None else ""
    reason = f"the customer's policy allows {verb} in its time windows only{then}"
    return Verdict(False, "policy-window", reason, f'windows "{pattern}"')


def _how_often(policy: Policy, verb: Verb, spent: Spent) -> Verdict | None:
    pattern = most_specific(policy.rate, verb)
    if pattern is None or spent(pattern, policy.rate[pattern].period) < policy.rate[pattern].times:
        return None
    reason = f"the customer's policy allows {verb} {policy.rate[pattern].spell()} at most"
    return Verdict(False, "policy-rate", reason, f'rate "{pattern}"')


def _allowed(policy: Policy, verb: Verb, *, state_empty: bool) -> bool:
    return _always(verb, state_empty=state_empty) or bool(first(policy.allow, verb))


def _always(verb: Verb, *, state_empty: bool) -> bool:
    return verb in {Verb.CELL_READ, Verb.CELL_REKEY} or (verb is Verb.CELL_RESYNC and state_empty)


def longest_age(policy: Policy, verb: Verb) -> timedelta:
    """Return how long ago a change may have been asked for."""
    pattern = most_specific(policy.max_age, verb)
    if pattern is not None:
        return policy.max_age[pattern]
    return _TERMINATE_AGE if verb.value.endswith(".terminate") else _DEFAULT_AGE


def patterns(verb: Verb) -> tuple[str, str, str]:
    """Return what may stand for a verb, the most specific first."""
    return verb.value, verb.value.split(".")[0] + ".*", "*"


def first(some: Sequence[str], verb: Verb) -> str:
    """Return the most specific pattern of ``some`` that fits; empty where none does."""
    return next((pattern for pattern in patterns(verb) if pattern in some), "")


def most_specific(table: Mapping[str, T], verb: Verb) -> str | None:
    """Return the most specific pattern of a table that fits; None where none does."""
    return next((pattern for pattern in patterns(verb) if pattern in table), None)


def spell_age(age: timedelta) -> str:
    """Return a time as it stands in a policy: ``24h``, ``7d``."""
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
    except (ValueError, RecursionError) as error:
        # The library says the line itself, unless it is the last one.
        last = f"(at line {len(text.splitlines()) or 1})"
        raise UsageError(f"{name}: {str(error).replace('(at end of document)', last)}") from error
    return _Reader(text, name).policy(table)


def in_force(text: str, accepted: Callable[[], str]) -> tuple[Policy, str]:
    """Return the policy in force where ``text`` is the newest, and what is wrong with that; "" for nothing.

    ``accepted`` gives the last text that was understood; where that is damaged, nothing is allowed.
    """
    try:
        return parse_policy(text), ""
    except UsageError as error:
        problem = error.message
    try:
        return parse_policy(accepted()), problem
    except UsageError:
        return Policy(allow=()), problem


class _Reader:
    """Turns a TOML table into a policy, and knows where in the text a name stands."""

    def __init__(self, text: str, name: str) -> None:
        self._lines = text.splitlines()
        self._name = name

    def policy(self, table: Mapping[str, Any]) -> Policy:
        for key in table:
            if key not in SETTINGS:
                raise self._wrong(key, f"unknown setting `{key}`")
        return Policy(
            allow=self._verbs(table, "allow") if "allow" in table else Policy().allow,
            deny=self._verbs(table, "deny"),
            approval=self._verbs(table, "approval"),
            only_for=self._each(table, "only_for", self._names),
            max_age=self._each(table, "max_age", self._age),
            windows=self._each(table, "windows", self._windows),
            rate=self._each(table, "rate", self._rate),
            services=self._services(table),
        )

    def _services(self, table: Mapping[str, Any]) -> Mapping[str, Named]:
        value = table.get("services", {})
        if not isinstance(value, dict):
            raise self._wrong("services", "`services` is not a table")
        return {name: self._service(name, one) for name, one in value.items()}

    def _service(self, name: str, value: object) -> Named:
        if not isinstance(value, dict):
            raise self._wrong(name, f'`{name}` is not a service such as {{ to = "grafana:3000" }}')
        for key in value:
            if key not in {"to", "max_life"}:
                raise self._wrong(key, f"`{name}`: a service has no `{key}`")
        life = self._age(name, value["max_life"]) if "max_life" in value else None
        try:
            check_name(name)
            return parse_named(value, life)
        except UsageError as error:
            raise self._wrong(name, f"`{name}`: {error.message}") from error

    def _each(self, table: Mapping[str, Any], name: str, read: Callable[[str, object], T]) -> Mapping[str, T]:
        return {pattern: read(pattern, value) for pattern, value in self._table(table, name).items()}

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
        if not any(pattern in patterns(verb) for verb in Verb):
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

    def _rate(self, pattern: str, value: object) -> Rate:
        match = _RATE.match(value) if isinstance(value, str) else None
        if match is None:
            raise self._wrong(pattern, f'`{pattern}` is not a rate such as "3/1h"')
        period = timedelta(**{_UNITS[match[3]]: int(match[2])})
        if period > LONGEST_PERIOD:
            raise self._wrong(pattern, f"`{pattern}`: a rate counts {spell_age(LONGEST_PERIOD)} at most")
        return Rate(int(match[1]), period)

    def _windows(self, pattern: str, value: object) -> tuple[Window, ...]:
        if not isinstance(value, list) or not value or not all(isinstance(one, dict) for one in value):
            raise self._wrong(pattern, f"`{pattern}` is not a list of windows, of at least one")
        return tuple(self._window(pattern, one) for one in value)

    def _window(self, pattern: str, value: Mapping[str, Any]) -> Window:
        for key in value:
            if key not in {"days", "hours", "zone"}:
                raise self._wrong(key, f"`{pattern}`: a window has no `{key}`")
        days, hours, zone = value.get("days", []), value.get("hours", ""), value.get("zone", "UTC")
        texts = [hours, zone, *days] if isinstance(days, list) else [days, None]
        if not all(isinstance(text, str) for text in texts):
            raise self._wrong(pattern, f"`{pattern}`: days are a list of texts, hours and zone are texts")
        try:
            return parse_window(days, hours, zone)
        except UsageError as error:
            token = error.message.split("`")[1]
            raise self._wrong(token or pattern, f"`{pattern}`: {error.message}") from error


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
        # Of one time and size too: `cp -p` keeps both, but not when the file was written.
        return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino

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
