"""The cell's authority as customers meet it: engines prove themselves by it, and one follows another."""

import asyncio
import contextlib
import select
import shutil
import socket
import socketserver
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from byoc import sql
from byoc.cell.incluster import NAMESPACE
from byoc.clock import SystemClock
from byoc.dataplane.kubernetes import names
from byoc.dataplane.kubernetes.authority import SECRET, WISH
from byoc.dataplane.kubernetes.runtime import KubernetesRuntime
from byoc.dataplane.kubernetes.succession import TOLD
from byoc.dataplane.plan import Situation, plan
from byoc.dataplane.runtime import Secrets
from byoc.errors import EngineFailed, Unreachable
from byoc.ids import GroupID, WorkspaceID, new_id
from byoc.model.report import Reason
from byoc.model.spec import WorkspaceSpec
from byoc.testing.walking import walk
from byoc.wire.certificates import make_authority
from byoc_cli import connect
from tests.kubernetes.cell import SETTINGS, Cell

Json = dict[str, Any]
SECRETS = Secrets(1, "first password")


class MovedClock(SystemClock):
    """A clock that a test can move: back, for what it makes is to be valid now."""

    behind = timedelta()

    def now(self) -> datetime:
        return super().now() - self.behind


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
async def runtime(cell: Cell, clock: MovedClock) -> AsyncIterator[KubernetesRuntime]:
    async with cell.tended(KubernetesRuntime(cell.cluster(), SETTINGS, clock)) as lent:
        yield lent


@pytest.fixture
async def running(runtime: KubernetesRuntime) -> WorkspaceSpec:
    spec = WorkspaceSpec(WorkspaceID(new_id()), GroupID(new_id()), 1, "orders", "S-00")
    await walk(runtime, spec, SECRETS)
    return spec


class Customer:
    """Somebody in the VPC with a SQL client."""

    def __init__(self, cell: Cell, runtime: KubernetesRuntime, spec: WorkspaceSpec) -> None:
        pod = f"/api/v1/namespaces/{names.namespace(spec.id)}/pods/engine-0"
        _, found = cell.plane.ask("admin", "GET", pod)
        self.address = found["status"]["podIP"]
        self.host = names.host(spec.id, "dml", SETTINGS)
        self._runtime = runtime

    @property
    def told(self) -> list[str]:
        return [each.certificate for each in self._runtime.facts().authorities]

    def open(self, *authorities: str, name: str = "") -> sql.Session:
        tls = sql.Tls("".join(authorities), name or self.host)
        return sql.connect(self.address, names.PORT, "admin", SECRETS.password, tls=tls)


@contextlib.contextmanager
def relayed(address: str) -> Iterator[int]:
    """Reach an engine through a port of this machine: `localhost` is one of the names that it bears."""

    class Relay(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            near = self.request
            with socket.create_connection((address, names.PORT)) as far:
                while True:
                    for line in select.select([near, far], [], [])[0]:
                        piece = line.recv(65536)
                        if not piece:
                            return
                        (far if line is near else near).sendall(piece)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Relay) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


async def test_an_engine_proves_its_name_by_what_the_cell_tells(
    cell: Cell, runtime: KubernetesRuntime, running: WorkspaceSpec
) -> None:
    customer = Customer(cell, runtime, running)
    with customer.open(*customer.told) as session:
        session.ping()
    other = names.host(WorkspaceID(new_id()), "dml", SETTINGS)
    with pytest.raises(Unreachable, match="does not prove"):
        customer.open(*customer.told, name=other)
    stranger = make_authority(name="byoc cell", now=SystemClock().now()).certificate.decode()
    with pytest.raises(Unreachable, match="does not prove"):
        customer.open(stranger)
    # The machine's own client sees it the same.
    client = shutil.which("mariadb")
    assert client, "no MariaDB client on this machine; scripts/test gets one"
    with relayed(customer.address) as port:
        for trusted, good in ((customer.told[0], True), (stranger, False)):
            target = connect.Target("localhost", port, "admin", SECRETS.password, None, trusted)
            expected = contextlib.nullcontext() if good else pytest.raises(EngineFailed)
            with expected:
                connect.hand_over(client, target)


async def test_one_authority_follows_another_and_nobody_is_cut_off(
    cell: Cell, runtime: KubernetesRuntime, running: WorkspaceSpec, clock: MovedClock
) -> None:
    customer, authority = Customer(cell, runtime, running), runtime._authority
    assert authority is not None
    (old,) = customer.told
    started = (await runtime.observe(running.id)).started_at
    with customer.open(old) as through_all_of_it:
        clock.behind = TOLD
        wish(cell, "next")
        await authority.look_after(runtime._shown())
        assert customer.told[0] == old
        _, new = customer.told
        customer.open(old).close()

        clock.behind = timedelta()
        await authority.look_after(runtime._shown())
        assert customer.told == [new, old]
        step = plan(running, Situation(password_version=1), await runtime.observe(running.id), clock.now())
        assert step.reason is Reason.PUTTING_BACK
        await runtime.act(running, step.action, SECRETS)
        await authority.look_after(runtime._shown())
        assert customer.told == [new, old], "the engine has not shown the new one's certificate yet"
        async with asyncio.timeout(60):
            while not all(authority.signed(each) for each in runtime._shown()):
                await runtime.observe(running.id)
                customer.open(new, old).close()
        await authority.look_after(runtime._shown())
        assert customer.told == [new]
        customer.open(new).close()
        through_all_of_it.ping()
    with pytest.raises(Unreachable, match="does not prove"):
        customer.open(old)
    seen = await runtime.observe(running.id)
    assert (seen.started_at, seen.amiss) == (started, False)


async def test_what_another_leader_has_decided_is_not_undone(cell: Cell, runtime: KubernetesRuntime) -> None:
    other = KubernetesRuntime(cell.cluster(), SETTINGS, SystemClock())
    try:
        for each in (runtime, other):
            await each.observe(WorkspaceID(new_id()))
        assert runtime._authority is not None
        assert other._authority is not None
        wish(cell, "now")
        both = (each._authority.look_after([b""]) for each in (runtime, other))
        await asyncio.gather(*both, return_exceptions=True)
        for each in (runtime, other):
            await each._authority.look_after([b""])
        assert runtime.facts().authorities == other.facts().authorities
        assert len(runtime.facts().authorities) == 2
    finally:
        await other.close(stop_engines=False)


def wish(cell: Cell, what: str) -> None:
    """Ask for another authority, as somebody with rights in the cluster does."""
    path = f"/api/v1/namespaces/{NAMESPACE}/secrets/{SECRET}"
    change: Json = {"metadata": {"annotations": {WISH: what}}}
    status, answer = cell.plane.ask("admin", "PATCH", path, change, kind="application/merge-patch+json")
    assert status == 200, answer
