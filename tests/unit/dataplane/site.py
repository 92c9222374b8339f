"""A cell with its API and its real guard, and a Control Plane that signs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from byoc.dataplane.app import CellApp, Door
from byoc.dataplane.control import Control
from byoc.dataplane.desk import FolderDesk
from byoc.dataplane.files import FileStorage
from byoc.dataplane.guard import Guard
from byoc.dataplane.keys import CellKeys, PinnedKeys
from byoc.dataplane.outward import Outward, Way
from byoc.dataplane.policy import PolicyFile
from byoc.dataplane.rates import Rates
from byoc.dataplane.replay import InLedger, Replays
from byoc.dataplane.services import Services
from byoc.ids import CellID, new_id
from byoc.model.report import Phase
from byoc.model.spec import AutoSuspend, Desired, GroupSpec, Spec, SuspendType, WorkspaceSpec
from byoc.model.verbs import Verb
from byoc.testing.cell import GROUP, ORDERS, MemoryCell, following
from byoc.testing.provider import MemoryProvider
from byoc.wire.cell import Resync, encode
from byoc.wire.sealing import seal

CELL = CellID("99999999-9999-4999-8999-999999999999")
SCHEDULED = AutoSuspend(SuspendType.SCHEDULED, 600)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.body)
        return value


@dataclass
class Site:
    """A cell with its API, and a Control Plane that signs."""

    cell: MemoryCell
    app: CellApp
    keys: CellKeys
    provider: MemoryProvider
    services: Services

    async def call(
        self, token: str | None, method: str, target: str, body: bytes = b"", *, parts: int = 1
    ) -> Answer:
        """One request through ASGI, its body in ``parts`` pieces."""
        path, _, query = target.partition("?")
        headers = [(b"authorization", f"Bearer {token}".encode())] if token is not None else []
        step = max(1, -(-len(body) // parts))
        pieces = [body[i : i + step] for i in range(0, len(body), step)] or [b""]
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

        async def send(event: Any) -> None:
            sent.append(event)

        scope = {
            "type": "http",
            "method": method,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": headers,
        }
        await self.app(scope, receive, send)
        start, end = sent
        said = {name.decode(): value.decode() for name, value in start["headers"]}
        return Answer(start["status"], said, end["body"])

    def token(self, method: str, target: str, body: bytes, **changes: Any) -> str:
        return self.provider.token(method, target, body, **changes)

    async def deliver(
        self,
        spec: Spec,
        *,
        base: int | None = None,
        verbs: Sequence[Sequence[Verb]] | None = None,
        password: str | None = None,
        sealed: str | None = None,
    ) -> Answer:
        """Sign and send ``spec``; ``verbs`` lists what each generation after ``base`` did."""
        held = self.cell.state.desired.spec(spec.id)
        if password is not None:
            assert isinstance(spec, GroupSpec)
            public = self.keys.sealing.public_jwk()
            sealed = seal(public, password, cell=CELL, group=spec.id, version=spec.password_version)
        signed = self.provider.delivery(spec, held, base=base, verbs=verbs, sealed=sealed)
        answer = await self.call(signed.token, signed.method, signed.target, signed.body)
        await self.cell.settle()
        return answer

    async def read(self, target: str, verb: Verb, **changes: Any) -> Answer:
        return await self.call(self.provider.read(target, verb, **changes).token, "GET", target)

    async def resync(self, groups: tuple[GroupSpec, ...], workspaces: tuple[WorkspaceSpec, ...]) -> Answer:
        body = json.dumps(encode(Resync(groups, workspaces))).encode()
        token = self.token("PUT", "/cell/v1/resync", body, verbs=[Verb.CELL_RESYNC])
        answer = await self.call(token, "PUT", "/cell/v1/resync", body)
        await self.cell.settle()
        return answer

    async def bring_up(self) -> None:
        assert (await self.deliver(GROUP, password="first")).status == 200
        assert (await self.deliver(ORDERS)).status == 200
        assert self.cell.phase() is Phase.RUNNING


def assemble(cell: MemoryCell, provider: MemoryProvider, outward: Outward | None = None) -> Site:
    folder, kept = cell.folder, FileStorage(cell.folder)
    keys = CellKeys.load_or_create(FileStorage(folder))
    policy, control = PolicyFile(folder), Control(FolderDesk(folder), cell.ledger, cell.clock)
    guard = Guard(
        CELL,
        pinned=PinnedKeys.create(FileStorage(folder), provider.root.public, provider.key_set(), cell.clock),
        policy=policy,
        ledger=cell.ledger,
        replays=Replays(InLedger(folder / "ledger", cell.clock), cell.clock),
        rates=Rates(FileStorage(folder), cell.clock),
        control=control,
        clock=cell.clock,
    )
    door = Door(CELL, keys, guard)
    way = Way(outward or Outward(), cell.runtime, cell.clock)
    services = Services(policy, control.gate, cell.ledger, kept, way, new_id)
    app = CellApp(door, cell.state, cell.reconciler, cell.runtime, services, cell.clock)
    return Site(cell, app, keys, provider, services)


def ended(spec: WorkspaceSpec) -> WorkspaceSpec:
    return following(spec, desired=Desired.TERMINATED)


def suspended(spec: WorkspaceSpec) -> WorkspaceSpec:
    return following(spec, desired=Desired.SUSPENDED)


def resumed(spec: WorkspaceSpec) -> WorkspaceSpec:
    return following(spec, desired=Desired.RUNNING)
