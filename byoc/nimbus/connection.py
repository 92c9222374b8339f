"""One tunnel: drives a ``Session`` over a ``Transport`` and hands out its streams.

Used alike by ``gateway`` and ``client``. Three tasks per tunnel (read, write, liveness) and
one per stream that the peer opens. Whatever a stream's handler raises becomes a reset of
that stream; only a broken line, a silent peer or a broken protocol ends the tunnel.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final

from byoc import log
from byoc.clock import Clock
from byoc.errors import Unreachable
from byoc.nimbus import session as mux
from byoc.nimbus.deadline import within
from byoc.nimbus.session import MAX_STREAMS, Event, Session
from byoc.nimbus.stream import Stream, refusal
from byoc.nimbus.transport import Transport
from byoc.wire import frames
from byoc.wire.frames import Frame, FrameType

Handler = Callable[[Stream], Awaitable[None]]
"""Serves one stream that the peer opened: accepts or rejects it, then reads and writes."""

_LOG: Final = log.get(__name__)
_FLUSH_SECONDS: Final = 1.0
_MAX_MESSAGES: Final = 8


class Connection:
    """One tunnel session, the same at both ends.

    Args:
        transport: the line; closed when the tunnel ends.
        first_id: 1 at the gateway, 2 at its peer.
        clock: of all waiting.
        max_streams: streams that the peer may have open at once.
    """

    def __init__(
        self, transport: Transport, *, first_id: int, clock: Clock, max_streams: int = MAX_STREAMS
    ) -> None:
        self.clock = clock
        self.reason = ""
        """Why the tunnel ended, once it has."""
        self.going_away = asyncio.Event()
        """Set once the peer asked for no new streams, or the tunnel ended."""
        self._transport = transport
        self._session = Session(first_id=first_id, now=clock.monotonic(), max_streams=max_streams)
        self._streams: dict[int, Stream] = {}
        self._handlers: set[asyncio.Task[None]] = set()
        self._messages: asyncio.Queue[Frame | None] = asyncio.Queue()
        self._wake = asyncio.Event()
        self._ending = asyncio.Event()
        self._ended = asyncio.Event()
        self._quiet = asyncio.Event()
        self._handler: Handler | None = None

    @property
    def peer(self) -> str:
        """The other end's address, for logs."""
        return self._transport.peer

    @property
    def closed(self) -> bool:
        """Whether the tunnel is ending or has ended."""
        return self._ending.is_set()

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return self._session.streams

    # --- for those who use the tunnel ----------------------------------------------------

    async def run(self, handler: Handler) -> None:
        """Carry the tunnel until it ends, whatever the cause; ``reason`` says which.

        Args:
            handler: serves each stream that the peer opens.
        """
        self._handler = handler
        try:
            await self._carry()
            # What a handler has begun it may end: only its stream is gone.
            while self._handlers:
                await asyncio.wait(self._handlers)
        finally:
            await _cancel(self._handlers)

    async def _carry(self) -> None:
        writer = asyncio.create_task(self._write())
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(self._read()),
            writer,
            asyncio.create_task(self._watch()),
            asyncio.create_task(self._ending.wait()),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            self._note_end(tasks)
            with contextlib.suppress(Unreachable):
                async with within(self.clock, _FLUSH_SECONDS, "the last frames"):
                    await asyncio.wait([writer])
        finally:
            self._end_streams()
            await _cancel(tasks)
            await self._transport.close()
            self._ended.set()

    async def open(self, service: str, *, timeout: float) -> Stream:  # noqa: ASYNC109 - on our own clock
        """Open a stream to ``service`` and wait until the other end accepts.

        Raises:
            CellAway: a gateway answered that the cell is not connected.
            Unreachable: the tunnel is gone, or the other end refused or did not answer in
                ``timeout`` seconds.
        """
        if self.closed:
            raise Unreachable(f"the tunnel is closed: {self.reason}")
        number = self._session.open(service)
        stream = self._streams[number] = Stream(self, number, service)
        answer = stream.expect_answer()
        self._kick()
        try:
            async with within(self.clock, timeout, f"opening {service}"):
                await answer
        except BaseException:
            await stream.reset("cancelled")
            raise
        return stream

    def allow_streams(self, most: int = MAX_STREAMS) -> None:
        """Let the peer open streams: it has logged in."""
        self._session.streams_allowed = True
        self._session.max_streams = most

    def send_message(self, kind: FrameType, members: Mapping[str, Any]) -> None:
        """Send a message of the handshake."""
        self._session.send_message(kind, dict(members))
        self._kick()

    async def message(self, *, timeout: float | None = None) -> Frame:  # noqa: ASYNC109 - on our own clock
        """Return the peer's next message of the handshake; None waits as long as the tunnel lives.

        Raises:
            Unreachable: the tunnel ended, or no message came within ``timeout`` seconds.
        """
        if timeout is None:
            frame = await self._messages.get()
        else:
            async with within(self.clock, timeout, "the handshake"):
                frame = await self._messages.get()
        if frame is None:
            self._messages.put_nowait(None)
            raise Unreachable(f"the tunnel is closed: {self.reason}")
        return frame

    def end(self, reason: str) -> None:
        """Begin to end the tunnel, telling the peer ``reason``; does not wait."""
        if not self.closed:
            self.reason = reason
            self._session.go_away(reason, 0.0)
            self._ending.set()
            self.going_away.set()
            self._kick()

    async def close(self, reason: str) -> None:
        """End the tunnel and wait until its line is closed."""
        self.end(reason)
        if self._handler is None:
            await self._transport.close()
        else:
            await self._ended.wait()

    async def wait_ending(self) -> None:
        """Return once the tunnel is ending: from then on it is of no use."""
        await self._ending.wait()

    async def drain(self, reason: str, seconds: float) -> None:
        """Take no new streams, let those open finish for at most ``seconds``, then close."""
        self._session.go_away(reason, seconds)
        self._kick()
        with contextlib.suppress(Unreachable):
            async with within(self.clock, seconds, "draining"):
                await self._quiet.wait()
        await self.close(reason)

    # --- for streams (see ``stream.Port``) -----------------------------------------------

    def accept(self, stream: int) -> None:
        """Answer yes to the peer's stream."""
        self._session.accept(stream)
        self._kick()

    def reject(self, stream: int, code: str, message: str) -> None:
        """Answer no to the peer's stream."""
        self._session.reject(stream, code, message)
        self._streams.pop(stream, None)
        self._kick()

    def write(self, stream: int, data: bytes) -> bool:
        """Queue ``data``; False if the stream is over."""
        taken = self._session.write(stream, data)
        self._kick()
        return taken

    def finish(self, stream: int) -> None:
        """Finish writing."""
        self._session.finish(stream)
        self._forget_if_over(stream)
        self._kick()

    def reset(self, stream: int, code: str) -> None:
        """End a stream in both directions."""
        self._session.reset(stream, code)
        self._streams.pop(stream, None)
        self._kick()

    def consumed(self, stream: int, size: int) -> None:
        """Return credit for bytes that were read."""
        self._session.consumed(stream, size)
        self._kick()

    # --- the three tasks -----------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            data = await self._transport.recv()
            for event in self._session.receive(data, self.clock.monotonic()):
                self._on_event(event)
            self._kick()

    async def _write(self) -> None:
        while True:
            output = self._session.output()
            if output.data:
                await self._transport.send(output.data)
            for number in output.drained:
                if number in self._streams:
                    self._streams[number].drained()
            if not output.data:
                if self.closed:
                    return
                self._note_quiet()
                self._wake.clear()
                await self._wake.wait()

    async def _watch(self) -> None:
        while True:
            now = self.clock.monotonic()
            wait = self._session.next_deadline() - now
            if wait > 0:
                await self.clock.sleep(wait)
            else:
                self._session.tick(now)
                self._kick()

    def _kick(self) -> None:
        self._wake.set()
        self._note_quiet()

    def _note_quiet(self) -> None:
        if self._session.streams:
            self._quiet.clear()
        else:
            self._quiet.set()

    # --- events --------------------------------------------------------------------------

    def _on_event(self, event: Event) -> None:
        if isinstance(event, mux.Opened):
            self._start_handler(event)
        elif isinstance(event, mux.Message):
            if self._messages.qsize() >= _MAX_MESSAGES:
                raise frames.broken("too many messages of the handshake")
            self._messages.put_nowait(event.frame)
        elif isinstance(event, mux.GoingAway):
            self.reason = self.reason or event.reason
            self.going_away.set()
        elif (stream := self._streams.get(event.stream)) is not None:
            self._on_stream_event(stream, event)

    def _on_stream_event(self, stream: Stream, event: Event) -> None:
        if isinstance(event, mux.Received):
            stream.feed(event.data)
        elif isinstance(event, mux.Finished):
            stream.feed_eof()
            self._forget_if_over(event.stream)
        elif isinstance(event, mux.Accepted):
            stream.accepted()
        elif isinstance(event, mux.Rejected):
            self._streams.pop(event.stream)
            stream.end(refusal(stream.service, event.code, event.message))
        elif isinstance(event, mux.WasReset):
            self._streams.pop(event.stream)
            stream.end(refusal(stream.service, event.code, f"the stream was reset: {event.code}"))

    def _start_handler(self, event: mux.Opened) -> None:
        stream = self._streams[event.stream] = Stream(self, event.stream, event.service)
        task = asyncio.create_task(self._serve(stream))
        self._handlers.add(task)
        task.add_done_callback(self._handlers.discard)

    async def _serve(self, stream: Stream) -> None:
        handler = self._handler
        if handler is None:
            return
        try:
            await handler(stream)
        except Unreachable as error:
            _LOG.debug("stream ended early", service=stream.service, reason=error.message)
            await stream.reset("failed")
        except Exception as error:  # noqa: BLE001 - any fault of a stream is that stream's alone
            _LOG.warning("stream failed", service=stream.service, error=repr(error))
            await stream.reset("failed")
        else:
            await _leave(stream)

    def _forget_if_over(self, number: int) -> None:
        stream = self._streams.get(number)
        if stream is not None and stream.over:
            del self._streams[number]

    # --- the end -------------------------------------------------------------------------

    def _note_end(self, tasks: list[asyncio.Task[Any]]) -> None:
        for task in tasks:
            error = task.exception() if task.done() and not task.cancelled() else None
            if error is not None:
                self.reason = self.reason or str(error)
                if not isinstance(error, Unreachable):
                    _LOG.error("tunnel failed", peer=self.peer, error=repr(error))
        self._ending.set()
        self.going_away.set()
        self._wake.set()

    def _end_streams(self) -> None:
        self._ending.set()
        self.going_away.set()
        reason = self.reason or "closed"
        for stream in list(self._streams.values()):
            stream.end(Unreachable(f"the tunnel broke off: {reason}"))
        self._streams.clear()
        self._messages.put_nowait(None)


async def _leave(stream: Stream) -> None:
    if stream.over:
        return
    if stream.answered:
        await stream.close_write()
        await stream.discard()
    else:
        await stream.reject("unanswered", "the service did not answer")


async def _cancel(tasks: Collection[asyncio.Task[Any]]) -> None:
    leftovers = list(tasks)
    for task in leftovers:
        task.cancel()
    await asyncio.gather(*leftovers, return_exceptions=True)
