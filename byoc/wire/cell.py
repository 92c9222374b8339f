"""The private Cell API: specs down, reports up, as JSON.

Names are camelCase and end in ``ID``; unknown fields are refused, missing ones take the
defaults of the model. The one home of cattrs.

Routes of the cell (reached only through the tunnel, each request signed):

=======  =================================  ===========================================
GET      /cell/v1/status                    facts, head of the ledger (verb cell.read)
PUT      /cell/v1/groups/{id}               body :class:`Delivery`
PUT      /cell/v1/workspaces/{id}           body :class:`Delivery`
PUT      /cell/v1/resync                    body :class:`Resync` (verb cell.resync)
GET      /cell/v1/workspaces/{id}/logs      the engine's own log (verb logs.read)
GET      /cell/v1/workspaces/{id}/metrics   :class:`Reading` (verb metrics.read)
GET      /cell/v1/groups/{id}/metrics       the same of all its workspaces
POST     /cell/v1/keys/prepare              -> :class:`NextKeys` (verb cell.rekey)
POST     /cell/v1/keys/take-over            :class:`KeysWish` -> the same (verb cell.rekey)
POST     /cell/v1/services/{name}/open      :class:`ServiceWish` -> :class:`ServiceOpened` (verb service.open)
=======  =================================  ===========================================

Routes of the Control Plane for cells (service ``controlplane`` of the tunnel):

=======  =================================  ===========================================
POST     /cell/v1/enrol                     body :class:`Enrolment` -> :class:`Enrolled`
POST     /cell/v1/login                     body :class:`Login`, asked by the gateway
POST     /cell/v1/report                    a signed report -> :class:`ReportAnswer`
GET      /cell/v1/keys                      the signed key set
=======  =================================  ===========================================

A request to a cell carries its token in ``Authorization: Bearer``; the cell's answer carries
the signature of ``tokens.sign_answer`` in :data:`ANSWER_HEADER`. The body of a report is the
JWS itself.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import datetime
from typing import Any, Final, TypeVar, get_type_hints

from cattrs import ClassValidationError, Converter, transform_error
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from cattrs.preconf.json import configure_converter

from byoc.clock import parse_stamp, stamp
from byoc.errors import UsageError
from byoc.ids import CellID, WorkspaceID
from byoc.model.metrics import Sample
from byoc.model.spec import GroupSpec, WorkspaceSpec
from byoc.wire.canonical import digest

T = TypeVar("T")

WAITING_FOR_APPROVAL: Final = "waiting-for-approval"
"""Rule of a :class:`Refusal` with status 202: not refused, waiting for somebody in the cell."""
APPROVAL_EXPIRED: Final = "approval-expired"
"""Rule of a refusal: nobody in the cell answered in time."""
ANSWER_HEADER: Final = "byoc-answer"
"""Header with the cell's signature under its answer; an answer without it is no answer."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One spec on its way down.

    Attributes:
        group, workspace: exactly one of the two.
        sealed_password: JWE with the group's admin password, where this delivery brings one.
    """

    group: GroupSpec | None = None
    workspace: WorkspaceSpec | None = None
    sealed_password: str | None = None


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The cell's yes: it has stored this generation, fsynced."""

    generation: int
    digest: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """The cell's no, signed like every answer.

    Attributes:
        generation: the refused generation, or the one the cell holds when ``rule`` is ``base-moved``.
        rule: which rule said no; ``base-moved`` asks the sender to sign anew.
        digest: of the spec the cell holds; empty where it holds none.
    """

    generation: int
    rule: str
    reason: str
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Resync:
    """Everything the Control Plane knows of a cell that lost its state."""

    groups: tuple[GroupSpec, ...] = ()
    workspaces: tuple[WorkspaceSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A cell's request to be enrolled.

    Attributes:
        signing_key, sealing_key: public JWKs; the sealing key is certified by ``certificate``.
        certificate: JWS by the signing key over the sealing key.
    """

    token: str
    signing_key: dict[str, str]
    sealing_key: dict[str, str]
    certificate: str


@dataclass(frozen=True, slots=True)
class Enrolled:
    """The answer: who the cell is, and the keys it pins."""

    cell_id: CellID
    organization_id: str
    root_key: dict[str, str]
    key_set: str


@dataclass(frozen=True, slots=True)
class Login:
    """What the gateway asks the Control Plane to check: a cell's answer to a challenge."""

    gateway: str
    challenge: str
    token: str
    session: str


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """The gateway may keep this tunnel. ``epoch`` orders sessions of one cell."""

    cell_id: CellID
    epoch: int


@dataclass(frozen=True, slots=True)
class ReportAnswer:
    """What a report is answered with.

    Attributes:
        receipt: JWS over the name of the report and the ledger head that came with it.
        full_wanted: the Control Plane cannot place this report and asks for a full one.
        key_set_version: newest version; a cell that holds a lower one asks for the set.
        behind: JWS that says this report is older than what was taken before: the cell was restored
            from a copy, and begins a new incarnation. Nothing of the report was taken.
    """

    receipt: str = ""
    full_wanted: bool = False
    key_set_version: int = 0
    behind: str = ""


@dataclass(frozen=True, slots=True)
class CellStatus:
    """Answer of ``GET /cell/v1/status``."""

    incarnation: str
    workspaces: int = 0
    groups: int = 0
    details: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of one workspace; no samples while it does not run."""

    workspace_id: WorkspaceID
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """Metrics as they were read in the cell, at one moment; never stored."""

    at: datetime
    workspaces: tuple[Measured, ...] = ()


@dataclass(frozen=True, slots=True)
class NextKeys:
    """The public keys that a cell will use next, as :class:`Enrolment` has those it begins with."""

    signing_key: dict[str, str]
    sealing_key: dict[str, str]
    certificate: str


@dataclass(frozen=True, slots=True)
class KeysWish:
    """Which keys a cell is to take into use, and then: which it uses."""

    thumbprint: str


@dataclass(frozen=True, slots=True)
class ServiceWish:
    """What is asked for with ``service.open``.

    Attributes:
        certificate: PEM that the operator's end of each connection shows; made for this forward alone.
        life_seconds: how long it is wanted; None for as long as the policy lets it last.
    """

    certificate: str
    life_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class ServiceOpened:
    """A forward that is open.

    Attributes:
        forward: its name; no secret, for it is of no use without the key of the wish's certificate.
        until: when the cell ends it.
        certificate: PEM that the cell's end of each connection shows.
    """

    forward: str
    until: datetime
    certificate: str


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part.upper() if part == "id" else part.title() for part in tail)


def _named(cls: type, make: Callable[..., Any], converter: Converter, **options: Any) -> Any:
    get_type_hints(cls)
    names = {f.name: override(rename=_camel(f.name), omit_if_default=False) for f in fields(cls)}
    return make(cls, converter, **options, **names)


def _build() -> Converter:
    converter = Converter(forbid_extra_keys=True, detailed_validation=True)
    configure_converter(converter)
    converter.register_unstructure_hook(datetime, stamp)
    converter.register_structure_hook(datetime, lambda text, _: parse_stamp(text))
    converter.register_unstructure_hook_factory(
        is_dataclass, lambda cls: _named(cls, make_dict_unstructure_fn, converter)
    )
    converter.register_structure_hook_factory(
        is_dataclass,
        lambda cls: _named(cls, make_dict_structure_fn, converter, _cattrs_forbid_extra_keys=True),
    )
    return converter


_CONVERTER: Final = _build()


def encode(value: object) -> Any:
    """Return the JSON form of a dataclass of this module or of ``byoc.model``."""
    return _CONVERTER.unstructure(value)


def decode(kind: type[T], value: object) -> T:
    """Read JSON into a dataclass, strictly.

    Raises:
        UsageError: a field is unknown, missing or of the wrong type; the message names it.
    """
    try:
        return _CONVERTER.structure(value, kind)
    except ClassValidationError as error:
        message = "; ".join(transform_error(error))[:500]
        raise UsageError(message) from error
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        message = f"not a {kind.__name__}"
        raise UsageError(message) from error


def spec_digest(spec: GroupSpec | WorkspaceSpec) -> str:
    """Return the digest that both planes compare specs by."""
    return digest(encode(spec))
