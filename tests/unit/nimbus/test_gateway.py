import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from byoc.errors import CellAway, NotAuthenticated, Unreachable
from byoc.nimbus import http
from byoc.nimbus.admission import Limits
from byoc.nimbus.client import ClientState, Phase, TunnelClient, request_unenrolled
from byoc.nimbus.connection import Connection, Handler
from byoc.nimbus.gateway import Gateway
from byoc.nimbus.handshake import Code, Role
from byoc.nimbus.http import HttpRequest
from byoc.nimbus.session import DEADLINE, IDLE
from byoc.nimbus.stream import Stream
from byoc.nimbus.transport import Transport
from byoc.testing.clock import ManualClock
from byoc.testing.transport import Line, memory_pair
from byoc.wire import frames
from byoc.wire.frames import FrameType
from byoc.wire.keys import encode_bytes


def verify(login: Mapping[str, Any], challenge: bytes) -> str:
    """Stand-in for the token check: the token is the name and the challenge."""
    name, _, answered = str(login["token"]).partition(" ")
    if answered != encode_bytes(challenge):
        raise NotAuthenticated("the token is not about this challenge")
    return name


async def answer(send: http.Send, status: int, value: Any = None) -> None:
    await send({"type": "http.response.start", "status": status})
    await send({"type": "http.response.body", "body": json.dumps(value).encode() if value else b""})


@dataclass
class World:
    """A gateway with whoever dialled it, over lines in memory."""

    limits: Limits = field(default_factory=Limits)
    clock: ManualClock = field(default_factory=ManualClock)
    verdicts: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, Any]] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    lines: dict[str, list[Line]] = field(default_factory=dict)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    epochs: int = 0
    ids: int = 0
    rng: Random = field(default_factory=lambda: Random(7))  # noqa: S311 - jitter is no secret

    def __post_init__(self) -> None:
        self.gateway = Gateway(
            name="gateway-1",
            verify_controlplane=verify,
            clock=self.clock,
            new_id=self.new_id,
            random_bytes=self.rng.randbytes,
            limits=self.limits,
            on_known=self.known.append,
        )

    def new_id(self) -> str:
        self.ids += 1
        return f"session-{self.ids}"

    def spawn(self, work: Awaitable[None]) -> None:
        self.tasks.append(asyncio.ensure_future(work))

    def dial_as(self, name: str) -> Callable[[], Awaitable[Transport]]:
        async def dial() -> Transport:
            if not self.gateway.admits():
                raise Unreachable("503")
            one, other = memory_pair(clock=self.clock)
            self.lines.setdefault(name, []).append(one.line)
            self.spawn(self.gateway.attach(one))
            return other

        return dial

    def client(
        self, name: str, role: Role, services: Mapping[str, Handler], token: str | None = None
    ) -> TunnelClient:
        async def login(challenge: bytes, gateway: str) -> Mapping[str, Any]:
            assert gateway == "gateway-1"
            return {"token": token or f"{name} {encode_bytes(challenge)}", "specVersion": 1}

        client = TunnelClient(
            "memory",
            role=role,
            login=login,
            services=services,
            clock=self.clock,
            rng=self.rng,
            dial=self.dial_as(name),
        )
        self.spawn(client.run())
        return client

    async def controlplane(self, name: str = "controlplane") -> TunnelClient:
        services = dict.fromkeys(("login", "cell:", "enrol"), self.app_handler)
        client = self.client(name, Role.CONTROLPLANE, services)
        await self.settle()
        assert client.connected
        return client

    async def cell(self, name: str, handler: Handler | None = None) -> TunnelClient:
        client = self.client(name, Role.CELL, {"cell": handler or self.app_handler})
        await self.settle()
        return client

    async def app_handler(self, stream: Stream) -> None:
        await http.serve(stream, self.app, state={"service": stream.service})

    async def app(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        body = (await receive())["body"]
        value = json.loads(body) if body else None
        self.asked.append((f"{scope['state']['service']} {scope['path']}", value))
        if scope["path"] != "/cell/v1/login":
            await answer(send, 200, {"service": scope["state"]["service"]})
            return
        cell, _, answered = value["token"].partition(" ")
        self.epochs += 1
        status = self.verdicts.get(cell, 200 if answered == value["challenge"] else 401)
        await answer(send, status, {"cellID": cell, "epoch": self.epochs} if status == 200 else None)

    async def settle(self, seconds: float = 0) -> None:
        for _ in range(6):
            await self.clock.elapse(0)
        if seconds:
            await self.clock.elapse(seconds)
            await self.settle()

    def logins(self, cell: str) -> list[Any]:
        return [
            value
            for path, value in self.asked
            if path == "login /cell/v1/login" and value["token"].startswith(cell)
        ]

    async def knock(self) -> Connection:
        """Connect without logging in."""
        connection = Connection(await self.dial_as("stranger")(), first_id=2, clock=self.clock)
        self.spawn(connection.run(self.app_handler))
        await self.settle()
        return connection

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.close()


async def test_a_request_reaches_the_cell_and_a_report_the_control_plane(world: World) -> None:
    controlplane = await world.controlplane()
    cell = await world.cell("cell-a")
    down = await controlplane.request("cell/cell-a", HttpRequest("GET", "/cell/v1/status"), timeout=5)
    up = await cell.request("controlplane", HttpRequest("POST", "/cell/v1/report"), timeout=5)
    assert json.loads(down.body) == {"service": "cell"}
    assert json.loads(up.body) == {"service": "cell:cell-a"}
    assert world.gateway.cells == ("cell-a",)


async def test_the_control_plane_is_asked_about_a_cells_login(world: World) -> None:
    await world.controlplane()
    cell = await world.cell("cell-a")
    (asked,) = world.logins("cell-a")
    assert asked["gateway"] == "gateway-1"
    assert asked["session"] == cell.state.session
    assert asked["token"] == f"cell-a {asked['challenge']}"


async def test_a_cell_that_is_away_has_its_own_error(world: World) -> None:
    controlplane = await world.controlplane()
    with pytest.raises(CellAway):
        await controlplane.open("cell/nobody", timeout=5)


@pytest.mark.parametrize(
    ("status", "code", "phase"),
    [(401, Code.NOT_AUTHENTICATED, Phase.REFUSED), (403, Code.RETIRED, Phase.REFUSED)],
)
async def test_a_login_that_the_control_plane_denies_is_denied(
    world: World, status: int, code: Code, phase: Phase
) -> None:
    await world.controlplane()
    world.verdicts["cell-a"] = status
    cell = await world.cell("cell-a")
    assert (cell.state.phase, cell.state.code) == (phase, code)
    assert not world.gateway.cells


async def test_a_retired_cell_asks_rarely(world: World) -> None:
    await world.controlplane()
    world.verdicts["cell-a"] = 403
    await world.cell("cell-a")
    await world.settle(299)
    assert len(world.logins("cell-a")) == 1
    await world.settle(302)
    assert len(world.logins("cell-a")) == 2


async def test_a_control_plane_with_a_wrong_token_is_denied(world: World) -> None:
    liar = world.client("liar", Role.CONTROLPLANE, {}, token="liar wrong")
    await world.settle()
    assert (liar.state.phase, liar.state.code) == (Phase.REFUSED, Code.NOT_AUTHENTICATED)
    with pytest.raises(Unreachable, match="not about this challenge"):
        await liar.open("cell/cell-a")


async def test_a_cell_waits_for_a_control_plane_and_says_so(world: World) -> None:
    cell = await world.cell("cell-a")
    await world.settle(6)
    assert cell.state.phase is Phase.WAITING
    assert "waiting for the control plane" in cell.state.reason
    await world.controlplane()
    await world.settle(10)
    assert cell.connected


async def test_a_login_is_held_until_a_control_plane_that_starts_beside_it_is_there(world: World) -> None:
    cell = await world.cell("cell-a")
    await world.settle(1)
    assert not cell.connected
    await world.controlplane()
    await world.settle()
    assert cell.connected
    assert len(world.lines["cell-a"]) == 1


async def test_a_new_login_of_a_cell_ends_the_older_session_at_once(world: World) -> None:
    controlplane = await world.controlplane()
    older = await world.cell("cell-a")
    await world.lines["cell-a"][0].stall()
    newer = await world.cell("cell-a")
    assert newer.connected
    answered = await controlplane.request("cell/cell-a", HttpRequest("GET", "/x"), timeout=5)
    assert answered.status == 200
    assert world.gateway.cells == ("cell-a",)
    assert ("login /cell/v1/logout", {"session": older.state.session}) in world.asked


async def test_a_login_that_was_overtaken_by_a_newer_one_is_denied(world: World) -> None:
    await world.controlplane()
    world.epochs = 100
    newer = await world.cell("cell-a")
    world.epochs = 5
    older = await world.cell("cell-a")
    assert older.state.code == Code.REPLACED
    assert newer.connected


async def test_the_end_of_a_session_is_reported(world: World) -> None:
    controlplane = await world.controlplane()
    cell = await world.cell("cell-a")
    session = cell.state.session
    await cell.close()
    await world.settle()
    assert ("login /cell/v1/logout", {"session": session}) in world.asked
    with pytest.raises(CellAway):
        await controlplane.open("cell/cell-a")


async def test_the_control_plane_closes_a_cells_session(world: World) -> None:
    controlplane = await world.controlplane()
    cell = await world.cell("cell-a")
    world.verdicts["cell-a"] = 403
    async with await controlplane.open("close/cell-a") as stream:
        assert await stream.read() == b""
    await world.settle()
    assert (cell.state.phase, cell.state.code) == (Phase.REFUSED, Code.RETIRED)
    assert not world.gateway.cells


async def test_a_cell_logs_in_again_every_ten_minutes_on_the_same_tunnel(world: World) -> None:
    await world.controlplane()
    cell = await world.cell("cell-a")
    await world.settle(1801)
    asked = world.logins("cell-a")
    assert len(asked) == 4
    assert len({one["challenge"] for one in asked}) == 4
    assert {one["session"] for one in asked} == {cell.state.session}
    assert len(world.lines["cell-a"]) == 1


async def test_a_failed_login_on_a_live_tunnel_closes_it(world: World) -> None:
    await world.controlplane()
    cell = await world.cell("cell-a")
    world.verdicts["cell-a"] = 403
    await world.settle(601)
    assert (cell.state.phase, cell.state.code) == (Phase.REFUSED, Code.RETIRED)
    assert not world.gateway.cells


async def test_a_tunnel_outlives_a_control_plane_that_cannot_be_asked(world: World) -> None:
    controlplane = await world.controlplane()
    cell = await world.cell("cell-a")
    await controlplane.close()
    await world.settle(700)
    assert cell.connected
    with pytest.raises(Unreachable, match="no control plane is connected"):
        await cell.open("controlplane")


async def test_a_control_plane_that_comes_back_learns_who_is_connected(world: World) -> None:
    controlplane = await world.controlplane()
    await world.cell("cell-a")
    await controlplane.close()
    await world.settle(1)
    world.asked.clear()
    await world.controlplane()
    await world.settle()
    assert len(world.logins("cell-a")) == 1
    assert len(world.lines["cell-a"]) == 1


async def test_a_cell_cannot_become_another_cell_by_logging_in_again(world: World) -> None:
    await world.controlplane()
    names = iter(["cell-a", "cell-b", "cell-a"])

    async def login(challenge: bytes, gateway: str) -> Mapping[str, Any]:
        return {"token": f"{next(names)} {encode_bytes(challenge)}"}

    client = TunnelClient(
        "memory",
        role=Role.CELL,
        login=login,
        services={},
        clock=world.clock,
        rng=world.rng,
        dial=world.dial_as("x"),
    )
    world.spawn(client.run())
    await world.settle()
    assert client.connected
    await world.settle(601)
    assert client.state.code == Code.NOT_AUTHENTICATED
    assert not world.gateway.cells


@pytest.mark.parametrize("service", ["cell/cell-b", "login", "enrol", "close/cell-b", "127.0.0.1:22"])
async def test_a_cell_can_open_nothing_but_the_control_plane(world: World, service: str) -> None:
    await world.controlplane()
    cell = await world.cell("cell-a")
    with pytest.raises(Unreachable, match="no service"):
        await cell.open(service)


async def test_a_slow_reader_in_the_cell_stops_its_writer_through_the_relay(world: World) -> None:
    async def handler(stream: Stream) -> None:
        if stream.service == "cell" and not slow:
            slow.append(stream)
            await stream.wait_lost()
        else:
            await world.app_handler(stream)

    slow: list[Stream] = []
    controlplane = await world.controlplane()
    await world.cell("cell-a", handler)
    stalled = await controlplane.open("cell/cell-a", timeout=5)
    written = 0

    async def write() -> None:
        nonlocal written
        while True:
            await stalled.write(bytes(65536))
            written += 65536

    writing = asyncio.create_task(write())
    await world.settle(1)
    assert not writing.done()
    assert written <= 3 * 1024 * 1024
    answered = await controlplane.request("cell/cell-a", HttpRequest("GET", "/quick"), timeout=5)
    assert answered.status == 200
    writing.cancel()


async def test_giving_up_a_relayed_stream_reaches_the_far_end(world: World) -> None:
    lost = asyncio.Event()

    async def handler(stream: Stream) -> None:
        await stream.wait_lost()
        lost.set()

    controlplane = await world.controlplane()
    await world.cell("cell-a", handler)
    stream = await controlplane.open("cell/cell-a", timeout=5)
    await stream.write(b"GET")
    await stream.close_write()
    await stream.reset("cancelled")
    await world.settle()
    assert lost.is_set()


async def test_a_cell_that_is_cut_off_in_a_request_makes_it_unreachable(world: World) -> None:
    async def handler(stream: Stream) -> None:
        await stream.wait_lost()

    controlplane = await world.controlplane()
    await world.cell("cell-a", handler)
    asking = asyncio.create_task(
        controlplane.request("cell/cell-a", HttpRequest("PUT", "/x", (), b"y"), timeout=30)
    )
    await world.settle()
    await world.lines["cell-a"][0].cut()
    await world.settle()
    with pytest.raises(Unreachable):
        await asking


async def test_a_half_open_cell_is_away_after_the_deadline_and_comes_back(world: World) -> None:
    controlplane = await world.controlplane()
    cell = await world.cell("cell-a")
    await world.lines["cell-a"][0].stall()
    await world.settle(IDLE + DEADLINE + 1)
    assert len(world.lines["cell-a"]) == 2
    assert cell.connected
    assert (await controlplane.request("cell/cell-a", HttpRequest("GET", "/x"), timeout=5)).status == 200


async def test_enrolling_reaches_the_control_plane_and_nothing_else(world: World) -> None:
    await world.controlplane()
    await world.cell("cell-a")
    asked = HttpRequest("POST", "/cell/v1/enrol", (), b"{}")
    told = await request_unenrolled(world.dial_as("new"), asked, clock=world.clock, timeout=10)
    assert json.loads(told.body) == {"service": "enrol"}


async def enrolling(world: World) -> Connection:
    connection = await world.knock()
    await connection.message()
    connection.send_message(FrameType.ENROL, {"versions": [1]})
    await world.settle()
    return connection


async def test_the_unenrolled_are_few(world: World) -> None:
    world = World(limits=Limits(enrolling=2))
    await world.controlplane()
    first, second, third = [await enrolling(world) for _ in range(3)]
    kinds = [(await one.message()).kind for one in (first, second, third)]
    assert kinds == [FrameType.LOGIN_OK, FrameType.LOGIN_OK, FrameType.LOGIN_OK]
    assert [one.closed for one in (first, second, third)] == [True, False, False]
    await world.close()


async def test_strangers_who_stay_do_not_keep_a_cell_from_enrolling(world: World) -> None:
    world = World(limits=Limits(enrolling=2))
    await world.controlplane()
    for _ in range(5):
        await enrolling(world)
    asked = HttpRequest("POST", "/cell/v1/enrol")
    answer = await request_unenrolled(world.dial_as("cell"), asked, clock=world.clock, timeout=5)
    assert answer.status == 200
    await world.close()


async def test_the_unenrolled_are_slow_and_do_not_stay(world: World) -> None:
    world = World(limits=Limits(enrol_burst=2))
    await world.controlplane()
    stranger = await enrolling(world)
    for _ in range(2):
        await (await stranger.open("controlplane", timeout=5)).reset("cancelled")
    with pytest.raises(Unreachable, match="try again later"):
        await stranger.open("controlplane", timeout=5)
    with pytest.raises(Unreachable, match="no service"):
        await stranger.open("cell/cell-a", timeout=5)
    await world.settle(61)
    assert stranger.closed
    await world.close()


async def test_a_stranger_that_says_nothing_is_put_out(world: World) -> None:
    stranger = await world.knock()
    assert world.gateway.pending == 1
    await world.settle(11)
    assert stranger.closed
    assert world.gateway.pending == 0


async def test_who_has_logged_in_is_told_and_no_stranger(world: World) -> None:
    await world.controlplane()
    await world.cell("cell-a")
    await world.knock()
    await enrolling(world)
    assert len(world.known) == 2


async def test_more_strangers_a_second_than_the_rate_are_not_let_in(world: World) -> None:
    world = World(limits=Limits(logins_a_second=1, login_burst=3))
    for _ in range(3):
        await world.knock()
    with pytest.raises(Unreachable, match="503"):
        await world.knock()
    await world.settle(1)
    assert not (await world.knock()).closed
    await world.close()


async def drop_all(transport: Transport) -> None:
    while await transport.recv():
        pass


@pytest.mark.parametrize(
    "said",
    [
        frames.message(FrameType.LOGIN, {"role": "cell"}),
        frames.message(FrameType.LOGIN_OK, {"versions": [1], "session": "x", "epoch": 1, "version": 1}),
        frames.message(FrameType.LOGIN, {"role": "root", "token": "x", "versions": [1]}),
        frames.message(FrameType.OPEN, {"service": "controlplane"}, 2),
    ],
)
async def test_a_stranger_that_breaks_the_handshake_is_put_out(world: World, said: frames.Frame) -> None:
    await world.controlplane()
    transport = await world.dial_as("stranger")()
    await transport.send(frames.encode(said))
    await world.settle(2)
    with pytest.raises(Unreachable):
        await drop_all(transport)
    assert world.gateway.pending == 0


async def test_no_common_version_is_denied_naming_both(world: World) -> None:
    stranger = await world.knock()
    await stranger.message()
    stranger.send_message(FrameType.LOGIN, {"role": "cell", "token": "t", "versions": [7, 8]})
    await world.settle()
    denied = frames.members(await stranger.message())
    assert denied["code"] == "version"
    assert "the gateway speaks 1, its peer 7, 8" in denied["message"]


async def test_stopping_tells_every_peer_and_lets_streams_finish(world: World) -> None:
    controlplane = await world.controlplane()
    cell = await world.cell("cell-a")
    stream = await controlplane.open("cell/cell-a", timeout=5)
    stopping = asyncio.create_task(world.gateway.stop(60))
    await world.settle(1)
    assert not cell.connected
    assert not world.gateway.admits()
    assert not stopping.done()
    answered = await http.request(stream, HttpRequest("GET", "/last"), timeout=5)
    assert answered.status == 200
    await world.settle(1)
    await asyncio.wait_for(stopping, 5)


async def test_states_are_told_as_they_change(world: World) -> None:
    told: list[ClientState] = []
    cell = await world.cell("cell-a")
    cell._on_state = told.append
    await world.controlplane()
    await world.settle()
    await world.lines["cell-a"][0].cut()
    await world.settle(5)
    await cell.close()
    phases = [state.phase for state in told]
    assert phases == [Phase.CONNECTED, Phase.OFFLINE, Phase.CONNECTING, Phase.CONNECTED, Phase.CLOSED]


async def test_a_mass_restart_does_not_bring_everybody_back_at_once(world: World) -> None:
    world.limits = Limits()
    await world.controlplane()
    cells = [await world.cell(f"cell-{number}") for number in range(12)]
    for number in range(12):
        await world.lines[f"cell-{number}"][0].cut()
    await world.settle()
    early = sum(cell.connected for cell in cells)
    await world.settle(0.25)
    middle = sum(cell.connected for cell in cells)
    await world.settle(0.3)
    assert early == 0
    assert 0 < middle < 12
    assert all(cell.connected for cell in cells)


async def test_a_thousand_tunnels_leave_nothing_behind(world: World) -> None:
    await world.controlplane()
    await world.settle(1)
    before = len(asyncio.all_tasks())
    for number in range(1000):
        stranger = Connection(await world.dial_as("stranger")(), first_id=2, clock=world.clock)
        running = asyncio.create_task(stranger.run(world.app_handler))
        frame = await stranger.message()
        challenge = frames.members(frame)["challenge"]
        token = f"cell-{number % 7} {challenge}"
        stranger.send_message(FrameType.LOGIN, {"role": "cell", "token": token, "versions": [1]})
        assert (await stranger.message()).kind is FrameType.LOGIN_OK
        if number % 2:
            await world.lines["stranger"][-1].cut()
        else:
            stranger.end("leaving")
        await running
        world.clock.advance(0.1)
    await world.settle(1)
    assert not world.gateway.cells
    assert len(world.gateway._connections) == 1
    assert len(asyncio.all_tasks()) == before
