"""Reading what is delivered: strictly, before anything of it is believed or stored.

Called by the Cell API with bodies whose signature has been checked. The invariant: a spec
that comes out of here can be stored under its id and carried out: ids are UUIDs, sizes exist,
numbers are in range. The Control Plane checks the same; a cell does not rely on it.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from byoc.dataplane.delivery import CONFLICT, Refused, Rule
from byoc.errors import UsageError
from byoc.ids import parse_id
from byoc.model.size import SIZES, parse_multiplier
from byoc.model.spec import GroupSpec, Spec, WorkspaceSpec
from byoc.wire.cell import Delivery, Resync, decode, spec_digest

T = TypeVar("T")

_LONGEST_NAME: Final = 255
_LONGEST_WAIT: Final = 10 * 365 * 86400
_LARGEST: Final = 2**53


def read_delivery(body: bytes) -> tuple[Spec, str | None]:
    """Return the spec of a delivery and the sealed password that came with it.

    Raises:
        UsageError: it is not a delivery of exactly one spec that this cell can carry out.
    """
    with _one_line():
        delivery = _decode(Delivery, body)
        specs = [spec for spec in (delivery.group, delivery.workspace) if spec is not None]
        if len(specs) != 1:
            raise UsageError("a delivery brings exactly one spec")
        spec = specs[0]
        check_spec(spec)
        if delivery.sealed_password is not None and not isinstance(spec, GroupSpec):
            raise UsageError("only a group has a password")
        return spec, delivery.sealed_password


def read_resync(body: bytes) -> tuple[Spec, ...]:
    """Return what the Control Plane knows of this cell, groups first.

    Raises:
        UsageError: it is not understood.
    """
    with _one_line():
        resync = _decode(Resync, body)
        specs: tuple[Spec, ...] = (*resync.groups, *resync.workspaces)
        for spec in specs:
            check_spec(spec)
        return specs


def _decode(kind: type[T], body: bytes) -> T:
    try:
        return decode(kind, json.loads(body))
    except (ValueError, RecursionError) as error:
        raise UsageError("the body is not JSON") from error


@contextmanager
def _one_line() -> Iterator[None]:
    """Keep a refusal printable: it may quote names and values that somebody chose."""
    try:
        yield
    except UsageError as error:
        raise UsageError("".join(c if c.isprintable() else "?" for c in error.message)) from error


def check_spec(spec: Spec) -> None:
    """Check what the types do not say.

    Raises:
        UsageError: with the first thing that is wrong.
    """
    _check_id(spec.id)
    if not 1 <= spec.desired_generation <= spec.generation <= _LARGEST:
        raise UsageError("desiredGeneration must lie between 1 and generation")
    if not 0 < len(spec.name) <= _LONGEST_NAME:
        raise UsageError(f"name: must have 1 to {_LONGEST_NAME} characters")
    if isinstance(spec, WorkspaceSpec):
        _check_workspace(spec)
    elif not 0 <= spec.password_version <= _LARGEST:
        raise UsageError("passwordVersion: out of range")


def _check_workspace(spec: WorkspaceSpec) -> None:
    _check_id(spec.group_id)
    if spec.size not in SIZES:
        raise UsageError("size: not a size of this cell")
    parse_multiplier(spec.scale_factor, "scaleFactor")
    parse_multiplier(spec.cache_config, "cacheConfig")
    if not 0 <= spec.auto_suspend.after_seconds <= _LONGEST_WAIT:
        raise UsageError("autoSuspend: out of range")


def _check_id(text: str) -> None:
    # Ids become names of files: nothing but the canonical form may pass.
    if parse_id(text, "id") != text:
        raise UsageError("id: not a canonical UUID")


def check_same_group(held: Spec | None, new: Spec) -> None:
    """Check that a workspace stays in its group.

    Raises:
        Refused: it would move.
    """
    if not isinstance(held, WorkspaceSpec) or not isinstance(new, WorkspaceSpec):
        return
    if held.group_id != new.group_id:
        reason = "a workspace cannot move to another group"
        raise Refused(
            Rule.WRONG_OBJECT, reason, CONFLICT, generation=new.generation, digest=spec_digest(held)
        )
