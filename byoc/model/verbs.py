"""Verbs: what a request does in the cell. A closed list, and how verbs follow from specs.

Both planes use this: the Control Plane signs the verbs of each change, the cell derives
them again from what it holds and accepts nothing that was not signed.
"""

from enum import StrEnum
from typing import Final

from byoc.model.spec import Desired, GroupSpec, Spec, WorkspaceSpec


class Verb(StrEnum):
    """Every verb there is."""

    WORKSPACE_CREATE = "workspace.create"
    WORKSPACE_RESIZE = "workspace.resize"
    WORKSPACE_UPDATE = "workspace.update"
    WORKSPACE_SUSPEND = "workspace.suspend"
    WORKSPACE_RESUME = "workspace.resume"
    WORKSPACE_TERMINATE = "workspace.terminate"
    GROUP_CREATE = "group.create"
    GROUP_UPDATE = "group.update"
    GROUP_PASSWORD = "group.password"  # noqa: S105 - the name of a verb
    GROUP_TERMINATE = "group.terminate"
    CELL_READ = "cell.read"
    CELL_RESYNC = "cell.resync"
    CELL_REKEY = "cell.rekey"
    """Has the cell make new keys of its own, and then use them."""
    LOGS_READ = "logs.read"
    METRICS_READ = "metrics.read"
    SERVICE_OPEN = "service.open"
    """Opens a way for a while to one service that the policy names."""
    REVERT = "change.revert"
    """Puts a generation on record that equals the last accepted one; nothing is ever derived to it."""


CHANGES: Final = frozenset(verb for verb in Verb if verb.value.startswith(("workspace.", "group.")))
"""What changes an object, so that it can wait for approval."""
_LIFECYCLE: Final = {
    Desired.RUNNING: Verb.WORKSPACE_RESUME,
    Desired.SUSPENDED: Verb.WORKSPACE_SUSPEND,
    Desired.TERMINATED: Verb.WORKSPACE_TERMINATE,
}


def between(held: Spec | None, new: Spec) -> frozenset[Verb]:
    """Return the verbs that turn ``held`` into ``new``; ``held`` is None for an unknown object.

    Termination swallows every other difference: nothing else will be carried out.
    """
    if isinstance(new, WorkspaceSpec):
        return _workspace(held if isinstance(held, WorkspaceSpec) else None, new)
    return _group(held if isinstance(held, GroupSpec) else None, new)


def _workspace(held: WorkspaceSpec | None, new: WorkspaceSpec) -> frozenset[Verb]:
    if new.desired is Desired.TERMINATED:
        done = held is not None and held.desired is Desired.TERMINATED
        return frozenset() if done else frozenset({Verb.WORKSPACE_TERMINATE})
    if held is None:
        created = {Verb.WORKSPACE_CREATE}
        return frozenset(created | ({Verb.WORKSPACE_SUSPEND} if new.desired is Desired.SUSPENDED else set()))
    verbs = set()
    if held.desired is not new.desired or held.desired_generation != new.desired_generation:
        verbs.add(_LIFECYCLE[new.desired])
    if _compute(held) != _compute(new):
        verbs.add(Verb.WORKSPACE_RESIZE)
    if _rest(held) != _rest(new):
        verbs.add(Verb.WORKSPACE_UPDATE)
    return frozenset(verbs)


def _compute(spec: WorkspaceSpec) -> tuple[str, int, int]:
    return spec.size, spec.scale_factor, spec.cache_config


def _rest(spec: WorkspaceSpec) -> tuple[object, ...]:
    return spec.group_id, spec.name, spec.auto_suspend, spec.auto_scale, spec.enable_kai


def _group(held: GroupSpec | None, new: GroupSpec) -> frozenset[Verb]:
    if new.desired is Desired.TERMINATED:
        done = held is not None and held.desired is Desired.TERMINATED
        return frozenset() if done else frozenset({Verb.GROUP_TERMINATE})
    if held is None:
        return frozenset({Verb.GROUP_CREATE})
    verbs = set()
    if held.desired is not new.desired:
        verbs.add(Verb.GROUP_CREATE)
    if held.password_version != new.password_version:
        verbs.add(Verb.GROUP_PASSWORD)
    if _group_rest(held) != _group_rest(new):
        verbs.add(Verb.GROUP_UPDATE)
    return frozenset(verbs)


def _group_rest(spec: GroupSpec) -> tuple[object, ...]:
    return spec.name, spec.firewall_ranges, spec.allow_all_traffic, spec.update_window
