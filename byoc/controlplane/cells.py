"""The Control Plane's routes for cells: enrolment, logins, reports, keys. A plain ASGI app.

Served over streams of the tunnel alone, never on a port. ``scope["state"]`` says which service
the gateway opened and which gateway it is: ``enrol`` for peers without a name, ``login`` for the
gateway's own questions, ``cell:<id>`` for a cell that has logged in. The invariants: a service
reaches its own routes only; what is said is believed for its signature, never for the way it came.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from byoc import log
from byoc.clock import Clock
from byoc.controlplane.fleet import membership
from byoc.controlplane.fleet.believing import believed, used
from byoc.controlplane.fleet.courier import Counters
from byoc.controlplane.fleet.ingest import Ingest, read_json
from byoc.controlplane.keys import ControlPlaneKeys
from byoc.errors import BadToken, ByocError, Forbidden, NotAuthenticated, NotFound, UsageError
from byoc.ids import CellID
from byoc.nimbus.http import Receive, Scope, Send
from byoc.store.seam import Store
from byoc.store.transaction import Transaction
from byoc.wire import tokens
from byoc.wire.cell import Enrolled, Enrolment, LoggedIn, Login, decode, encode
from byoc.wire.jws import Fault, Kind, claimed_key
from byoc.wire.keys import PublicKey, check_sealing_jwk, decode_bytes

_LOG: Final = log.get(__name__)
_JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class _Asked:
    service: str
    gateway: str
    body: bytes


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes
    content_type: str = _JSON


class CellsApp:
    """The application.

    Args:
        ingest: takes in reports.
    """

    def __init__(
        self, store: Store, keys: ControlPlaneKeys, ingest: Ingest, clock: Clock, counters: Counters
    ) -> None:
        self._store = store
        self._keys = keys
        self._ingest = ingest
        self._clock = clock
        self._counters = counters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        state: Mapping[str, Any] = scope.get("state", {})
        try:
            body = await _read(receive)
            asked = _Asked(str(state.get("service", "")), str(state.get("gateway", "")), body)
            answer = await self._route(scope["method"], scope["path"], asked.service)(asked)
        except ByocError as error:
            answer = _refuse(error, str(state.get("service", "")))
        headers = [(b"content-type", answer.content_type.encode())]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    def _route(self, method: str, path: str, service: str) -> Callable[[_Asked], Awaitable[_Answer]]:
        kind = "cell" if service.startswith("cell:") else service
        match kind, method, path:
            case "enrol", "POST", "/cell/v1/enrol":
                return self._enrol
            case "login", "POST", "/cell/v1/login":
                return self._log_in
            case "login", "POST", "/cell/v1/logout":
                return self._log_out
            case "cell", "POST", "/cell/v1/report":
                return self._report
            case "cell", "GET", "/cell/v1/keys":
                return self._key_set
            case _:
                raise NotFound("no such route for this service")

    # --- joining -------------------------------------------------------------------------

    async def _enrol(self, asked: _Asked) -> _Answer:
        wish = decode(Enrolment, read_json(asked.body))
        signing, now = PublicKey.from_jwk(wish.signing_key), self._clock.now()
        sealing = check_sealing_jwk(wish.sealing_key)
        tokens.check_sealing_certificate(wish.certificate, signing, sealing)
        try:
            claims = tokens.check_enrolment(wish.token, self._keys.trusted, thumbprint=signing.kid, now=now)
        except BadToken as error:
            if error.reason == Fault.WRONG_KEY:
                await self._contest(wish.token, signing.kid)
            raise
        pair = signing.jwk(), sealing
        record = await self._store.write(lambda tx: membership.enrol(tx, claims, pair, now))
        answer = Enrolled(
            record.id, record.organization_id, self._keys.root.jwk(), self._keys.key_set(now).text
        )
        return _reply(encode(answer))

    async def _contest(self, token: str, thumbprint: str) -> None:
        """Raise the alarm: the token is good, and somebody has it who does not have its key."""
        claims = tokens.verify(Kind.ENROLMENT, token, self._keys.trusted)
        bound, now = str(claims.get("jkt", "")), self._clock.now()
        known = tokens.check_enrolment(token, self._keys.trusted, thumbprint=bound, now=now)
        self._counters.contested += 1
        _LOG.error("alarm: an enrolment token was presented with another key", cell=known.cell)
        await self._store.write(lambda tx: membership.contest(tx, known, thumbprint, now))

    # --- logins, asked by the gateway ----------------------------------------------------

    async def _log_in(self, asked: _Asked) -> _Answer:
        wish = decode(Login, read_json(asked.body))
        try:
            cell = await self._check(wish, asked.gateway)
            now = self._clock.now()
            kid = claimed_key(Kind.CELL_LOGIN, wish.token)

            def log_in(tx: Transaction) -> int:
                used(tx, cell, kid, now)
                return membership.log_in(tx, cell, wish.gateway, wish.session, now)

            epoch = await self._store.write(log_in)
        except (NotAuthenticated, Forbidden):
            self._counters.refused_logins += 1
            raise
        self._counters.logins += 1
        return _reply(encode(LoggedIn(cell, epoch)))

    async def _check(self, wish: Login, gateway: str) -> CellID:
        """Return the cell that has answered the challenge; its own key alone is asked."""
        if wish.gateway != gateway:
            raise NotAuthenticated("a login at another gateway")
        claimed = tokens.claimed_cell(wish.token)
        held = await self._store.read(lambda tx: tx.cells.get(claimed))
        if held is None or held.record.signing_key is None:
            raise NotAuthenticated("unknown cell")
        challenge, now = decode_bytes(wish.challenge), self._clock.now()
        keys = believed(held.record, now)
        said = tokens.check_login(wish.token, keys, challenge=challenge, audience=gateway, now=now)
        if said != held.record.id:
            raise NotAuthenticated("a login as another cell")
        return held.record.id

    async def _log_out(self, asked: _Asked) -> _Answer:
        wish, now = read_json(asked.body), self._clock.now()
        session = wish.get("session") if isinstance(wish, dict) else None
        if not isinstance(session, str):
            raise UsageError("session is missing")
        await self._store.write(lambda tx: membership.log_out(tx, session, now))
        return _reply({})

    # --- cells that have logged in -------------------------------------------------------

    async def _report(self, asked: _Asked) -> _Answer:
        cell = CellID(asked.service.removeprefix("cell:"))
        token = asked.body.decode("ascii", "replace").strip()
        answer: dict[str, Any] = encode(await self._ingest.take(cell, token))
        if not answer["behind"]:
            # A cell of before this field was there refuses what it does not know.
            del answer["behind"]
        return _reply(answer)

    async def _key_set(self, asked: _Asked) -> _Answer:
        del asked
        text = self._keys.key_set(self._clock.now()).text
        return _Answer(HTTPStatus.OK, text.encode() + b"\n", "application/jose")


async def _read(receive: Receive) -> bytes:
    parts = bytearray()
    while True:
        event = await receive()
        if event["type"] != "http.request":
            raise UsageError("the other end went away")
        parts += event.get("body", b"")
        if not event.get("more_body", False):
            return bytes(parts)


def _reply(value: Any) -> _Answer:
    return _Answer(HTTPStatus.OK, json.dumps(value, separators=(",", ":")).encode())


def _refuse(error: ByocError, service: str) -> _Answer:
    if service == "login":
        # The gateway hands the text on to the cell as the reason.
        return _Answer(error.http_status, error.message.encode(), "text/plain; charset=utf-8")
    body = {"code": error.code, "detail": error.message}
    return _Answer(error.http_status, json.dumps(body).encode())
