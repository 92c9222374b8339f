import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest

from byoc.errors import Unreachable
from byoc.nimbus.client import ClientState, Phase, TunnelClient
from byoc.nimbus.connection import Connection
from byoc.nimbus.dialling import Busy
from byoc.nimbus.handshake import Challenge, Code, Denial, Role, Welcome
from byoc.nimbus.stream import Stream
from byoc.nimbus.transport import Transport
from byoc.testing.clock import ManualClock
from byoc.testing.transport import memory_pair
from byoc.wire.frames import FrameType


class Rig:
    """A client, and a gateway that the test plays itself."""

    def __init__(self, *, reachable: bool = True, fault_of_dialling: Unreachable | None = None) -> None:
        self.clock = ManualClock()
        self.reachable = reachable
        self.fault_of_dialling = fault_of_dialling
        self.their_clock: datetime | None = None
        self.dials = 0
        self.served: list[str] = []
        self.states: list[ClientState] = []
        self.fault: Exception | None = None
        self.gateway: Connection | None = None
        self.tasks: list[asyncio.Task[None]] = []
        self.client = TunnelClient(
            "memory",
            role=Role.CONTROLPLANE,
            login=self.login,
            services=dict.fromkeys(("login", "cell:", "cell:special:", "enrol:"), self.serve),
            clock=self.clock,
            rng=Random(3),  # noqa: S311 - jitter is no secret
            on_state=self.states.append,
            dial=self.dial,
        )
        self.tasks.append(asyncio.create_task(self.client.run()))

    async def login(self, challenge: bytes, gateway: str) -> Mapping[str, Any]:
        if self.fault is not None:
            raise self.fault
        return {"token": "t"}

    async def dial(self) -> Transport:
        self.dials += 1
        if self.fault_of_dialling is not None:
            raise self.fault_of_dialling
        if not self.reachable:
            raise Unreachable("connection refused")
        one, other = memory_pair(clock=self.clock)
        other.their_clock = self.their_clock
        self.gateway = Connection(one, first_id=1, clock=self.clock)
        self.tasks.append(asyncio.create_task(self.gateway.run(self.hold)))
        return other

    async def serve(self, stream: Stream) -> None:
        self.served.append(stream.service)

    async def hold(self, stream: Stream) -> None:
        await stream.accept()
        while await stream.read():
            pass

    async def welcome(self, version: int = 1) -> None:
        await self.clock.elapse(0)
        assert self.gateway is not None
        self.gateway.send_message(FrameType.CHALLENGE, Challenge(bytes(32), "g").members())
        await self.gateway.message()
        self.gateway.send_message(FrameType.LOGIN_OK, Welcome("session-1", 1, version).members())
        await self.clock.elapse(0)

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@pytest.mark.parametrize(
    ("service", "served"),
    [("login", True), ("cell:a", True), ("enrol", True), ("logins", False), ("cellar", False), ("", False)],
)
async def test_services_are_found_by_name_or_prefix(service: str, served: bool) -> None:
    rig = Rig()
    await rig.welcome()
    assert rig.gateway is not None
    if served:
        await rig.gateway.open(service, timeout=5)
        await rig.clock.elapse(0)
        assert rig.served == [service]
    else:
        with pytest.raises(Unreachable, match="no service"):
            await rig.gateway.open(service, timeout=5)
    await rig.close()


async def test_a_gateway_that_cannot_be_reached_is_dialled_again_ever_more_rarely() -> None:
    rig = Rig(reachable=False)
    await rig.clock.elapse(600)
    early = rig.dials
    assert rig.client.state == ClientState(Phase.OFFLINE, "connection refused")
    assert 15 < early < 60
    rig.reachable = True
    while rig.gateway is None:
        await rig.clock.elapse(1)
    await rig.welcome()
    assert rig.client.connected
    await rig.close()


async def test_a_gateway_without_room_is_asked_again_when_it_said_and_not_by_all_at_once() -> None:
    rig = Rig(fault_of_dialling=Busy("no room", retry_after=30.0))
    await rig.clock.elapse(29)
    assert rig.dials == 1
    assert rig.client.state == ClientState(Phase.WAITING, "no room", code=Code.BUSY)
    await rig.clock.elapse(31)
    assert rig.dials == 2
    await rig.close()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "connected"),
        (-5, "connected"),
        (-312, "connected; this machine's clock is 312 s ahead of the gateway's"),
        (90, "connected; this machine's clock is 90 s behind the gateway's"),
    ],
)
async def test_clocks_that_differ_are_told_by_how_much(seconds: float, said: str) -> None:
    rig = Rig()
    rig.their_clock = rig.clock.now() + timedelta(seconds=seconds)
    await rig.welcome()
    assert rig.client.state.reason == said
    await rig.close()


async def test_a_login_refused_for_its_time_is_explained_by_the_clocks() -> None:
    rig = Rig()
    rig.their_clock = rig.clock.now() + timedelta(minutes=10)
    await rig.clock.elapse(0)
    assert rig.gateway is not None
    rig.gateway.send_message(FrameType.CHALLENGE, Challenge(bytes(32), "g").members())
    await rig.gateway.message()
    denial = Denial(Code.NOT_AUTHENTICATED, "the login is expired")
    rig.gateway.send_message(FrameType.LOGIN_ERR, denial.members())
    await rig.clock.elapse(1)
    assert rig.client.state.reason == (
        "the login is expired; this machine's clock is 600 s behind the gateway's"
    )
    await rig.close()


async def test_waiting_for_a_connection_names_what_is_in_the_way() -> None:
    rig = Rig(reachable=False)
    waiting = asyncio.create_task(rig.client.wait_connected(timeout=5))
    await rig.clock.elapse(5)
    with pytest.raises(Unreachable, match="not connected: connection refused"):
        await waiting
    with pytest.raises(Unreachable, match="not connected: connection refused"):
        await rig.client.open("cell/a")
    await rig.close()


async def test_a_gateway_that_says_nothing_is_left() -> None:
    rig = Rig()
    await rig.clock.elapse(22)
    assert rig.dials >= 2
    await rig.close()


async def test_a_login_that_cannot_be_made_is_tried_again() -> None:
    rig = Rig()
    rig.fault = ValueError("key file is broken")
    await rig.clock.elapse(0)
    assert rig.gateway is not None
    rig.gateway.send_message(FrameType.CHALLENGE, Challenge(bytes(32), "g").members())
    await rig.clock.elapse(1)
    assert rig.states[0] == ClientState(Phase.OFFLINE, "the login could not be made")
    rig.fault = None
    await rig.clock.elapse(2)
    await rig.welcome()
    assert rig.client.connected
    await rig.close()


async def test_a_version_that_was_not_offered_is_refused() -> None:
    rig = Rig()
    await rig.welcome(version=9)
    assert (rig.client.state.phase, rig.client.state.code) == (Phase.REFUSED, "version")
    assert "protocol 9" in rig.client.state.reason
    await rig.close()


async def test_while_the_old_tunnel_drains_a_new_one_is_dialled_and_old_streams_go_on() -> None:
    rig = Rig()
    await rig.welcome()
    old = rig.gateway
    assert old is not None
    old.allow_streams()
    stream = await rig.client.open("cell/a")
    draining = asyncio.create_task(old.drain("restarting", 60))
    await rig.clock.elapse(3)
    await rig.welcome()
    assert rig.dials == 2
    assert rig.client.connected
    assert not stream.over
    await stream.close_write()
    await rig.clock.elapse(60)
    await draining
    await rig.close()


async def test_closing_ends_run_and_tells_the_gateway_why() -> None:
    rig = Rig()
    await rig.welcome()
    await rig.client.close("byoc down")
    await asyncio.wait_for(asyncio.gather(*rig.tasks), 5)
    assert rig.gateway is not None
    assert rig.gateway.reason == "byoc down"
    assert rig.client.state.phase is Phase.CLOSED


async def test_closing_while_offline_ends_run() -> None:
    rig = Rig(reachable=False)
    await rig.clock.elapse(1)
    await asyncio.wait_for(rig.client.close(), 5)
    await asyncio.wait_for(asyncio.gather(*rig.tasks), 5)
    assert rig.client.state.phase is Phase.CLOSED
