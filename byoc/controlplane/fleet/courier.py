"""Signed requests to cells: signs, sends, and believes nothing that the cell has not signed.

Used by the dispatcher and by reads such as logs. ``Link`` is the way through the tunnel;
``byoc.controlplane.gateways`` is the real one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from byoc import faults, log
from byoc.clock import Clock
from byoc.controlplane.fleet.believing import believed
from byoc.controlplane.keys import ISSUER, ControlPlaneKeys
from byoc.errors import BadToken, CellAway, Unreachable, UsageError
from byoc.ids import CellID, NewID
from byoc.model.records import CellRecord
from byoc.model.verbs import Verb
from byoc.nimbus.http import HttpRequest, HttpResponse
from byoc.nimbus.stream import Stream
from byoc.store.seam import Store
from byoc.wire import tokens
from byoc.wire.canonical import canonical
from byoc.wire.cell import ANSWER_HEADER, encode
from byoc.wire.keys import Signer

TIMEOUT: Final = 20.0
_LOG: Final = log.get(__name__)


class Link(Protocol):
    """The way to cells."""

    async def request(self, cell_id: CellID, asked: HttpRequest, timeout: float) -> HttpResponse:  # noqa: ASYNC109 - on the tunnel's clock
        """Make one request of a cell.

        Raises:
            CellAway: it is not connected.
            Unreachable: nothing is known of what it did.
        """
        ...

    async def open(self, cell_id: CellID, service: str) -> Stream:
        """Open a stream to a forwarded service of a cell: ``service`` is ``<forward>/<what>``.

        Raises:
            CellAway: it is not connected.
            Unreachable: it did not accept.
        """
        ...

    async def close(self, cell_id: CellID) -> None:
        """End the cell's tunnels, wherever they are."""
        ...


class NoLink:
    """For a process without gateways: every cell is away."""

    async def request(self, cell_id: CellID, asked: HttpRequest, timeout: float) -> HttpResponse:  # noqa: ASYNC109 - the seam's
        """Say so."""
        del cell_id, asked, timeout
        raise CellAway("no gateway is configured")

    async def open(self, cell_id: CellID, service: str) -> Stream:
        """Say so."""
        del cell_id, service
        raise CellAway("no gateway is configured")

    async def close(self, cell_id: CellID) -> None:
        """There is nothing to close."""
        del cell_id


@dataclass(slots=True)
class Counters:
    """Counted since the process began."""

    delivered: int = 0
    refused: int = 0
    signed_anew: int = 0
    unanswered: int = 0
    forged_answers: int = 0
    """Answers without the cell's signature, or with another's."""
    reports: int = 0
    old_reports: int = 0
    forged_reports: int = 0
    behind: int = 0
    """Reports older than what was known: repeated by somebody, or of a cell restored from a copy."""
    resyncs: int = 0
    adopted: int = 0
    logins: int = 0
    refused_logins: int = 0
    contested: int = 0


@dataclass(frozen=True, slots=True)
class Parcel:
    """One request to be signed.

    Attributes:
        body: a dataclass of ``byoc.wire.cell``; None for none.
        base: see ``byoc.wire.tokens.RequestClaims``; None where no spec is delivered.
    """

    method: str
    target: str
    sub: str
    body: object = None
    verbs: Sequence[Verb] = ()
    base: int | None = None
    changes: Sequence[tokens.Change] = field(default=())

    def content(self) -> bytes:
        """Return the body as it is signed and sent."""
        return b"" if self.body is None else canonical(encode(self.body))


class Courier:
    """Signs and sends.

    Args:
        store: asked for a cell anew where an answer bears a key that is not known yet.
    """

    def __init__(
        self,
        link: Link,
        store: Store,
        keys: ControlPlaneKeys,
        clock: Clock,
        new_id: NewID,
        counters: Counters,
    ) -> None:
        self.link = link
        self._store = store
        self._keys = keys
        self._clock = clock
        self._new_id = new_id
        self._counters = counters

    async def send(self, cell: CellRecord, parcel: Parcel) -> HttpResponse:
        """Send ``parcel`` and return the cell's own answer, whatever its status.

        Raises:
            CellAway: the cell is not connected.
            Unreachable: no answer, or none that the cell has signed.
        """
        if cell.signing_key is None:
            raise CellAway(f"cell `{cell.name}` is not enrolled")
        body, jti = parcel.content(), self._new_id()
        token = await self._keys.sign(lambda key: self._token(key, cell, parcel, body, jti))
        headers = (("authorization", f"Bearer {token}"), ("content-type", "application/json"))
        faults.reach(faults.Step.DELIVERY_SIGNED)
        answer = await self.link.request(
            cell.id, HttpRequest(parcel.method, parcel.target, headers, body), TIMEOUT
        )
        faults.reach(faults.Step.ANSWER_RECEIVED)
        await self._believe(cell, answer, jti)
        return answer

    def _token(self, key: Signer, cell: CellRecord, parcel: Parcel, body: bytes, jti: str) -> str:
        return tokens.issue_request(
            key,
            issuer=ISSUER,
            cell=cell.id,
            sub=parcel.sub,
            method=parcel.method,
            target=parcel.target,
            body=body,
            now=self._clock.now(),
            jti=jti,
            verbs=parcel.verbs,
            base=parcel.base,
            changes=parcel.changes,
        )

    async def _believe(self, cell: CellRecord, answer: HttpResponse, jti: str) -> None:
        try:
            try:
                self._check(cell, answer, jti)
            except (BadToken, UsageError):
                # Its keys may have been replaced while it was asked.
                self._check(await self._anew(cell), answer, jti)
        except (BadToken, UsageError) as error:
            self._counters.forged_answers += 1
            _LOG.warning("answer not signed by the cell", status=answer.status, problem=error.message)
            raise Unreachable("an answer came that the cell has not signed; it counts as none") from error

    def _check(self, cell: CellRecord, answer: HttpResponse, jti: str) -> None:
        signed, keys = answer.headers.get(ANSWER_HEADER, ""), believed(cell, self._clock.now())
        tokens.check_answer(signed, keys, jti=jti, status=answer.status, body=answer.body)

    async def _anew(self, cell: CellRecord) -> CellRecord:
        held = await self._store.read(lambda tx: tx.cells.get(cell.id))
        return cell if held is None else held.record
