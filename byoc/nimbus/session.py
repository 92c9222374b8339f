"""The multiplexer: many streams over one line of bytes, without I/O.

Driven by ``connection``: bytes come in by ``receive``, which returns events; bytes to send
come out by ``output``; time comes in by ``tick``. Symmetric: the gateway opens odd stream
ids, its peer even ones, and an id is never used twice.

Invariants: a peer never has more than ``CREDIT`` unread bytes on a stream here, and credit
returns only when the *reader* has taken the bytes, so a slow reader stops its own writer and
nobody else. What waits to be sent stays with its writer; ``output`` takes at most one
batch at a time, control frames first, then the streams in turn. What is wrong with one
stream ends that stream (RST); only a peer that breaks the protocol ends the tunnel.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Final

from byoc.errors import Unreachable
from byoc.wire import frames
from byoc.wire.frames import MAX_STREAM_ID, Frame, FrameType

CREDIT: Final = 1024 * 1024
"""Bytes that may be under way to one stream's reader."""
BATCH: Final = 64 * 1024
"""Bytes taken from the streams for one write of the transport, headers not counted."""
TURN: Final = 16 * 1024
"""Bytes of one stream before it is the next one's turn."""
MAX_STREAMS: Final = 1024
MAX_UNREAD: Final = 32 * 1024 * 1024
"""Unread bytes over all streams; where it is passed, the stream that has most of them is reset."""
MAX_CONTROL: Final = 256 * 1024
"""Bytes of control frames waiting for a peer that makes us answer and does not read."""
IDLE: Final = 10.0
"""Seconds of silence after which the peer is asked whether it lives."""
DEADLINE: Final = 20.0
"""Seconds it then has to send anything at all."""
_MAX_CODE: Final = 100
_LONGEST_DRAIN: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Opened:
    """The peer opened a stream; answer with ``accept`` or ``reject``."""

    stream: int
    service: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """The peer accepted a stream opened here."""

    stream: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """The peer opened no stream; it is over."""

    stream: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Received:
    """Bytes for the reader of a stream; report with ``consumed`` once they were taken."""

    stream: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Finished:
    """The peer writes no more on this stream."""

    stream: int


@dataclass(frozen=True, slots=True)
class WasReset:
    """The stream is over, by the peer or because the peer broke the stream's rules."""

    stream: int
    code: str


@dataclass(frozen=True, slots=True)
class GoingAway:
    """The peer asks that no new streams be opened here."""

    reason: str
    drain_seconds: float


@dataclass(frozen=True, slots=True)
class Message:
    """A message of the handshake."""

    frame: Frame


Event = Opened | Accepted | Rejected | Received | Finished | WasReset | GoingAway | Message


@dataclass(frozen=True, slots=True)
class Output:
    """Bytes to send now, and the streams whose writers have nothing left waiting."""

    data: bytes
    drained: tuple[int, ...] = ()


@dataclass(slots=True)
class _Flow:
    """One stream's state. ``may_send`` is our credit, ``may_receive`` what we granted."""

    may_send: int = CREDIT
    may_receive: int = CREDIT
    unread: int = 0
    waiting: deque[memoryview] = field(default_factory=deque)
    finishing: bool = False
    finished: bool = False
    peer_finished: bool = False


class Session:
    """One end of a tunnel.

    Args:
        first_id: 1 for the gateway, 2 for its peer.
        now: monotonic seconds.
        max_streams: streams that the peer may have open at once.
    """

    def __init__(self, *, first_id: int, now: float, max_streams: int = MAX_STREAMS) -> None:
        self._next_id = first_id
        self._parity = first_id % 2
        self._last_peer_id = 0
        self._peer_streams = 0
        self._decoder = frames.Decoder()
        self._flows: dict[int, _Flow] = {}
        self._control: deque[bytes] = deque()
        self._control_size = 0
        self._turns: OrderedDict[int, None] = OrderedDict()
        self._unread = 0
        self._last_heard = now
        self._asked_at: float | None = None
        self.max_streams = max_streams
        self.streams_allowed = False
        """Whether the peer may open streams: not before it has logged in."""
        self.going_away = False
        self.peer_going_away = False

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return len(self._flows)

    # --- what the owner does -------------------------------------------------------------

    def open(self, service: str) -> int:
        """Ask for a stream to ``service`` and return its id.

        Raises:
            Unreachable: the tunnel is being drained or its ids are used up.
        """
        if self.going_away or self.peer_going_away:
            raise Unreachable("the tunnel is being drained")
        if self._next_id > MAX_STREAM_ID:
            self.peer_going_away = True
            raise Unreachable("the tunnel has used up its stream ids")
        stream, self._next_id = self._next_id, self._next_id + 2
        self._flows[stream] = _Flow()
        self._send(frames.message(FrameType.OPEN, {"service": service}, stream))
        return stream

    def accept(self, stream: int) -> None:
        """Answer yes to an ``Opened``."""
        if stream in self._flows:
            self._send(Frame(FrameType.OPEN_OK, stream))

    def reject(self, stream: int, code: str, message: str = "") -> None:
        """Answer no to an ``Opened``; the stream is over."""
        if self._forget(stream):
            members = {"code": code[:_MAX_CODE], "message": message[:1000]}
            self._send(frames.message(FrameType.OPEN_ERR, members, stream))

    def write(self, stream: int, data: bytes) -> bool:
        """Have ``data`` wait for its turn; False if the stream is over or finished here."""
        flow = self._flows.get(stream)
        if flow is None or flow.finishing:
            return False
        if data:
            flow.waiting.append(memoryview(data))
            self._turns[stream] = None
        return True

    def finish(self, stream: int) -> None:
        """Write no more on ``stream``, after what waits was sent."""
        flow = self._flows.get(stream)
        if flow is not None and not flow.finishing:
            flow.finishing = True
            self._turns[stream] = None

    def reset(self, stream: int, code: str) -> None:
        """End ``stream`` in both directions; what waits is dropped."""
        if self._forget(stream):
            self._send(Frame(FrameType.RST, stream, code[:_MAX_CODE].encode()))

    def consumed(self, stream: int, size: int) -> None:
        """Say that the reader took ``size`` bytes; credit returns when half of it was used."""
        flow = self._flows.get(stream)
        if flow is None:
            return
        flow.unread -= size
        self._unread -= size
        granted = CREDIT - flow.unread - flow.may_receive
        if granted * 2 >= CREDIT and not flow.peer_finished:
            flow.may_receive += granted
            self._send(frames.window(stream, granted))

    def send_message(self, kind: FrameType, members: dict[str, object]) -> None:
        """Send a message of the handshake."""
        self._send(frames.message(kind, members))

    def go_away(self, reason: str, drain_seconds: float) -> None:
        """Ask the peer to open no new streams here; later ones are rejected."""
        if not self.going_away:
            self.going_away = True
            members = {"reason": reason, "drainSeconds": drain_seconds}
            self._send(frames.message(FrameType.GOAWAY, members))

    # --- bytes out -----------------------------------------------------------------------

    def output(self) -> Output:
        """Take what may be sent now: all control frames, then up to ``BATCH`` of the streams."""
        parts = list(self._control)
        self._control.clear()
        self._control_size = 0
        room, drained = BATCH, []
        while self._turns and room > 0:
            stream, _ = self._turns.popitem(last=False)
            flow = self._flows[stream]
            size = self._take(parts, stream, flow, min(TURN, room))
            room -= size
            if flow.waiting and flow.may_send > 0:
                self._turns[stream] = None
            elif not flow.waiting:
                drained.append(stream)
                self._finish_if_asked(parts, stream, flow)
        return Output(b"".join(parts), tuple(drained))

    def _take(self, parts: list[bytes], stream: int, flow: _Flow, limit: int) -> int:
        chunks, size = [], 0
        limit = min(limit, flow.may_send)
        while flow.waiting and size < limit:
            head = flow.waiting.popleft()
            if len(head) > limit - size:
                head, rest = head[: limit - size], head[limit - size :]
                flow.waiting.appendleft(rest)
            chunks.append(head)
            size += len(head)
        flow.may_send -= size
        if size:
            parts.append(frames.encode(Frame(FrameType.DATA, stream, b"".join(chunks))))
        return size

    def _finish_if_asked(self, parts: list[bytes], stream: int, flow: _Flow) -> None:
        if flow.finishing and not flow.finished:
            flow.finished = True
            parts.append(frames.encode(Frame(FrameType.FIN, stream)))
            if flow.peer_finished:
                self._forget(stream)

    def _send(self, frame: Frame) -> None:
        data = frames.encode(frame)
        self._control.append(data)
        self._control_size += len(data)

    # --- bytes in ------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Take bytes of the peer and return what happened.

        Raises:
            Unreachable: the peer broke the protocol; the tunnel must be closed.
        """
        self._last_heard, self._asked_at = now, None
        events: list[Event] = []
        for frame in self._decoder.feed(data):
            events += self._on_frame(frame)
        if self._control_size > MAX_CONTROL:
            raise frames.broken("it makes us answer without reading the answers")
        return events

    def _on_frame(self, frame: Frame) -> list[Event]:
        if frame.stream:
            return self._on_stream_frame(frame)
        if frame.kind is FrameType.PING:
            if len(frame.payload) > 8:  # noqa: PLR2004 - the size of a ping
                raise frames.broken("a long PING")
            self._send(Frame(FrameType.PONG, 0, frame.payload))
        elif frame.kind is FrameType.GOAWAY:
            self.peer_going_away = True
            members = frames.members(frame)
            drain = members.get("drainSeconds")
            seconds = float(drain) if isinstance(drain, int | float) and 0 <= drain <= _LONGEST_DRAIN else 0.0
            return [GoingAway(str(members.get("reason", ""))[:_MAX_CODE], seconds)]
        elif frame.kind in frames.MESSAGES:
            return [Message(frame)]
        return []

    def _on_stream_frame(self, frame: Frame) -> list[Event]:
        if frame.kind is FrameType.OPEN:
            return self._on_open(frame)
        flow = self._flows.get(frame.stream)
        if flow is None:
            self._check_was_open(frame.stream)
            return []
        return self._ON[frame.kind](self, frame, flow)

    def _on_open(self, frame: Frame) -> list[Event]:
        if not self.streams_allowed:
            raise frames.broken("a stream before login")
        if frame.stream % 2 == self._parity or frame.stream <= self._last_peer_id:
            raise frames.broken(f"stream id {frame.stream} opened out of order")
        self._last_peer_id = frame.stream
        service = frames.members(frame).get("service")
        self._flows[frame.stream] = _Flow()
        self._peer_streams += 1
        if not isinstance(service, str):
            self.reject(frame.stream, "bad-open", "OPEN without a service")
        elif self.going_away:
            self.reject(frame.stream, "going-away", "the tunnel is being drained")
        elif self._peer_streams > self.max_streams:
            self.reject(frame.stream, "too-many-streams", f"at most {self.max_streams} at once")
        else:
            return [Opened(frame.stream, service)]
        return []

    def _on_data(self, frame: Frame, flow: _Flow) -> list[Event]:
        size = len(frame.payload)
        fault = (
            "data-after-fin" if flow.peer_finished
            else "flow-control" if size > flow.may_receive
            else ""
        )  # fmt: skip
        if fault:
            self.reset(frame.stream, fault)
            return [WasReset(frame.stream, fault)]
        flow.may_receive -= size
        flow.unread += size
        self._unread += size
        events: list[Event] = [Received(frame.stream, frame.payload)] if size else []
        return events + self._relieve()

    def _relieve(self) -> list[Event]:
        """Where all readers together are too far behind, give up the one that is furthest."""
        if self._unread <= MAX_UNREAD:
            return []
        slowest = max(reversed(self._flows), key=lambda stream: self._flows[stream].unread)
        self.reset(slowest, "overloaded")
        return [WasReset(slowest, "overloaded")]

    def _on_window(self, frame: Frame, flow: _Flow) -> list[Event]:
        flow.may_send += frames.credit(frame)
        if flow.may_send > CREDIT:
            self.reset(frame.stream, "flow-control")
            return [WasReset(frame.stream, "flow-control")]
        if flow.waiting:
            self._turns[frame.stream] = None
        return []

    def _on_finish(self, frame: Frame, flow: _Flow) -> list[Event]:
        stream = frame.stream
        if flow.peer_finished:
            self.reset(stream, "data-after-fin")
            return [WasReset(stream, "data-after-fin")]
        flow.peer_finished = True
        if flow.finished:
            self._forget(stream)
        return [Finished(stream)]

    def _on_accepted(self, frame: Frame, _flow: _Flow) -> list[Event]:
        return [Accepted(frame.stream)]

    def _on_rejected(self, frame: Frame, _flow: _Flow) -> list[Event]:
        self._forget(frame.stream)
        members = frames.members(frame)
        return [Rejected(frame.stream, str(members.get("code", "")), str(members.get("message", "")))]

    def _on_reset(self, frame: Frame, _flow: _Flow) -> list[Event]:
        self._forget(frame.stream)
        return [WasReset(frame.stream, frame.payload[:_MAX_CODE].decode("utf-8", "replace"))]

    _ON: ClassVar[dict[FrameType, Callable[["Session", Frame, _Flow], list[Event]]]] = {
        FrameType.DATA: _on_data,
        FrameType.WINDOW: _on_window,
        FrameType.FIN: _on_finish,
        FrameType.RST: _on_reset,
        FrameType.OPEN_OK: _on_accepted,
        FrameType.OPEN_ERR: _on_rejected,
    }

    def _check_was_open(self, stream: int) -> None:
        # Frames may cross an RST on the way; only ids that never were open are a fault.
        ours = stream % 2 == self._parity
        if (ours and stream >= self._next_id) or (not ours and stream > self._last_peer_id):
            raise frames.broken(f"a frame for stream {stream}, which was never opened")

    def _forget(self, stream: int) -> bool:
        flow = self._flows.pop(stream, None)
        if flow is None:
            return False
        self._turns.pop(stream, None)
        self._unread -= flow.unread
        if stream % 2 != self._parity:
            self._peer_streams -= 1
        return True

    # --- time ----------------------------------------------------------------------------

    def next_deadline(self) -> float:
        """Return when ``tick`` has something to do, if nothing is heard until then."""
        return self._last_heard + IDLE if self._asked_at is None else self._asked_at + DEADLINE

    def tick(self, now: float) -> None:
        """Ask a silent peer whether it lives.

        Raises:
            Unreachable: it has not sent a byte since it was asked ``DEADLINE`` seconds ago.
        """
        if self._asked_at is not None:
            if now - self._asked_at >= DEADLINE:
                raise Unreachable(f"the other end of the tunnel is silent for {IDLE + DEADLINE:.0f} seconds")
        elif now - self._last_heard >= IDLE:
            self._asked_at = now
            self._send(Frame(FrameType.PING, 0, int(now).to_bytes(8, "big")))
