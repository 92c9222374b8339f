"""New generations of specs, and what must hold before one is written. Pure.

Called by the service inside its transactions. The invariant: a spec that these functions
return differs from the one they were given in what was asked for, in its generation, and
in nothing else.
"""

from dataclasses import replace
from typing import Any, Final

from byoc.errors import IllegalState, LimitReached, UsageError
from byoc.model.records import CellRecord, CellState, GroupChanges, GroupRecord, WorkspaceChanges
from byoc.model.size import SIZES
from byoc.model.spec import AutoSuspend, Desired, GroupSpec, Spec, SuspendType, WorkspaceSpec

MOST_WORKSPACES: Final = 5
"""In one group, as the vendor's documented limit."""
MOST_UNDELIVERED: Final = 500
"""Generations of one object that may wait for its cell; a request can carry twice as many changes."""
_LOCAL_ENGINES: Final = frozenset({"mariadb", "memory"})
_WORKSPACE_FIELDS: Final = (
    "size", "scale_factor", "cache_config", "auto_suspend", "auto_scale", "enable_kai",
)  # fmt: skip
_GROUP_FIELDS: Final = ("name", "firewall_ranges", "allow_all_traffic", "update_window")


def updated_workspace(spec: WorkspaceSpec, changes: WorkspaceChanges) -> WorkspaceSpec:
    """Return the next generation with every change that was asked for."""
    return replace(spec, generation=spec.generation + 1, **_present(changes, _WORKSPACE_FIELDS))


def updated_group(spec: GroupSpec, changes: GroupChanges) -> GroupSpec:
    """Return the next generation with every change; a new password raises its version."""
    return replace(
        spec,
        generation=spec.generation + 1,
        password_version=spec.password_version + (changes.admin_password is not None),
        **_present(changes, _GROUP_FIELDS),
    )


def suspended(spec: WorkspaceSpec) -> WorkspaceSpec:
    """Return the next generation, which should not run."""
    return replace(spec, **_next(spec, Desired.SUSPENDED))


def resumed(spec: WorkspaceSpec, *, disable_auto_suspend: bool) -> WorkspaceSpec:
    """Return the next generation, which should run, and from now on for ever if asked so."""
    running = replace(spec, **_next(spec, Desired.RUNNING))
    return replace(running, auto_suspend=AutoSuspend()) if disable_auto_suspend else running


def without_auto_suspend(spec: WorkspaceSpec) -> WorkspaceSpec | None:
    """Return the next generation, which the cell never suspends; None if it never does now."""
    if spec.auto_suspend.type is SuspendType.DISABLED:
        return None
    return replace(spec, generation=spec.generation + 1, auto_suspend=AutoSuspend())


def terminated_workspace(spec: WorkspaceSpec) -> WorkspaceSpec:
    """Return the next generation, of which nothing should be left."""
    return replace(spec, **_next(spec, Desired.TERMINATED))


def terminated_group(spec: GroupSpec) -> GroupSpec:
    """Return the next generation, of which nothing should be left."""
    return replace(spec, **_next(spec, Desired.TERMINATED))


def _next(spec: Spec, desired: Desired) -> dict[str, Any]:
    generation = spec.generation + 1
    return {"generation": generation, "desired": desired, "desired_generation": generation}


def _present(changes: WorkspaceChanges | GroupChanges, names: tuple[str, ...]) -> dict[str, Any]:
    given = {name: getattr(changes, name) for name in names}
    return {name: value for name, value in given.items() if value is not None}


def check_size(cell: CellRecord, size: str, scale_factor: int) -> None:
    """Refuse early what the cell's machine cannot hold.

    Raises:
        UsageError: the size needs more memory than the machine has.
    """
    if cell.facts is None or cell.facts.memory_bytes <= 0:
        return
    rung = SIZES[size]
    local = cell.facts.engine.lower() in _LOCAL_ENGINES
    needed = (rung.local_memory_bytes if local else rung.memory_bytes) * scale_factor
    if needed > cell.facts.memory_bytes:
        has = f"cell `{cell.name}` has {_spell(cell.facts.memory_bytes)}"
        scale = f" at scale factor {scale_factor}" if scale_factor > 1 else ""
        raise UsageError(f"size {size}{scale} needs {_spell(needed)} of memory, {has}")


def _spell(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size // 2**20} MiB"


def check_cell(cell: CellRecord) -> None:
    """Refuse intent for a cell that can never carry it out.

    Raises:
        IllegalState: the cell is retired, or has not enrolled yet.
    """
    if cell.state is CellState.RETIRED:
        raise IllegalState(f"cell `{cell.name}` is retired")
    if cell.sealing_key is None:
        hint = f"enrol it first: `byoc cell enrol {cell.name}`"
        raise IllegalState(f"cell `{cell.name}` is not enrolled yet", hint=hint)


def check_live(group: GroupRecord) -> None:
    """Refuse changes of a group that is going or gone.

    Raises:
        IllegalState: it is.
    """
    if group.terminated_at is not None:
        raise IllegalState(f"workspace group `{group.spec.name}` is terminated")
    if group.spec.desired is Desired.TERMINATED:
        raise IllegalState(f"workspace group `{group.spec.name}` is being terminated")


def check_room(generation: int, acknowledged: int) -> None:
    """Refuse to pile up more changes than one delivery can bring.

    Raises:
        LimitReached: too many wait.
    """
    if generation - acknowledged >= MOST_UNDELIVERED:
        raise LimitReached(
            f"{MOST_UNDELIVERED} changes wait for the cell", hint="wait until the cell is connected again"
        )
