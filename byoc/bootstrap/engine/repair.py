"""A stack whose last run was cut off, made whole: what was being created is found and adopted.

A run that dies leaves "pending operations" in the state: calls that were begun and whose
answers nobody wrote down. The engine's own remedies drop them (and create unnamed things a
second time) or promise an adoption that no code performs. So each pending creation is looked
up in the account by what it is called there; found ones become resources of the state under
the id found, the others are dropped and created again by the next run. Everything here is
pure: states are JSON objects as ``pulumi stack export`` gives them.

Called by :meth:`byoc.bootstrap.engine.stack.Stack.repair`, which saves the state before.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Final, Protocol

from byoc.bootstrap.engine.events import DESTRUCTIVE, Step, Subject
from byoc.clock import stamp
from byoc.errors import Failed

State = Mapping[str, Any]
"""``{"version": 3, "deployment": {"resources": […], "pending_operations": […], …}}``."""

INVOCATION: Final = "aws:lambda/invocation:Invocation"
"""Calls a function that may be called again: never adopted, always run anew."""

_CREATING: Final = "creating"


class Finder(Protocol):
    """Looks into the account for what an interrupted run may have created."""

    def find(self, kind: str, inputs: Mapping[str, Any], logical_name: str) -> str | None:
        """Id of the object that a creation made, as the provider would have given it.

        Args:
            kind: type of the resource: ``aws:ec2/vpc:Vpc``.
            inputs: what it was to be created from; secrets are ciphertext.
            logical_name: its name in the program; what is unnamed in AWS carries it as a tag.

        Returns:
            the id, ``None`` where there is no such object.

        Raises:
            ByocError: the account could not be asked, or more than one object fits.
        """
        ...


@dataclass(frozen=True)
class Pending:
    """A call that was begun and whose end is unknown; ``op`` is the engine's word: ``creating``."""

    subject: Subject
    op: str
    resource: Mapping[str, Any]

    @property
    def inputs(self) -> Mapping[str, Any]:
        """What the resource was to be made from."""
        inputs: Mapping[str, Any] = self.resource.get("inputs") or {}
        return inputs


class Fate(Enum):
    """What becomes of a pending operation."""

    ADOPT = "adopt"
    DROP = "drop"
    AGAIN = "run again"


@dataclass(frozen=True)
class Decision:
    """One row of the table that repair shows."""

    pending: Pending
    fate: Fate
    reason: str
    id: str = ""


def pending(state: State) -> tuple[Pending, ...]:
    """The operations that ``state`` holds as begun, in its order."""
    operations: Sequence[Mapping[str, Any]] = _deployment(state).get("pending_operations") or ()
    return tuple(
        Pending(Subject.of(operation["resource"]["urn"]), operation["type"], operation["resource"])
        for operation in operations
    )


def to_find(operations: Iterable[Pending]) -> tuple[Pending, ...]:
    """Those of which the account must be asked."""
    return tuple(
        one
        for one in operations
        if one.op == _CREATING
        and one.subject.type != INVOCATION
        and one.resource.get("custom")
        # Providers are the engine's own; there is no object behind them.
        and not one.subject.type.startswith("pulumi:")
    )


def decide(operations: Iterable[Pending], found: Mapping[str, str]) -> tuple[Decision, ...]:
    """What becomes of each operation.

    Args:
        operations: all that are pending.
        found: ids of the objects that exist, by URN.
    """
    return tuple(_decide(one, found.get(one.subject.urn, "")) for one in operations)


def _decide(one: Pending, found: str) -> Decision:
    if one.subject.type == INVOCATION:
        return Decision(one, Fate.AGAIN, "the call is repeated by the next run")
    if one.op != _CREATING:
        return Decision(one, Fate.DROP, f"was {one.op}: a refresh tells how it ended")
    if found:
        return Decision(one, Fate.ADOPT, f"exists as {found}", found)
    return Decision(one, Fate.DROP, "does not exist: the next run creates it")


def healed(state: State, decisions: Iterable[Decision], now: datetime) -> dict[str, Any]:
    """``state`` without pending operations and with the adopted resources at its end.

    At the end, because whatever an adopted resource depends on was finished before its call
    began. Outputs are its inputs until the refresh that must follow has read them. Where it was
    to replace another, that one is marked as to be deleted, as the engine itself would have done.
    """
    new: dict[str, Any] = copy.deepcopy(dict(state))
    deployment = new["deployment"]
    deployment.pop("pending_operations", None)
    resources: list[dict[str, Any]] = deployment.setdefault("resources", [])
    for decision in decisions:
        if decision.fate is not Fate.ADOPT:
            continue
        urn = decision.pending.subject.urn
        for resource in resources:
            if resource["urn"] == urn:
                resource["delete"] = True
        made = copy.deepcopy(dict(decision.pending.resource))
        made |= {"id": decision.id, "outputs": copy.deepcopy(dict(decision.pending.inputs))}
        resources.append(made | {"created": stamp(now), "modified": stamp(now)})
    return new


def replaced(state: State) -> frozenset[str]:
    """URNs of which an old instance waits for its deletion."""
    resources: Sequence[Mapping[str, Any]] = _deployment(state).get("resources") or ()
    return frozenset(resource["urn"] for resource in resources if resource.get("delete"))


def check(steps: Iterable[Step], waiting: frozenset[str], backup: str) -> None:
    """Refuse a plan that would take something away from what was adopted.

    Args:
        steps: what the preview after the repair would do.
        waiting: URNs whose old instances are to be deleted anyway.
        backup: where the state of before lies, for the message.

    Raises:
        Failed: it holds a replacement or a deletion; the message names the first.
    """
    # A replacement is three steps of one resource.
    bad = {
        step.subject: step.op for step in steps if step.op in DESTRUCTIVE and step.subject.urn not in waiting
    }
    if bad:
        subject, op = next(iter(bad.items()))
        what = f"{'replace' if 'replace' in op else op} {subject.name} ({subject.type})"
        raise Failed(
            f"after the repair the next run would {what}, and {len(bad) - 1} more like it",
            hint=f"nothing was deleted; the state of before is {backup or 'unchanged'}, beside the state",
        )


def _deployment(state: State) -> Mapping[str, Any]:
    deployment: Mapping[str, Any] = state.get("deployment") or {}
    return deployment
