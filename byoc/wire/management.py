"""The public Management API on the wire: what callers may send and what they get back.

Called by the API routes; the one home of pydantic outside the Control Plane. Bodies are read as the real
service reads them: keys in any letter case, ``null`` means absent, unknown keys are refused. Answers are
plain dicts typed by the classes below, which also make the OpenAPI document; they are never validated again.
"""

from functools import cache
from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import from_json

# Before Python 3.12 pydantic reads only this TypedDict.
from typing_extensions import TypedDict

from byoc.errors import UsageError
from byoc.wire.facts import CellFacts

MAXIMUM_BODY: Final = 2**20
"""Bytes; a larger body is refused unread."""

_WORDS: Final = {"id": "ID", "kms": "KMS", "dr": "DR"}
_UNKNOWN: Final = "request body contains an unknown field"


def camel(name: str) -> str:
    """Return the JSON name of a field: ``workspace_group_id`` is ``workspaceGroupID``."""
    first, *rest = name.split("_")
    return first + "".join(_WORDS.get(word, word.capitalize()) for word in rest)


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _provider(value: object) -> object:
    known = {name.upper(): name for name in get_args(ProviderName)}
    return known.get(value.upper(), value) if isinstance(value, str) else value


ProviderName = Literal["AWS", "GCP", "Azure"]
SuspendTypeName = Literal["IDLE", "SCHEDULED", "DISABLED"]
SensitivityName = Literal["LOW", "NORMAL", "HIGH"]
DeploymentTypeName = Literal["PRODUCTION", "NON-PRODUCTION"]
StateName = Literal["ACTIVE", "PENDING", "SUSPENDED", "FAILED", "TERMINATED"]
MetricName = Literal["ComputeCredit", "StorageAvgByte"]

AnyCase = BeforeValidator(_upper)
ID = Annotated[str, Field(json_schema_extra={"format": "uuid"})]
Stamp = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Multiplier = Annotated[float, Field(json_schema_extra={"enum": [1, 2, 4]})]


class Body(BaseModel):
    """Base of everything that callers send; read by :func:`decode` only."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", alias_generator=camel)
    missing: ClassVar[dict[str, str]] = {}
    """What to say if a field is missing, where the usual text would not do."""


class UpdateWindowBody(Body):
    """When upgrades may happen: day 0-6, Sunday first; hour 0-23, UTC."""

    day: float = Field(ge=0, le=6, multiple_of=1)
    hour: float = Field(ge=0, le=23, multiple_of=1)


class AutoSuspendBody(Body):
    """Auto-suspension as callers write it; it is shaped differently on read."""

    suspend_type: Annotated[SuspendTypeName, AnyCase]
    suspend_after_seconds: float | None = Field(default=None, ge=0, le=2**31 - 1, multiple_of=1)


class AutoScaleBody(Body):
    """Auto-scaling; absent or 1 as ``maxScaleFactor`` is off. The two stamps are read-only and ignored."""

    max_scale_factor: Multiplier | None = None
    sensitivity: Annotated[SensitivityName, AnyCase] | None = None
    changed_at: str | None = None
    last_auto_scaled_at: str | None = None


class GroupCreate(Body):
    """``POST /v1/workspaceGroups``. The last three fields are accepted for clients that always send them."""

    name: str
    firewall_ranges: list[str]
    region_id: str | None = None
    provider: Annotated[ProviderName, BeforeValidator(_provider)] | None = None
    region_name: str | None = None
    admin_password: str | None = None
    allow_all_traffic: bool | None = None
    expires_at: str | None = None
    update_window: UpdateWindowBody | None = None
    deployment_type: Annotated[DeploymentTypeName, AnyCase] | None = None
    high_availability_two_zones: bool | None = None
    opt_in_preview_feature: bool | None = None
    project_id: str | None = None
    smart_dr: bool | None = None
    backup_bucket_kms_key_id: str | None = None
    data_bucket_kms_key_id: str | None = None

    missing: ClassVar[dict[str, str]] = {
        "firewallRanges": (
            "firewallRanges cannot be null (indicate empty list [] to disallow all inbound traffic)"
        )
    }


class GroupUpdate(Body):
    """``PATCH /v1/workspaceGroups/{workspaceGroupID}``."""

    name: str | None = None
    admin_password: str | None = None
    firewall_ranges: list[str] | None = None
    allow_all_traffic: bool | None = None
    expires_at: str | None = None
    update_window: UpdateWindowBody | None = None
    deployment_type: Annotated[DeploymentTypeName, AnyCase] | None = None


class WorkspaceCreate(Body):
    """``POST /v1/workspaces``."""

    name: str
    workspace_group_id: ID
    size: str | None = None
    auto_suspend: AutoSuspendBody | None = None
    auto_scale: AutoScaleBody | None = None
    cache_config: Multiplier | None = None
    scale_factor: Multiplier | None = None
    enable_kai: bool | None = None


class WorkspaceUpdate(Body):
    """``PATCH /v1/workspaces/{workspaceID}``."""

    size: str | None = None
    auto_suspend: AutoSuspendBody | None = None
    auto_scale: AutoScaleBody | None = None
    cache_config: Multiplier | None = None
    scale_factor: Multiplier | None = None
    deployment_type: Annotated[DeploymentTypeName, AnyCase] | None = None
    enable_kai: bool | None = None


class WorkspaceResume(Body):
    """``POST /v1/workspaces/{workspaceID}/resume``; may be left out."""

    disable_auto_suspend: bool | None = None


class CellCreate(Body):
    """``POST /byoc/v1/cells``."""

    name: str
    provider: Annotated[ProviderName, BeforeValidator(_provider)] = "AWS"
    region: str
    region_name: str


class CellEnrolment(Body):
    """``POST /byoc/v1/cells/{cellID}/enrolment``: the cell's thumbprint, as it shows it itself."""

    thumbprint: str


class ServiceOpen(Body):
    """``POST /byoc/v1/cells/{cellID}/services/{service}/open``.

    ``certificate``: PEM that the caller's end of each connection shows; made for this forward alone.
    """

    certificate: str = Field(max_length=8192)
    life_seconds: float | None = Field(default=None, ge=1, le=86_400, multiple_of=1)


class Nothing(Body):
    """A body without fields."""


B = TypeVar("B", bound=Body)


def decode(model: type[B], raw: bytes, *, optional: bool = False) -> B:
    """Read a request body.

    Args:
        model: what to read it as.
        raw: the body; its content type does not matter.
        optional: whether an empty body stands for ``{}``.

    Raises:
        UsageError: it is no JSON object, or a field is unknown, missing or of the wrong type.
    """
    if optional and not raw.strip():
        raw = b"{}"
    try:
        value = from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise UsageError("request body is not valid JSON") from error
    if not isinstance(value, dict):
        raise UsageError("request body must be a JSON object")
    try:
        return model.model_validate(_folded(model, value))
    except ValidationError as error:
        raise UsageError(_first_fault(model, error)) from error


def _folded(model: type[Body], value: dict[str, Any]) -> dict[str, Any]:
    """Return ``value`` with the model's own spelling of keys and without nulls."""
    known = _spelling(model)
    folded = {}
    for key, item in value.items():
        name, nested = known.get(key.lower(), ("", None))
        if not name:
            shown = key[:64] if key.isprintable() else "unreadable"
            raise UsageError(_UNKNOWN, hint=f"unknown field: {shown}")
        if item is not None:
            folded[name] = _folded(nested, item) if nested and isinstance(item, dict) else item
    return folded


@cache
def _spelling(model: type[Body]) -> dict[str, tuple[str, type[Body] | None]]:
    known: dict[str, tuple[str, type[Body] | None]] = {}
    for name, field in model.model_fields.items():
        kinds = (field.annotation, *get_args(field.annotation))
        nested = next((k for k in kinds if isinstance(k, type) and issubclass(k, Body)), None)
        known[camel(name).lower()] = (camel(name), nested)
    return known


def _first_fault(model: type[Body], error: ValidationError) -> str:
    """Say in one line what is wrong first, in the words of the real service where they are known."""
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "missing":
        return model.missing.get(where, f"{where} is required")
    text = fault["msg"].replace("Input should", "must")
    return f"{where}: {text}" if where else text


class Region(TypedDict):
    """A place for workspace groups: one bootstrapped cell."""

    regionID: ID
    region: str
    regionName: str
    provider: ProviderName


class Organization(TypedDict):
    """The caller's organization."""

    orgID: ID
    name: str
    firewallRanges: list[str]


class Project(TypedDict):
    """A folder for groups."""

    projectID: ID
    name: str
    edition: str
    createdAt: Stamp


class UpdateWindow(TypedDict):
    """When upgrades may happen."""

    day: int
    hour: int


class _GroupAlways(TypedDict):
    workspaceGroupID: ID
    name: str
    state: Literal["ACTIVE", "PENDING", "FAILED", "TERMINATED"]
    createdAt: Stamp
    provider: ProviderName
    regionID: ID
    regionName: str
    projectID: ID
    firewallRanges: list[str]
    allowAllTraffic: bool
    deploymentType: DeploymentTypeName
    highAvailabilityTwoZones: bool
    optInPreviewFeature: bool


class WorkspaceGroup(_GroupAlways, total=False):
    """A workspace group; what is null is left out."""

    projectName: str
    expiresAt: Stamp
    terminatedAt: Stamp
    updateWindow: UpdateWindow


class AutoSuspend(TypedDict, total=False):
    """Auto-suspension as it reads back; absent when disabled."""

    suspendType: Literal["IDLE", "SCHEDULED"]
    suspendTypeChangedAt: Stamp
    idleAfterSeconds: int
    idleChangedAt: Stamp
    scheduledAfterSeconds: int
    scheduledChangedAt: Stamp
    scheduledSuspendAt: Stamp


class AutoScale(TypedDict, total=False):
    """Auto-scaling as it reads back; absent when off."""

    maxScaleFactor: int
    sensitivity: SensitivityName
    changedAt: Stamp


class ResumeAttachment(TypedDict, total=False):
    """How a database was attached at the last resume."""

    attachment: Literal["READONLY", "READWRITE"]
    database: str
    success: bool
    error: str


class _WorkspaceAlways(TypedDict):
    workspaceID: ID
    workspaceGroupID: ID
    name: str
    state: StateName
    size: str
    createdAt: Stamp
    scaleFactor: int
    cacheConfig: int
    deploymentType: DeploymentTypeName
    kaiEnabled: bool


class Workspace(_WorkspaceAlways, total=False):
    """A workspace; what is null is left out, ``endpoint`` is there only while ACTIVE."""

    endpoint: str
    autoSuspend: AutoSuspend
    autoScale: AutoScale
    lastResumedAt: Stamp
    terminatedAt: Stamp
    scalingProgress: int
    resumeAttachments: list[ResumeAttachment]


class WorkspaceID(TypedDict):
    """What a change of a workspace answers."""

    workspaceID: ID


class WorkspaceGroupID(TypedDict):
    """What a change of a group answers."""

    workspaceGroupID: ID


class CreatedWorkspaceGroup(WorkspaceGroupID, total=False):
    """What creating a group answers; the password only if it was generated, and only here."""

    adminPassword: str


class PrivateConnection(TypedDict):
    """Never answered: endpoints are inside the customer's own network."""

    privateConnectionID: ID


class Usage(TypedDict):
    """One figure. The small d of two names is the real service's."""

    startTime: Stamp
    endTime: Stamp
    ownerId: ID
    resourceId: ID
    resourceName: str
    resourceType: str
    value: str


class BillingUsage(TypedDict):
    """Figures of one metric, twice: clients of different ages read different names."""

    metric: MetricName
    description: str
    usage: list[Usage]
    Usage: list[Usage]


class Billing(TypedDict):
    """``GET /v1/billing/usage``."""

    billingUsage: list[BillingUsage]


class _CellAlways(TypedDict):
    cellID: ID
    name: str
    provider: str
    region: str
    regionName: str
    state: Literal["pending", "enrolled", "contested", "retired"]
    connected: bool
    createdAt: Stamp


class Cell(_CellAlways, total=False):
    """A cell as its owner sees it."""

    lastSeenAt: Stamp
    copiesLateSince: Stamp
    facts: CellFacts


class CellID(TypedDict):
    """What retiring a cell answers."""

    cellID: ID


class CellKeys(TypedDict):
    """What replacing a cell's keys answers: the thumbprint of its new signing key."""

    cellID: ID
    thumbprint: str


class Session(TypedDict):
    """One tunnel session of a cell."""

    sessionID: str
    cellID: ID
    gateway: str
    epoch: int
    openedAt: Stamp


class WorkspaceMetrics(TypedDict):
    """Metrics of a workspace, by node and name; no nodes while it does not run."""

    workspaceID: ID
    at: Stamp
    nodes: dict[str, dict[str, float]]


class _CellEventAlways(TypedDict):
    number: int
    at: Stamp
    kind: str
    text: str


class CellEvent(_CellEventAlways, total=False):
    """Something about a cell that its owner should know."""

    by: str


class OpenedService(TypedDict):
    """A forward that is open: its name, when the cell ends it, and the certificate that the cell shows."""

    forwardID: ID
    until: Stamp
    certificate: str


class _DeedAlways(TypedDict):
    number: int
    at: Stamp
    by: str
    keyID: ID
    action: str
    status: int
    requestID: str


class Deed(_DeedAlways, total=False):
    """One call that changed something, or tried to: who, what, to what, and how it ended."""

    objectID: str
    code: str


class EnrolmentGrant(TypedDict):
    """What a cell needs to enrol: handed to it by its owner, never sent to it by us."""

    token: str
    rootKey: dict[str, str]


class _EventAlways(TypedDict):
    number: int
    workspaceID: ID
    at: Stamp
    kind: str
    generation: int
    reason: str
    text: str
    state: StateName


class Event(_EventAlways, total=False):
    """One line of a workspace's story."""

    progress: int
    by: str


class _DetailAlways(TypedDict):
    workspaceID: ID
    workspaceGroupID: ID
    name: str
    state: StateName
    size: str
    scaleFactor: int
    cacheConfig: int
    generation: int
    acknowledged: int
    cellID: ID
    cellName: str
    cellConnected: bool
    createdAt: Stamp


class WorkspaceDetail(_DetailAlways, total=False):
    """A workspace with what the vendor's shape has no room for: phase, reason, generations."""

    observedGeneration: int
    phase: str
    reason: str
    reasonText: str
    since: Stamp
    progress: int
    endpoint: str
    autoSuspendedAt: Stamp
    lastResumedAt: Stamp
    terminatedAt: Stamp
    passwordVersion: int
    databasesAttached: int
    databasesMissing: int
    cellLastSeenAt: Stamp


class Who(TypedDict):
    """The caller."""

    userID: ID
    email: str
    organizationID: ID
    organization: str
    keyID: ID


class AdminPassword(TypedDict):
    """A generated password, shown once."""

    adminPassword: str


class Problem(TypedDict, total=False):
    """An error under ``/byoc/v1`` (problem+json)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    hint: str
    requestID: str
