"""The Cell API: the only way in, and only through the tunnel. A plain ASGI callable.

Served by the agent for the service ``cell``; the routes are in ``byoc.wire.cell``. The
invariants: the guard comes before everything; what is acknowledged is on disk; every answer
to an admitted request is signed; and whatever goes wrong inside, nothing but a code gets out.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, TypeVar

from byoc import faults, log
from byoc.clock import Clock
from byoc.dataplane.accept import check_same_group, read_delivery, read_resync
from byoc.dataplane.guard import Admission, Decision, Guard, Refused
from byoc.dataplane.keys import CellKeys
from byoc.dataplane.passwords import Password
from byoc.dataplane.reconcile import Reconciler
from byoc.dataplane.runtime import Runtime
from byoc.dataplane.services import Opener, Services
from byoc.dataplane.state import CellState
from byoc.errors import ByocError, CannotUnseal, NotFound, Unreachable, Unwritable, UsageError
from byoc.ids import CellID, GroupID, WorkspaceID
from byoc.model.spec import Desired, GroupSpec, Spec
from byoc.model.verbs import Verb
from byoc.nimbus.http import Receive, Scope, Send
from byoc.wire.cell import (
    ANSWER_HEADER,
    Acknowledged,
    CellStatus,
    KeysWish,
    Measured,
    NextKeys,
    Reading,
    Refusal,
    ServiceWish,
    decode,
    encode,
    spec_digest,
)

T = TypeVar("T")

BAD_REQUEST: Final = "bad-request"
"""Rule of a refusal: the cell does not understand the spec, for one because it is older."""
_LOG: Final = log.get(__name__)
_JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Door:
    """Who answers: the cell's name and keys, and its guard."""

    cell: CellID
    keys: CellKeys
    guard: Guard


@dataclass(frozen=True, slots=True)
class _Asked:
    method: str
    target: str
    authorization: str | None
    body: bytes

    @property
    def parts(self) -> list[str]:
        """The path below ``/cell/v1``; empty for any other path."""
        path, _, query = self.target.partition("?")
        pieces = path.split("/")
        return pieces[3:] if pieces[:3] == ["", "cell", "v1"] and not query else []


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes
    outcome: str
    rule: str = ""
    content_type: str = _JSON


class CellApp:
    """The application.

    Args:
        door: what every request passes first.
        state: what deliveries are written to.
        reconciler: woken by every change.
        services: what may be forwarded.
    """

    def __init__(
        self,
        door: Door,
        state: CellState,
        reconciler: Reconciler,
        runtime: Runtime,
        services: Services,
        clock: Clock,
    ) -> None:
        self._door = door
        self._state = state
        self._reconciler = reconciler
        self._runtime = runtime
        self._services = services
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        asked = await _read(scope, receive)
        try:
            admission = await self._door.guard.admit(
                asked.authorization, asked.method, asked.target, asked.body
            )
        except Refused as refused:
            await self._send(send, _refuse(refused), refused.jti)
            return
        try:
            answer = await self._answer(asked, admission)
        except asyncio.CancelledError:
            # The agent stops. Only what reads can be cut off in its middle, so nothing was changed.
            self._door.guard.finish(admission, HTTPStatus.SERVICE_UNAVAILABLE, "cancelled")
            raise
        self._door.guard.finish(admission, answer.status, answer.outcome, rule=answer.rule)
        await self._send(send, answer, admission.jti)
        faults.reach(faults.Step.ANSWER_SENT)

    async def _answer(self, asked: _Asked, admission: Admission) -> _Answer:
        try:
            return await self._route(asked)(admission, asked)
        except Refused as refused:
            return _refuse(refused)
        except UsageError as error:
            newest = max((change.generation for change in admission.claims.changes), default=0)
            return _refuse(Refused(BAD_REQUEST, error.message, generation=newest))
        except (NotFound, Unreachable) as error:
            away = isinstance(error, Unreachable)
            return _fail(HTTPStatus.BAD_GATEWAY if away else HTTPStatus.NOT_FOUND, error)
        except Unwritable as error:
            _LOG.error("change not stored", error=error.message)
            return _fail(HTTPStatus.SERVICE_UNAVAILABLE, Unwritable("the cell cannot store anything now"))
        except Exception as error:  # noqa: BLE001 - no words of the inside get out
            _LOG.error("request failed", target=asked.target, error=repr(error), exc_info=True)
            return _fail(HTTPStatus.INTERNAL_SERVER_ERROR, None)

    def _route(self, asked: _Asked) -> Callable[[Admission, _Asked], Awaitable[_Answer]]:  # noqa: PLR0911 - a table
        match asked.method, asked.parts:
            case "GET", ["status"]:
                return self._status
            case "PUT", ["groups" | "workspaces", _]:
                return self._deliver
            case "PUT", ["resync"]:
                return self._resync
            case "GET", ["workspaces", _, "logs"]:
                return self._logs
            case "GET", ["groups" | "workspaces", _, "metrics"]:
                return self._metrics
            case "POST", ["services", _, "open"]:
                return self._open_service
            case "POST", ["keys", "prepare" | "take-over" as what]:
                return self._prepare_keys if what == "prepare" else self._take_over_keys
            case _:
                raise NotFound("the cell has no such route")

    # --- the routes ----------------------------------------------------------------------

    async def _status(self, admission: Admission, _asked: _Asked) -> _Answer:
        self._door.guard.authorize(admission, Verb.CELL_READ)
        return _reply(self._describe(), "answered")

    def _describe(self) -> CellStatus:
        head, facts = self._state.ledger.head(), self._runtime.facts()
        details = {"engine": facts.engine, "engineVersion": facts.engine_version}
        if head is not None:
            details |= {"ledgerChain": head.chain, "ledgerSeq": str(head.seq), "ledgerHash": head.hash}
        desired = self._state.desired
        return CellStatus(self._state.life.incarnation, len(desired.workspaces), len(desired.groups), details)

    async def _deliver(self, admission: Admission, asked: _Asked) -> _Answer:
        new, sealed = read_delivery(asked.body)
        desired = self._state.desired
        held = desired.spec(new.id)
        check_same_group(held, new)
        decision = self._door.guard.check_delivery(
            admission,
            held=held,
            effective=desired.effective_before(new),
            new=new,
            terminated=desired.buried(new.id),
        )
        if isinstance(new, GroupSpec) and sealed is not None and _brings_password(held, new):
            self._keep_password(new, sealed)
        if decision is Decision.APPLY:
            self._store(new)
            faults.reach(faults.Step.SPEC_STORED)
        self._wake(new)
        outcome = "applied" if decision is Decision.APPLY else "known"
        return _reply(Acknowledged(new.generation, spec_digest(new)), outcome)

    def _keep_password(self, group: GroupSpec, sealed: str) -> None:
        version = group.password_version
        if version <= self._state.passwords.version(group.id) or group.desired is Desired.TERMINATED:
            return
        try:
            password = self._door.keys.unseal(sealed, cell=self._door.cell, group=group.id, version=version)
        except CannotUnseal as error:
            # No reason to refuse the change: the group then says that it needs a password.
            _LOG.warning("sealed password not opened", group=group.id, error=error.message)
            return
        self._state.passwords.put(group.id, Password(version, password))
        faults.reach(faults.Step.PASSWORD_STORED)

    def _store(self, new: Spec, *, adopted: bool = False) -> None:
        desired = self._state.desired
        if isinstance(new, GroupSpec):
            desired.put_group(new, adopted=adopted)
            return
        desired.put_workspace(new, adopted=adopted)
        held = desired.workspaces.get(new.id)
        if held is not None:
            # At once: a report must never leave out what was acknowledged.
            self._state.views.begin(held, self._clock.now())

    def _wake(self, new: Spec) -> None:
        if isinstance(new, GroupSpec):
            self._reconciler.wake_group(new.id)
        else:
            self._reconciler.wake(new.id)
        self._state.views.touch()

    async def _resync(self, admission: Admission, asked: _Asked) -> _Answer:
        self._door.guard.authorize(admission, Verb.CELL_RESYNC, state_empty=self._state.desired.empty)
        specs = read_resync(asked.body)
        for spec in specs:
            # What the cell holds is newer, and an end is asked for by its own verb.
            if self._state.desired.spec(spec.id) is None and spec.desired is not Desired.TERMINATED:
                self._store(spec, adopted=True)
        for spec in specs:
            self._wake(spec)
        return _reply(self._describe(), "applied")

    async def _logs(self, admission: Admission, asked: _Asked) -> _Answer:
        self._door.guard.authorize(admission, Verb.LOGS_READ)
        name = WorkspaceID(asked.parts[1])
        if name not in self._state.desired.workspaces:
            raise NotFound("the cell has no such workspace")
        text = await self._runtime.logs(name)
        return _Answer(HTTPStatus.OK, text.encode(), "answered", content_type="text/plain; charset=utf-8")

    async def _metrics(self, admission: Admission, asked: _Asked) -> _Answer:
        self._door.guard.authorize(admission, Verb.METRICS_READ)
        kind, name, _ = asked.parts
        desired = self._state.desired
        if kind == "groups":
            known, wanted = GroupID(name) in desired.groups, desired.members(GroupID(name))
        else:
            known, wanted = WorkspaceID(name) in desired.workspaces, (WorkspaceID(name),)
        if not known:
            raise NotFound(f"the cell has no such {kind.removesuffix('s')}")
        found = await asyncio.gather(*(self._runtime.metrics(each) for each in wanted))
        measured = tuple(Measured(each, samples) for each, samples in zip(wanted, found, strict=True))
        return _reply(Reading(self._clock.now(), measured), "answered")

    async def _open_service(self, admission: Admission, asked: _Asked) -> _Answer:
        self._door.guard.authorize(admission, Verb.SERVICE_OPEN)
        wish = _decoded(ServiceWish, asked.body)
        opener = Opener(admission.claims.sub, admission.seq)
        return _reply(await self._services.begin(asked.parts[1], wish, opener), "applied")

    async def _prepare_keys(self, admission: Admission, _asked: _Asked) -> _Answer:
        self._door.guard.authorize(admission, Verb.CELL_REKEY)
        pairs = self._door.keys.prepare()
        faults.reach(faults.Step.KEYS_PREPARED)
        self._state.ledger.record("keys", which="cell, prepared", next=pairs.signing.kid)
        shown = NextKeys(pairs.signing.public.jwk(), pairs.sealing.public_jwk(), pairs.certificate)
        return _reply(shown, "applied")

    async def _take_over_keys(self, admission: Admission, asked: _Asked) -> _Answer:
        self._door.guard.authorize(admission, Verb.CELL_REKEY)
        wish, keys = _decoded(KeysWish, asked.body), self._door.keys
        before = keys.thumbprint
        keys.take_over(wish.thumbprint, self._clock.now())
        faults.reach(faults.Step.KEYS_TAKEN_OVER)
        if before != wish.thumbprint:
            self._state.ledger.record("keys", which="cell", before=before, now=wish.thumbprint)
        return _reply(KeysWish(keys.thumbprint), "applied")

    # --- sending -------------------------------------------------------------------------

    async def _send(self, send: Send, answer: _Answer, jti: str) -> None:
        headers = [(b"content-type", answer.content_type.encode())]
        if jti:
            signed = self._door.keys.sign_answer(jti=jti, status=answer.status, body=answer.body)
            headers.append((ANSWER_HEADER.encode(), signed.encode()))
        await send({"type": "http.response.start", "status": int(answer.status), "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})


async def _read(scope: Scope, receive: Receive) -> _Asked:
    target = scope["raw_path"]
    if scope["query_string"]:
        target += b"?" + scope["query_string"]
    authorization = next((value for name, value in scope["headers"] if name == b"authorization"), None)
    parts = []
    while True:
        event = await receive()
        if event["type"] != "http.request":
            raise asyncio.CancelledError
        parts.append(event.get("body", b""))
        if not event.get("more_body", False):
            break
    return _Asked(
        scope["method"],
        target.decode("latin-1"),
        authorization.decode("latin-1") if authorization is not None else None,
        b"".join(parts),
    )


def _brings_password(held: Spec | None, new: GroupSpec) -> bool:
    """Whether the change that was signed is one of password: a blob beside any other is left alone."""
    return not isinstance(held, GroupSpec) or held.password_version < new.password_version


def _decoded(kind: type[T], body: bytes) -> T:
    try:
        return decode(kind, json.loads(body))
    except (ValueError, RecursionError) as error:
        raise UsageError("the body is not JSON") from error


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _reply(value: object, outcome: str) -> _Answer:
    return _Answer(HTTPStatus.OK, _dump(encode(value)), outcome)


def _refuse(refused: Refused) -> _Answer:
    refusal: Refusal = refused.refusal()
    outcome = "waiting" if refused.status == HTTPStatus.ACCEPTED else "refused"
    return _Answer(refused.status, _dump(encode(refusal)), outcome, rule=refused.rule)


def _fail(status: HTTPStatus, error: ByocError | None) -> _Answer:
    code = error.code if error is not None else "failed"
    message = error.message if error is not None else "the cell failed; its log says why"
    return _Answer(status, _dump({"code": code, "message": message}), "failed", rule=code)
