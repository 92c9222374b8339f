"""What the Control Plane answers, as typed values. Every answer keeps its own JSON in ``raw``.

Unknown fields are ignored: an older client must go on working against a newer Control Plane.
"""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import datetime
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from byoc.clock import parse_stamp
from byoc.errors import Failed

T = TypeVar("T")
JSON = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class FromJSON:
    """What every answer has: the JSON it was read from."""

    raw: JSON = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Region(FromJSON):
    """Where groups can be made; each cell is one."""

    region: str
    provider: str
    region_id: str = ""
    region_name: str = ""


@dataclass(frozen=True, slots=True)
class Organization(FromJSON):
    """The organization that the key belongs to."""

    org_id: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Identity(FromJSON):
    """Who a key speaks for."""

    user_id: str = ""
    email: str = ""
    organization_id: str = ""
    organization: str = ""
    key_id: str = ""


@dataclass(frozen=True, slots=True)
class Group(FromJSON):
    """One workspace group."""

    workspace_group_id: str
    name: str
    state: str
    created_at: datetime | None = None
    terminated_at: datetime | None = None
    region_id: str = ""
    region_name: str = ""
    provider: str = ""
    firewall_ranges: tuple[str, ...] = ()
    allow_all_traffic: bool = False


@dataclass(frozen=True, slots=True)
class Workspace(FromJSON):
    """One workspace, in the words of the Management API."""

    workspace_id: str
    workspace_group_id: str
    name: str
    state: str
    size: str = ""
    scale_factor: float = 1
    cache_config: float = 1
    endpoint: str = ""
    created_at: datetime | None = None
    terminated_at: datetime | None = None
    last_resumed_at: datetime | None = None
    auto_suspend: JSON = field(default_factory=dict)
    auto_scale: JSON = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Detail(FromJSON):
    """What only this product says of a workspace: generations, phase, reason, where its cell is."""

    generation: int
    acknowledged: int = 0
    state: str = ""
    phase: str = ""
    reason: str = ""
    reason_text: str = ""
    since: datetime | None = None
    auto_suspended_at: datetime | None = None
    databases_attached: int | None = None
    databases_missing: int | None = None
    endpoint: str = ""
    cell_id: str = ""
    cell_name: str = ""
    cell_connected: bool = True
    cell_last_seen_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Event(FromJSON):
    """One line of a workspace's story; see ``byoc.model.records.Event`` for the kinds."""

    number: int
    kind: str
    generation: int
    state: str = ""
    reason: str = ""
    text: str = ""
    at: datetime | None = None
    progress: float | None = None
    by: str = ""
    workspace_id: str = ""


@dataclass(frozen=True, slots=True)
class Cell(FromJSON):
    """One cell, as the Control Plane knows it."""

    cell_id: str
    name: str
    state: str = ""
    provider: str = ""
    region: str = ""
    region_name: str = ""
    connected: bool = False
    last_seen_at: datetime | None = None
    created_at: datetime | None = None
    copies_late_since: datetime | None = None
    """Since when the copies of its ledger are late; None while they are in time, or none are made."""


@dataclass(frozen=True, slots=True)
class Connection(FromJSON):
    """One tunnel session of a cell."""

    session_id: str = ""
    gateway: str = ""
    epoch: int = 0
    opened_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Metrics(FromJSON):
    """What a workspace used when it was asked: ``nodes`` has values by node and by name."""

    workspace_id: str
    at: datetime
    nodes: JSON = field(default_factory=dict)

    def total(self, name: str) -> float | None:
        """Return the sum over all nodes; None where none has a value."""
        values = [node[name] for node in self.nodes.values() if name in node]
        return sum(values) if values else None


@dataclass(frozen=True, slots=True)
class CellEvent(FromJSON):
    """Something about a cell that its owner should know."""

    number: int
    at: datetime
    kind: str
    text: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class Deed(FromJSON):
    """One call that changed something, or tried to."""

    number: int
    at: datetime
    by: str
    key_id: str
    action: str
    status: int
    request_id: str = ""
    object_id: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class Enrolment(FromJSON):
    """What a cell needs to be enrolled; handed over by the customer, never through the tunnel."""

    token: str
    root_key: JSON


@dataclass(frozen=True, slots=True)
class OpenedService(FromJSON):
    """A way to a service of a cell: its name, when the cell ends it, and the certificate it shows."""

    forward_id: str
    until: datetime
    certificate: str


@dataclass(frozen=True, slots=True)
class Created:
    """A new group. ``admin_password`` is set only if it was generated, and only here."""

    id: str
    admin_password: str = ""


@dataclass(frozen=True, slots=True)
class Changed:
    """A change that the Control Plane has recorded: nothing remote has happened yet.

    Attributes:
        generation: the one that carries the change; 0 where the answer did not say.
    """

    id: str
    generation: int = 0


def camel(name: str) -> str:
    """Return the JSON name of a field: ``workspace_group_id`` is ``workspaceGroupID``."""
    head, *tail = name.split("_")
    return head + "".join("ID" if part == "id" else part.title() for part in tail)


def decode(kind: type[T], value: object) -> T:
    """Read one JSON object into ``kind``.

    Raises:
        Failed: it is no object, lacks a field, or a field has the wrong type.
    """
    if not isinstance(value, Mapping):
        raise Failed(f"the control plane answered something that is not a {kind.__name__}")
    hints = get_type_hints(kind)
    known: dict[str, Any] = {"raw": value} if "raw" in hints else {}
    for each in fields(kind):  # type: ignore[arg-type]
        found = value.get(camel(each.name))
        if each.name == "raw":
            continue
        if found is None:
            if each.default is MISSING and each.default_factory is MISSING:
                raise Failed(f"the control plane's answer lacks `{camel(each.name)}`")
            continue
        known[each.name] = _read(hints[each.name], found, camel(each.name))
    return kind(**known)


def decode_list(kind: type[T], value: object) -> list[T]:
    """Read a JSON array of objects.

    Raises:
        Failed: it is no array, or an element is not a ``kind``.
    """
    if not isinstance(value, list):
        raise Failed(f"the control plane answered something that is not a list of {kind.__name__}")
    return [decode(kind, each) for each in value]


def _read(hint: Any, value: Any, name: str) -> Any:
    wanted = [each for each in get_args(hint) if each is not type(None)]
    if get_origin(hint) is tuple:
        if isinstance(value, list):
            return tuple(str(each) for each in value)
        raise _wrong(name)
    if get_origin(hint) is not None and issubclass(get_origin(hint), Mapping):
        if isinstance(value, Mapping):
            return value
        raise _wrong(name)
    return _scalar(wanted[0] if wanted else hint, value, name)


def _scalar(kind: type, value: Any, name: str) -> Any:
    if kind is datetime:
        try:
            return parse_stamp(value)
        except (TypeError, ValueError) as error:
            raise _wrong(name) from error
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, bool) is not (kind is bool) or not isinstance(value, kind):
        raise _wrong(name)
    return value


def _wrong(name: str) -> Failed:
    return Failed(f"the control plane's answer has a `{name}` of the wrong type")
