"""The way from the cell to a service that its policy names: what may be dialled, and dialling it.

Used by ``services`` for each connection. The invariants: a name is looked up once and what is dialled is the
address that was checked, so no second look-up can lead elsewhere; of several addresses each must be fit, for
one that is not shows where the name leads; the machine's own metadata, what belongs to one link only, and
whatever the runtime calls the cell's own are never dialled, whatever the policy says.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from byoc.clock import Clock
from byoc.errors import Forbidden, Unreachable
from byoc.nimbus.deadline import within

CONNECT_SECONDS: Final = 10.0
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Looks a name up: the addresses behind it, in the order in which they should be tried."""
Connect = Callable[[str, int], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
"""Dials an address, never a name."""

_METADATA: Final = frozenset(
    ipaddress.ip_address(each)
    for each in ("168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::23", "fd00:ec2::254")
)
"""Where clouds answer a machine about itself, beside the link-local addresses."""
_AMAZON: Final = ipaddress.ip_network("fd00:ec2::/32")
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_BROADCAST: Final = ipaddress.ip_address("255.255.255.255")


class Own(Protocol):
    """What a runtime says of addresses: see ``byoc.dataplane.runtime.Runtime.owns``."""

    async def owns(self, address: str, port: int) -> str:
        """Return what of the cell itself answers there, in words; empty where nothing does."""
        ...


async def look_up(host: str, port: int) -> list[str]:
    """Return the addresses behind a name, by this machine's resolver.

    Raises:
        Unreachable: there are none.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Unreachable("the service's name is not known in the cell") from error
    return list(dict.fromkeys(str(each[4][0]) for each in found))


async def dial(address: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to an address."""
    return await asyncio.open_connection(address, port)


@dataclass(frozen=True, slots=True)
class Outward:
    """How names are looked up and addresses dialled; a test's own ways, or the machine's."""

    resolve: Resolve = look_up
    connect: Connect = dial


@dataclass(frozen=True, slots=True)
class Way:
    """The way out of one cell."""

    outward: Outward
    own: Own
    clock: Clock

    async def find(self, host: str, port: int) -> tuple[Address, ...]:
        """Look ``host`` up and return its addresses, each of which may be dialled.

        Raises:
            Forbidden: one of them leads to what is never opened.
            Unreachable: there are none.
        """
        async with within(self.clock, CONNECT_SECONDS, "looking the service up"):
            found = tuple(_read(each) for each in await self.outward.resolve(host, port))
            for address in found:
                await self._check(address, port)
        if not found:
            raise Unreachable("the service's name is not known in the cell")
        return found

    async def _check(self, address: Address, port: int) -> None:
        for each in _meant(address):
            what = never(each) or await self.own.owns(str(each), port)
            if what:
                raise Forbidden(f"it leads to {what}, which no policy opens")

    async def open(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the first address of ``host`` that answers.

        Raises:
            Forbidden: as ``find`` does; nothing was dialled.
            Unreachable: nobody answers.
        """
        for address in await self.find(host, port):
            try:
                async with within(self.clock, CONNECT_SECONDS, "the service's answer"):
                    return await self.outward.connect(str(address), port)
            except (OSError, Unreachable):
                continue
        raise Unreachable("the service does not answer")


def never(address: Address) -> str:
    """Return what ``address`` is where it is one that no policy opens; empty where it is none. Pure."""
    if address in _METADATA or (address.version == 6 and address in _AMAZON):  # noqa: PLR2004
        return "a metadata service"
    if address.is_link_local:
        return "a metadata service, or what belongs to one link only"
    if address.is_unspecified:
        return "no address"
    if address.is_multicast or address == _BROADCAST:
        return "many addresses"
    return ""


def _read(text: str) -> Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError as error:
        raise Forbidden("it leads to something that is no address") from error


def _meant(address: Address) -> tuple[Address, ...]:
    """Return the address and those that are written inside it: packets may end up there."""
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    inside = [address.ipv4_mapped, address.sixtofour]
    if address in _NAT64:
        inside.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return (address, *(each for each in inside if each is not None))
