"""What the customer's policy says of each verb, put for a person: pure.

Used by the commands ``policy show`` and ``policy explain``. It decides nothing: that is ``policy.decide``.
"""

from dataclasses import dataclass
from typing import Final

from byoc.dataplane.policy import Policy, first, longest_age, most_specific, spell_age
from byoc.model.verbs import CHANGES, Verb

_ALWAYS: Final = {
    Verb.CELL_READ: "always: it tells no more than reports do",
    Verb.CELL_REKEY: "always: the keys are the cell's own",
}


@dataclass(frozen=True, slots=True)
class Terms:
    """What one verb may be done under.

    Attributes:
        answer: ``yes``, ``no`` or ``approval``.
        setting: the line that says so.
        subjects: for whom; empty for everybody.
    """

    verb: Verb
    answer: str
    setting: str
    subjects: tuple[str, ...]
    windows: tuple[str, ...]
    max_age: str
    rate: str


def terms(policy: Policy, verb: Verb) -> Terms:
    """Return what ``verb`` may be done under."""
    answer, setting = _answer(policy, verb)
    whom = most_specific(policy.only_for, verb)
    when = most_specific(policy.windows, verb)
    often = most_specific(policy.rate, verb)
    return Terms(
        verb,
        answer,
        setting,
        subjects=tuple(sorted(policy.only_for[whom])) if whom else (),
        windows=tuple(one.spell() for one in policy.windows[when]) if when else (),
        max_age=spell_age(longest_age(policy, verb)),
        rate=policy.rate[often].spell() if often else "",
    )


def _answer(policy: Policy, verb: Verb) -> tuple[str, str]:
    if pattern := first(policy.deny, verb):
        return "no", f'deny "{pattern}"'
    if verb in _ALWAYS:
        return "yes", _ALWAYS[verb]
    pattern = first(policy.allow, verb)
    if not pattern and verb is Verb.CELL_RESYNC:
        return "no", "only while the cell holds nothing"
    if not pattern:
        return "no", "no line allows it"
    if wanted := first(policy.approval, verb):
        return "approval" if verb in CHANGES else "no", f'approval "{wanted}"'
    return "yes", f'allow "{pattern}"'


def every(policy: Policy) -> list[Terms]:
    """Return the terms of every verb that somebody could ask for."""
    return [terms(policy, verb) for verb in Verb if verb is not Verb.REVERT]
