"""TLS inside a stream: what two ends say to each other is for nobody in between.

Used for forwarded services, between the operator's machine and the cell; gateway and Control Plane pass it
on. Each end makes a certificate for one forward, and is told the other's by the signed command that opens
it. The invariants: TLS 1.3 only; the very certificate that was named, or no line; an end that is cut off is
told apart from one that has finished.
"""

import asyncio
import contextlib
import os
import ssl
import tempfile
from collections import deque
from pathlib import Path
from typing import Final

from byoc.errors import Unreachable
from byoc.nimbus.deadline import within
from byoc.nimbus.stream import Stream
from byoc.wire.certificates import Certificate

HANDSHAKE_SECONDS: Final = 10.0
_CHUNK: Final = 64 * 1024
_NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which Python has no name for."""


def context(mine: Certificate, theirs: str, *, server: bool) -> ssl.SSLContext:
    """Return the settings of one end: its own certificate, and the only one it believes.

    ``server``: the end that is opened to, which is the cell.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.check_hostname = False
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_verify_locations(cadata=theirs)
    # How long a forward lasts is said by the cell's own clock, and the operator's may be wrong by a day.
    made.verify_flags |= _NO_CHECK_TIME
    _load(made, mine)
    if server:
        # A ticket would be a second way in, and is of no use to a line that is opened once.
        made.num_tickets = 0
    return made


def _load(made: ssl.SSLContext, mine: Certificate) -> None:
    """Give the context its key, which the library takes from files only."""
    if hasattr(os, "memfd_create"):
        held = os.memfd_create("certificate", os.MFD_CLOEXEC)
        try:
            os.write(held, mine.certificate + mine.key)
            made.load_cert_chain(f"/proc/self/fd/{held}")
        finally:
            os.close(held)
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "certificate.pem")
        file.touch(mode=0o600)
        file.write_bytes(mine.certificate + mine.key)
        made.load_cert_chain(file)


class Inner:
    """A line inside a stream.

    Made by :func:`agree`. One task may read and one may write at a time.
    """

    def __init__(self, stream: Stream, settings: ssl.SSLContext, *, server: bool) -> None:
        self._stream = stream
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = settings.wrap_bio(self._in, self._out, server_side=server)
        self._ready: deque[bytes] = deque()
        self._flushing = asyncio.Lock()
        self._ended = self._finished = False

    @property
    def over(self) -> bool:
        """Whether it is lost, or has ended in both directions."""
        return (self._ended and self._finished) or self._stream.over

    async def handshake(self) -> None:
        """Agree on keys.

        Raises:
            Unreachable: the other end is not the one that was named, or broke off.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._feed()
            except ssl.SSLError as error:
                await self._flush()
                raise Unreachable("the other end of the forward is not the one that was named") from error
            else:
                await self._flush()
                return

    async def read(self) -> bytes:
        """Return the next bytes; ``b""`` once the other end has finished.

        Raises:
            Unreachable: the line was cut off, or what came was not from the other end.
        """
        while not self._ready and not self._ended:
            self._decrypt()
            if not self._ready and not self._ended:
                await self._feed()
        return self._ready.popleft() if self._ready else b""

    async def write(self, data: bytes) -> None:
        """Send ``data``.

        Raises:
            Unreachable: the line is lost, or was finished here.
        """
        if self._finished:
            raise Unreachable("the line is finished")
        try:
            if data:
                self._tls.write(data)
        except ssl.SSLError as error:
            raise Unreachable("the line is lost") from error
        await self._flush()

    async def close_write(self) -> None:
        """Say that no more will be written; reading goes on."""
        self._finished = True
        # What has come must be taken out first: the library drops it where it says goodbye.
        self._decrypt()
        with contextlib.suppress(ssl.SSLError):
            # It lacks the other end's goodbye, which comes when it comes.
            self._tls.unwrap()
        await self._flush()
        await self._stream.close_write()

    async def reset(self, code: str) -> None:
        """End it in both directions."""
        await self._stream.reset(code)

    async def wait_lost(self) -> None:
        """Return once the stream is lost."""
        await self._stream.wait_lost()

    def _decrypt(self) -> None:
        try:
            while True:
                data = self._tls.read(_CHUNK)
                if not data:
                    self._ended = True
                    return
                self._ready.append(data)
        except ssl.SSLWantReadError:
            return
        except ssl.SSLZeroReturnError:
            self._ended = True
        except ssl.SSLError as error:
            raise Unreachable("what came over the forward is not from its other end") from error

    async def _feed(self) -> None:
        data = await self._stream.read()
        if not data:
            raise Unreachable("the forward was cut off")
        self._in.write(data)

    async def _flush(self) -> None:
        async with self._flushing:
            data = self._out.read()
            if data:
                await self._stream.write(data)


async def agree(stream: Stream, settings: ssl.SSLContext, *, server: bool) -> Inner:
    """Return the line inside ``stream``, once both ends have shown who they are.

    Raises:
        Unreachable: the other end is not the one that was named, or took too long.
    """
    line = Inner(stream, settings, server=server)
    async with within(stream.clock, HANDSHAKE_SECONDS, "agreeing on keys"):
        await line.handshake()
    return line
