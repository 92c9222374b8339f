"""Every operation of the Management API that the SDK knows, as a value.

Pure: a :class:`Call` says what to send and how to read the answer; ``http`` carries it out,
and the two faces ``aio`` and ``sync`` are one line for each of these.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from byoc.client.answers import Answer
from byoc.client.models import (
    Cell,
    CellEvent,
    Changed,
    Connection,
    Created,
    Deed,
    Detail,
    Enrolment,
    Group,
    Identity,
    Metrics,
    OpenedService,
    Organization,
    Region,
    Workspace,
    decode,
    decode_list,
)
from byoc.errors import Failed

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request and how its answer is read. ``body`` None sends none."""

    method: str
    path: str
    read: Callable[[Answer], T]
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None


def raw(method: str, path: str, body: Mapping[str, Any] | None, query: Mapping[str, str]) -> Call[Answer]:
    """Any request; the answer as it is."""
    return Call(method.upper(), path, lambda answer: answer, query, body)


def whoami() -> Call[Identity]:
    """Who the key speaks for."""
    return Call("GET", "/byoc/v1/whoami", partial(_one, Identity))


def organization() -> Call[Organization]:
    """The organization that the key belongs to."""
    return Call("GET", "/v1/organizations/current", partial(_one, Organization))


def regions() -> Call[list[Region]]:
    """Where groups can be made."""
    return Call("GET", "/v1/regions", partial(_many, Region))


def groups(*, include_terminated: bool) -> Call[list[Group]]:
    """All workspace groups."""
    return Call("GET", "/v1/workspaceGroups", partial(_many, Group), _terminated(include_terminated))


def group(group_id: str) -> Call[Group]:
    """One workspace group."""
    return Call("GET", _path("/v1/workspaceGroups", group_id), partial(_one, Group))


def create_group(fields: Mapping[str, Any]) -> Call[Created]:
    """A new workspace group."""
    return Call("POST", "/v1/workspaceGroups", _created, body=_present(fields))


def update_group(group_id: str, fields: Mapping[str, Any]) -> Call[Changed]:
    """A change of a group."""
    path = _path("/v1/workspaceGroups", group_id)
    return Call("PATCH", path, partial(_changed, "workspaceGroupID"), body=_present(fields))


def terminate_group(group_id: str, *, force: bool) -> Call[Changed]:
    """The end of a group; with ``force`` of its workspaces too."""
    path = _path("/v1/workspaceGroups", group_id)
    return Call("DELETE", path, partial(_changed, "workspaceGroupID"), {"force": str(force).lower()})


def set_password(group_id: str, password: str | None) -> Call[str]:
    """A new admin password: the one given, or a generated one, which is the value returned."""
    if password is not None:
        path = _path("/v1/workspaceGroups", group_id)
        return Call("PATCH", path, lambda _: password, body={"adminPassword": password})
    return Call("POST", _path("/byoc/v1/workspaceGroups", group_id, "password"), _password, body={})


def workspaces(group_id: str, *, include_terminated: bool) -> Call[list[Workspace]]:
    """The workspaces of one group."""
    query = {"workspaceGroupID": group_id} | _terminated(include_terminated)
    return Call("GET", "/v1/workspaces", partial(_many, Workspace), query)


def workspace(workspace_id: str) -> Call[Workspace]:
    """One workspace."""
    return Call("GET", _path("/v1/workspaces", workspace_id), partial(_one, Workspace))


def detail(workspace_id: str) -> Call[Detail]:
    """What only this product says of a workspace."""
    return Call("GET", _path("/byoc/v1/workspaces", workspace_id), partial(_one, Detail))


def create_workspace(fields: Mapping[str, Any]) -> Call[Changed]:
    """A new workspace."""
    return Call("POST", "/v1/workspaces", partial(_changed, "workspaceID"), body=_present(fields))


def update_workspace(workspace_id: str, fields: Mapping[str, Any]) -> Call[Changed]:
    """A change of size, scale factor, cache config or the automatic rules."""
    path = _path("/v1/workspaces", workspace_id)
    return Call("PATCH", path, partial(_changed, "workspaceID"), body=_present(fields))


def suspend_workspace(workspace_id: str) -> Call[Changed]:
    """Stop a workspace and keep its data."""
    path = _path("/v1/workspaces", workspace_id, "suspend")
    return Call("POST", path, partial(_changed, "workspaceID"), body={})


def resume_workspace(workspace_id: str, *, disable_auto_suspend: bool) -> Call[Changed]:
    """Start a suspended workspace."""
    path = _path("/v1/workspaces", workspace_id, "resume")
    body = {"disableAutoSuspend": True} if disable_auto_suspend else {}
    return Call("POST", path, partial(_changed, "workspaceID"), body=body)


def terminate_workspace(workspace_id: str) -> Call[Changed]:
    """End a workspace and remove its data."""
    return Call("DELETE", _path("/v1/workspaces", workspace_id), partial(_changed, "workspaceID"))


def logs(workspace_id: str) -> Call[str]:
    """The engine's own log, relayed from the cell if its policy allows."""
    return Call("GET", _path("/byoc/v1/workspaces", workspace_id, "logs"), lambda answer: answer.text())


def events_path(workspace_id: str) -> str:
    """Where the story of a workspace is streamed."""
    return _path("/byoc/v1/workspaces", workspace_id, "events")


def events_query(
    after: int, *, follow: bool, generation: int = 0, newest: int | None = None
) -> dict[str, str]:
    """Which events: those above ``after`` and from ``generation`` on, and with ``follow`` those to come."""
    query = {"after": str(after), "follow": str(follow).lower()}
    if generation:
        query["generation"] = str(generation)
    if newest is not None:
        query["newest"] = str(newest)
    return query


def cells() -> Call[list[Cell]]:
    """All cells."""
    return Call("GET", "/byoc/v1/cells", partial(_many, Cell))


def cell(cell_id: str) -> Call[Cell]:
    """One cell."""
    return Call("GET", _path("/byoc/v1/cells", cell_id), partial(_one, Cell))


def register_cell(fields: Mapping[str, Any]) -> Call[Cell]:
    """A cell that is to be enrolled."""
    return Call("POST", "/byoc/v1/cells", partial(_one, Cell), body=_present(fields))


def enrolment(cell_id: str, thumbprint: str) -> Call[Enrolment]:
    """A token that enrols the cell whose keys have this thumbprint, within 15 minutes."""
    path = _path("/byoc/v1/cells", cell_id, "enrolment")
    return Call("POST", path, partial(_one, Enrolment), body={"thumbprint": thumbprint})


def retire_cell(cell_id: str) -> Call[None]:
    """End a cell's right to connect."""
    return Call("POST", _path("/byoc/v1/cells", cell_id, "retire"), lambda _: None, body={})


def rotate_keys(cell_id: str) -> Call[str]:
    """New keys of a cell's own; the thumbprint of the new signing key is the value returned."""
    path = _path("/byoc/v1/cells", cell_id, "rotateKeys")
    return Call("POST", path, lambda answer: _text(answer, "thumbprint"), body={})


def connections(cell_id: str) -> Call[list[Connection]]:
    """The tunnel sessions of a cell."""
    return Call("GET", _path("/byoc/v1/cells", cell_id, "sessions"), partial(_many, Connection))


def open_service(
    cell_id: str, service: str, certificate: str, life_seconds: int | None
) -> Call[OpenedService]:
    """A way to a service of a cell, for a while."""
    path = _path("/byoc/v1/cells", cell_id, "services", service, "open")
    body = _present({"certificate": certificate, "lifeSeconds": life_seconds})
    return Call("POST", path, partial(_one, OpenedService), body=body)


def workspace_metrics(workspace_id: str) -> Call[Metrics]:
    """What a workspace uses now."""
    return Call("GET", _path("/byoc/v1/workspaces", workspace_id, "metrics"), partial(_one, Metrics))


def group_metrics(group_id: str) -> Call[list[Metrics]]:
    """What each workspace of a group uses now."""
    return Call("GET", _path("/byoc/v1/workspaceGroups", group_id, "metrics"), partial(_many, Metrics))


def cell_events(cell_id: str) -> Call[list[CellEvent]]:
    """What happened to a cell, in order."""
    return Call("GET", _path("/byoc/v1/cells", cell_id, "events"), partial(_many, CellEvent))


def audit(after: int, newest: int) -> Call[list[Deed]]:
    """Who did what, the newest of it."""
    query = {"after": str(after), "newest": str(newest)}
    return Call("GET", "/byoc/v1/audit", partial(_many, Deed), query=query)


def _path(base: str, *parts: str) -> str:
    return "/".join([base, *(quote(part, safe="") for part in parts)])


def _terminated(include: bool) -> dict[str, str]:
    return {"includeTerminated": "true"} if include else {}


def _present(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _one(kind: type[T], answer: Answer) -> T:
    return decode(kind, answer.json())


def _many(kind: type[T], answer: Answer) -> list[T]:
    return decode_list(kind, answer.json())


def _text(answer: Answer, name: str) -> str:
    body = answer.json()
    found = body.get(name) if isinstance(body, Mapping) else None
    if not isinstance(found, str):
        raise Failed(f"the control plane's answer lacks `{name}`")
    return found


def _changed(name: str, answer: Answer) -> Changed:
    return Changed(_text(answer, name), answer.generation)


def _created(answer: Answer) -> Created:
    password = answer.json().get("adminPassword") if isinstance(answer.json(), Mapping) else None
    return Created(_text(answer, "workspaceGroupID"), password if isinstance(password, str) else "")


def _password(answer: Answer) -> str:
    return _text(answer, "adminPassword")
