"""Peers that the gateway does not know: how many, how long, how fast, and what they may break."""

import json

import pytest

from byoc.errors import Unreachable
from byoc.nimbus.admission import Limits
from byoc.nimbus.client import request_unenrolled
from byoc.nimbus.connection import Connection
from byoc.nimbus.http import HttpRequest
from byoc.nimbus.transport import Transport
from byoc.wire import frames
from byoc.wire.frames import FrameType
from tests.unit.nimbus.world import World


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
