"""What bootstrap must be allowed to do in AWS for one cell, derived from what the program registers. Pure.

Read by bootstrap, which asks AWS for each before it begins, and by ``permits`` and ``grants``. The table
in ``permissions.json`` says for each type of resource and each operation which actions it takes, and where
that is known from; the invariant: an action is granted because a resource of the cell needs it, or not at
all.
"""

import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final, Literal

from byoc.cell.args import CellArgs
from byoc.cell.config import to_mapping
from byoc.cell.program import program
from byoc.cell.recorder import Recording, record
from byoc.errors import Failed

Operation = Literal["create", "read", "update", "delete"]
OPERATIONS: Final[tuple[Operation, ...]] = ("create", "read", "update", "delete")
MAKING: Final[tuple[Operation, ...]] = ("create", "read", "update")
"""What bootstrap, upgrade and drift do; to delete is a right of its own."""
SOURCES: Final = ("handler", "tagging", "provider", "service")
"""Where an action of a row is known from: the CloudFormation type's handler or tagging permissions, a
call in the provider's source, or AWS's own documentation of a service, with its reason."""

_STATE: Final = "state"
_ELSEWHERE: Final = ("kubernetes:", "pulumi:providers:")
"""Types that ask AWS nothing: made by the cluster's API, or the engine's own."""


@cache
def table() -> Mapping[str, Any]:
    """Return the table, with its sources."""
    text = files("byoc.cell").joinpath("permissions.json").read_text(encoding="utf-8")
    value: dict[str, Any] = json.loads(text)
    return value


def actions_of(kind: str, operation: Operation) -> frozenset[str]:
    """Return the actions that one operation on one type of resource takes.

    Raises:
        Failed: the table does not know the type.
    """
    if kind.startswith(_ELSEWHERE):
        return frozenset()
    known = table()["types"].get(kind)
    if known is None:
        raise Failed(
            f"nobody has said what {kind} needs", hint="byoc/cell/permissions.json has a row for each type"
        )
    row = known[operation]
    return frozenset(action for source in SOURCES for action in row.get(source, ()))


def kinds(args: CellArgs) -> tuple[str, ...]:
    """Return the types of what the program makes of ``args``.

    Raises:
        UsageError: the arguments cannot become a cell.
    """
    said = json.dumps(to_mapping(args), sort_keys=True)
    if said not in _SEEN:
        _SEEN[said] = kinds_of(record(program(args), args.facts, stack=args.name))
    return _SEEN[said]


_SEEN: Final[dict[str, tuple[str, ...]]] = {}
"""The program takes a second to run and makes the same of the same arguments."""


def kinds_of(recording: Recording) -> tuple[str, ...]:
    """Return the types of what was recorded."""
    return tuple(sorted({each.kind for each in recording.resources if each.custom}))


def needed(
    args: CellArgs, operations: Iterable[Operation] = MAKING, *, state: bool = True
) -> tuple[str, ...]:
    """Return every action that bootstrap needs for ``args``, with its own look at the account.

    Args:
        args: of the cell.
        operations: what is to be done with its resources.
        state: with what keeps the engine's state and the cell's record.

    Raises:
        UsageError: the arguments cannot become a cell.
        Failed: the table does not know a type that the program registers.
    """
    wanted = tuple(operations)
    found = {action for kind in kinds(args) for one in wanted for action in actions_of(kind, one)}
    for name, row in table()["ours"].items():
        if state or name != _STATE:
            found.update(action for one in wanted for action in row[one])
    return tuple(sorted(found))


def needed_for_state() -> tuple[str, ...]:
    """Return every action on the bucket and the key of the engine's state."""
    row = table()["ours"][_STATE]
    return tuple(sorted({action for one in OPERATIONS for action in row[one]}))
