import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from byoc.errors import CellAway, Unreachable
from byoc.nimbus import http
from byoc.nimbus.admission import Limits
from byoc.nimbus.client import ClientState, Phase, TunnelClient
from byoc.nimbus.connection import Connection
from byoc.nimbus.handshake import Code, Role
from byoc.nimbus.http import HttpRequest
from byoc.nimbus.session import DEADLINE, IDLE
from byoc.nimbus.stream import Stream
from byoc.wire import frames
from byoc.wire.frames import FrameType
from byoc.wire.keys import encode_bytes
from tests.unit.nimbus.world import World


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


async def test_a_thousand_clients_are_back_ten_seconds_after_their_gateway_was_gone_for_ten(
    world: World,
) -> None:
    await world.controlplane()
    cells = [world.client(f"cell-{number}", Role.CELL, {"cell": world.app_handler}) for number in range(1000)]
    await world.settle(60)
    assert all(cell.connected for cell in cells)
    world.down = True
    for number in range(1000):
        await world.lines[f"cell-{number}"][-1].cut()
    await world.settle(10)
    assert not any(cell.connected for cell in cells)
    world.down = False
    await world.settle(10)
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
