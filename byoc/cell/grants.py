"""The policies that let somebody make a cell, unmake it, break its glass, or rule it. Pure.

Printed by ``byoc cell permissions`` and in docs/access.md. ``permissions`` says which actions are needed;
here stands on what, and under which condition, each may be used. The invariants: every needed action is
in a statement and no other is; what a cell makes is tagged as the cell's when it is made, and what is
changed or deleted carries that tag, or the cell's name where AWS does not look at tags; nothing is
deleted by the policies that make.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from byoc.cell import arns, breaking, scopes, unmaking
from byoc.cell.args import CellArgs, Delivery, GivenVpc
from byoc.cell.permissions import needed, needed_for_state
from byoc.cell.statements import Document, Statement
from byoc.errors import Failed

UseOf = Literal["bootstrap", "delete", "breakglass", "control"]
USES: Final[tuple[UseOf, ...]] = ("bootstrap", "delete", "breakglass", "control")
"""Of a policy: making and changing a cell, destroying it, coming into it in an emergency, and saying what the
control plane may do in it."""
LABEL: Final = "derived, not yet observed on AWS"
"""What stands on every policy from here until a trail of a real run has been compared with it."""
MODES: Final = ("new-vpc", "existing-vpc", "existing-iam")


@dataclass(frozen=True, slots=True)
class Grant:
    """One managed policy.

    Attributes:
        name: what it may be called in the account.
        purpose: one line.
        use: what it is needed for.
    """

    name: str
    purpose: str
    document: Document
    use: UseOf = "bootstrap"

    @property
    def actions(self) -> frozenset[str]:
        """Every action it allows."""
        return frozenset(action for each in self.document.statements for action in each.actions)


@dataclass(frozen=True, slots=True)
class Use:
    """How one action will be used, for whoever asks AWS whether it may be.

    Attributes:
        resource: an ARN of the kind it will be used on; ``*`` where AWS ties it to none.
        context: condition key to value, such as the tag that a thing will be made with.
    """

    resource: str
    context: Mapping[str, str]


PURPOSES: Final = {
    "look": "sees the account and the region: what AWS lists, it lists all or none of",
    "state": "keeps the state of the engine and the cell's record in a bucket of the account",
    "network": "makes and changes the cell's network",
    "cluster": "makes and changes cluster, machines, functions and names",
    "identity": "makes and changes the cell's roles, below their boundary, and hands them to AWS's services",
    "storage": "makes and changes the cell's buckets, key and logs",
    "delete": "deletes the cell without its data; attach it for a destroy, and detach it afterwards",
    "delete-data": "deletes the databases, the ledger and the key; not needed with --keep-data",
    "breakglass": "breaks the glass in an emergency: on record, below the boundary, and logged",
    "breakglass-machine": "the same: starts the session's machine, reaches it and ends it",
    "control": "says what the control plane may do in the cell: policy, approvals, kill switch",
}


def mode(args: CellArgs) -> str:
    """Return which of ``MODES`` the arguments mean."""
    if args.roles:
        return "existing-iam"
    return "existing-vpc" if isinstance(args.network, GivenVpc) else "new-vpc"


def grants(args: CellArgs) -> tuple[Grant, ...]:
    """Return the policies that bootstrap needs for ``args``.

    Raises:
        UsageError: the arguments cannot become a cell.
        Failed: nobody has said on what a needed action may be used.
    """
    state = set(needed_for_state())
    making = set(needed(args, state=False))
    deleting = set(needed(args, ("delete",), state=False)) - making
    made = {
        "look": _cut(scopes.look(), making | state),
        "state": _cut(scopes.state(args), state),
        "network": _cut(scopes.network(args), making),
        "cluster": _cut(scopes.cluster(args), making),
        "identity": _cut(scopes.identity(args), making),
        "storage": _cut(scopes.storage(args), making),
        "delete": _cut(unmaking.deletion(args), deleting),
        "delete-data": _cut(unmaking.data(args), deleting),
    }
    _check(made, making | state | deleting)
    made["breakglass"] = tuple(breaking.glass(args))
    made["breakglass-machine"] = tuple(breaking.machine(args))
    if args.delivery is Delivery.IN_VPC:
        made["control"] = (_papers(args),)
    return tuple(_grant(args, name, Document(found)) for name, found in made.items())


def _grant(args: CellArgs, name: str, document: Document) -> Grant:
    use = next((each for each in USES if name.startswith(each)), USES[0])
    part = f"bootstrap-{name}" if use in {"bootstrap", "delete"} else name
    return Grant(f"{arns.prefix(args)}-{part}", PURPOSES[name], document, use)


def _papers(args: CellArgs) -> Statement:
    return Statement(
        sid="Papers",
        why="the one way to them from outside the cluster; who makes a cell needs it not",
        actions=("lambda:InvokeFunction",),
        resources=(arns.function_arn(args, "control"),),
    )


def _cut(statements: Iterable[Statement], wanted: set[str]) -> tuple[Statement, ...]:
    """Return the statements with what is wanted of their actions; an empty one is left out."""
    return tuple(_kept(statements, wanted))


def _kept(statements: Iterable[Statement], wanted: set[str]) -> Iterator[Statement]:
    for each in statements:
        actions = tuple(sorted(wanted.intersection(each.actions)))
        if actions:
            yield replace(each, actions=actions)


def _check(made: dict[str, tuple[Statement, ...]], wanted: set[str]) -> None:
    said = {action for found in made.values() for each in found for action in each.actions}
    missing = sorted(wanted - said)
    if missing:
        raise Failed(f"nobody has said on what {missing[0]} may be used", hint="byoc/cell/scopes.py says so")


def allowed(found: Iterable[Grant], *wanted: UseOf) -> tuple[str, ...]:
    """Return every action of those of ``found`` that are for what is ``wanted``."""
    return tuple(sorted({action for each in found if each.use in wanted for action in each.actions}))


def uses(args: CellArgs) -> dict[str, Use]:
    """Return how bootstrap will use each action that it needs for ``args``.

    Raises:
        UsageError: the arguments cannot become a cell.
    """
    found: dict[str, Use] = {}
    for each in grants(args):
        for statement in each.document.statements if each.use == "bootstrap" else ():
            resource = statement.resources[0]
            named = resource if resource == "*" else resource.replace("*", _SAMPLE)
            context = {
                key: value if isinstance(value, str) else value[0]
                for operator, keys in statement.conditions.items()
                if operator != "Null"  # it is about a key that is not there
                for key, value in keys.items()
            }
            for action in statement.actions:
                found.setdefault(action, Use(named, context))
    return found


_SAMPLE: Final = "byoc-preflight"
"""Stands for what has no name before it is made."""
