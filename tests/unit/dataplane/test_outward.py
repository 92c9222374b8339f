"""Which addresses a forward never leads to, and that what is dialled is what was looked at."""

import asyncio
import ipaddress
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from byoc.clock import SystemClock
from byoc.dataplane.outward import Outward, Way, look_up, never
from byoc.errors import Forbidden, Unreachable


@dataclass
class Network:
    """Names as a test says, and one echo behind every address."""

    names: dict[str, list[str]] = field(default_factory=lambda: {"echo.internal": ["127.0.0.1"]})
    dialled: list[tuple[str, int]] = field(default_factory=list)
    dead: set[str] = field(default_factory=set)
    _server: asyncio.Server | None = None
    _talking: set[asyncio.Task[None]] = field(default_factory=set)

    async def resolve(self, host: str, _port: int) -> Sequence[str]:
        return self.names.get(host, [host])

    async def connect(self, address: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if address in self.dead:
            raise ConnectionRefusedError
        self.dialled.append((address, port))
        if self._server is None:
            self._server = await asyncio.start_server(self._echo, "127.0.0.1", 0)
        return await asyncio.open_connection(*self._server.sockets[0].getsockname()[:2])

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        talking = list(self._talking)
        for task in talking:
            task.cancel()
        await asyncio.gather(*talking, return_exceptions=True)

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talking.add(task)
        with suppress(OSError, asyncio.CancelledError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        self._talking.discard(task)


class Owns:
    """A runtime with one engine."""

    async def owns(self, address: str, port: int) -> str:
        return "an engine" if (address, port) == ("127.0.0.1", 3306) else ""


def way(network: Network) -> Way:
    return Way(Outward(network.resolve, network.connect), Owns(), SystemClock())


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.170.23",
        "168.63.129.16",
        "100.100.100.200",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fe80::1",
        "0.0.0.0",  # noqa: S104 - what is refused
        "::",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
    ],
)
async def test_no_policy_opens_a_metadata_service_or_what_is_no_one_place(address: str) -> None:
    network = Network({"x": [address]})
    with pytest.raises(Forbidden):
        await way(network).open("x", 80)
    assert network.dialled == []


@pytest.mark.parametrize("address", ["10.0.3.7", "192.168.1.1", "127.0.0.1", "2001:db8::1", "fd12::1"])
def test_a_place_of_the_customers_own_may_be_named(address: str) -> None:
    assert never(ipaddress.ip_address(address)) == ""


@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"])
async def test_no_policy_opens_an_engine_however_its_address_is_written(address: str) -> None:
    network = Network({"x": [address]})
    with pytest.raises(Forbidden, match="an engine"):
        await way(network).open("x", 3306)
    assert network.dialled == []


async def test_one_address_that_is_never_opened_spoils_the_name() -> None:
    network = Network({"x": ["10.0.0.1", "169.254.169.254"]})
    with pytest.raises(Forbidden):
        await way(network).open("x", 80)
    assert network.dialled == []


async def test_the_next_address_is_tried_where_one_does_not_answer() -> None:
    network = Network({"x": ["10.0.0.1", "10.0.0.2"]}, dead={"10.0.0.1"})
    _, writer = await way(network).open("x", 80)
    writer.close()
    await writer.wait_closed()
    await network.close()
    assert network.dialled == [("10.0.0.2", 80)]


async def test_a_service_that_does_not_answer_is_said_to_be_so() -> None:
    network = Network({"x": ["10.0.0.1"]}, dead={"10.0.0.1"})
    with pytest.raises(Unreachable, match="does not answer"):
        await way(network).open("x", 80)


async def test_a_name_that_nobody_knows_is_said_to_be_so() -> None:
    with pytest.raises(Unreachable, match="not known"):
        await look_up("no-such-name.invalid", 80)


async def test_what_a_resolver_answers_must_be_an_address() -> None:
    network = Network({"x": ["elsewhere.example"]})
    with pytest.raises(Forbidden):
        await way(network).open("x", 80)
    assert network.dialled == []
