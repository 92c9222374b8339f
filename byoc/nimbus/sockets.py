"""A TCP connection as a line, so that it can be joined with a stream.

Used at both ends of a forwarded service: in the cell towards the service, and on the operator's machine
towards whoever connects there. The invariant: what the connection does not take yet stays with its writer.
"""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Final

from byoc.errors import Unreachable

_CHUNK: Final = 64 * 1024


@dataclass(slots=True)
class Bytes:
    """How much has gone over one or several connections.

    Attributes:
        out: written to them.
        back: read from them.
    """

    out: int = 0
    back: int = 0


class TcpLine:
    """One connection.

    Args:
        counted: where its bytes are counted, with those of others.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, counted: Bytes) -> None:
        self._reader = reader
        self._writer = writer
        self._counted = counted
        self._ended = self._finished = self._lost = False

    @property
    def over(self) -> bool:
        """Whether it is lost, or has ended in both directions."""
        return self._lost or (self._ended and self._finished)

    async def read(self) -> bytes:
        """Return the next bytes; ``b""`` once the other end has finished.

        Raises:
            Unreachable: the connection broke.
        """
        try:
            data = await self._reader.read(_CHUNK)
        except OSError as error:
            self._lost = True
            raise Unreachable("the connection broke") from error
        self._ended = self._ended or not data
        self._counted.back += len(data)
        return data

    async def write(self, data: bytes) -> None:
        """Send ``data``; returns when the connection has room again.

        Raises:
            Unreachable: the connection broke, or was finished here.
        """
        if self._finished or self._writer.is_closing():
            raise Unreachable("the connection is closed")
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            self._lost = True
            raise Unreachable("the connection broke") from error
        self._counted.out += len(data)

    async def close_write(self) -> None:
        """Say that no more will be written; reading goes on."""
        self._finished = True
        with contextlib.suppress(OSError):
            self._writer.write_eof()

    async def reset(self, code: str) -> None:
        """End it at once."""
        del code
        self._lost = True
        self._writer.transport.abort()

    async def wait_lost(self) -> None:
        """Return once the connection is gone."""
        with contextlib.suppress(OSError):
            # Shielded: it is one future for all who wait, and whoever gives up would cancel it.
            await asyncio.shield(self._writer.wait_closed())

    async def close(self) -> None:
        """Let it go; what was written is still sent unless it was reset."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await asyncio.shield(self._writer.wait_closed())
