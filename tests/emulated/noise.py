"""What a broken or hostile peer sends: frames, mostly lawful, some bent, cut anywhere.

Read by the frame fuzzers. Everything comes from one seed, so that what failed can be sent again.
"""

import json
from collections.abc import Iterator
from random import Random
from typing import Final

from byoc.errors import Unreachable
from byoc.nimbus.session import MAX_CONTROL, MAX_STREAMS, MAX_UNREAD, Opened, Received, Session
from byoc.wire.frames import HEADER, MAX_PAYLOAD, FrameType

_CHUNK: Final = 256 * 1024
_WORDS: Final = ("cell", "controlplane", "", "cell/../x", "\x00", "é" * 200, "a" * 5000)


class Noise:
    """An endless line of frames.

    Args:
        seed: the same one gives the same line.
    """

    def __init__(self, seed: int) -> None:
        self._rng = Random(seed)  # noqa: S311 - noise is no secret
        self._next_id = 1

    def frame(self) -> bytes:
        """Return one frame; about one in thirty breaks a rule of its own."""
        rng = self._rng
        kind = rng.choice((*FrameType, FrameType.DATA, FrameType.DATA, FrameType.OPEN, FrameType.OPEN))
        data = HEADER.pack(self._stream(kind), kind << 24 | len(body := self._payload(kind))) + body
        return self._bend(data) if rng.random() < 1 / 30 else data

    def _stream(self, kind: FrameType) -> int:
        if kind >= FrameType.PING:
            return 0
        if kind is FrameType.OPEN:
            self._next_id += 2
            return self._next_id
        # Nearly always one that is open, or was.
        return self._rng.randrange(1, self._next_id + 3) | 1

    def _payload(self, kind: FrameType) -> bytes:
        rng = self._rng
        if kind is FrameType.DATA:
            return rng.randbytes(rng.choice((0, 1, 100, 1000, MAX_PAYLOAD)))
        if kind is FrameType.WINDOW:
            return rng.choice((0, 1, 1000, 2**20, 2**32 - 1)).to_bytes(4, "big")
        if kind in {FrameType.PING, FrameType.PONG}:
            return rng.randbytes(8)
        if kind in {FrameType.OPEN_OK, FrameType.FIN, FrameType.RST}:
            return rng.randbytes(rng.choice((0, 0, 5)))
        return json.dumps(self._members()).encode()

    def _members(self) -> object:
        rng = self._rng
        word = rng.choice(_WORDS)
        return rng.choice((
            {"service": word},
            {"service": word, "more": [word] * 3},
            {"reason": word, "drainSeconds": rng.choice((0, -1, 1e300, 5, word, None))},
            {"code": word, "message": word},
            {"service": 5},
        ))  # fmt: skip

    def _bend(self, data: bytes) -> bytes:
        rng = self._rng
        how = rng.randrange(4)
        if how == 0:
            return data[: rng.randrange(len(data))]
        if how == 1:
            return data + rng.randbytes(rng.randrange(20))
        bent = bytearray(data)
        bent[rng.randrange(min(len(bent), HEADER.size if how == 2 else len(bent)))] = rng.randrange(256)
        return bytes(bent)

    def chunks(self, frames: int) -> Iterator[bytes]:
        """Yield ``frames`` frames as a line would: cut anywhere, several in one."""
        rng, held = self._rng, bytearray()
        for _ in range(frames):
            held += self.frame()
            while len(held) > _CHUNK or (held and rng.random() < 0.5):
                size = rng.randrange(1, len(held) + 1)
                yield bytes(held[:size])
                del held[:size]
        yield bytes(held)


def survive(seed: int, frames: int) -> int:
    """Feed ``frames`` frames of noise to one session after the other; return how many ended by it.

    An owner that accepts half of the streams and reads half of what comes stands behind each session.

    Raises:
        AssertionError: a session grew beyond its limits. Whatever else a session raises, it raises.
    """
    noise, rng, ended = Noise(seed), Random(seed), 0  # noqa: S311 - noise is no secret
    session, now = _session(), 0.0
    for chunk in noise.chunks(frames):
        now += 0.001
        try:
            for event in session.receive(chunk, now):
                if isinstance(event, Opened) and rng.random() < 0.5:
                    session.accept(event.stream)
                    session.write(event.stream, b"x" * 100)
                elif isinstance(event, Received) and rng.random() < 0.5:
                    session.consumed(event.stream, len(event.data))
        except Unreachable:
            ended += 1
            session, noise._next_id = _session(), 1
        _check(session)
        if rng.random() < 0.5:
            session.output()
    return ended


def _session() -> Session:
    session = Session(first_id=2, now=0)
    session.streams_allowed = True
    return session


def _check(session: Session) -> None:
    assert session._decoder.held <= HEADER.size + MAX_PAYLOAD
    assert 0 <= session._unread <= MAX_UNREAD
    assert session._peer_streams <= MAX_STREAMS
    assert len(session._flows) <= MAX_STREAMS
    assert session._control_size <= MAX_CONTROL
    assert set(session._turns) <= set(session._flows)
