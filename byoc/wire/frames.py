"""Frames of the tunnel, protocol nimbus/1, without I/O.

A frame is an 8-byte header ``!II`` (stream id; type in the high byte, payload length in
the low 24 bits) and a payload. Used by ``byoc.nimbus.session`` alone.

========  ==========  =======  =====================================================
type      on stream   payload
========  ==========  =======  =====================================================
OPEN      > 0         JSON     ``{service}``; unknown members are ignored
OPEN_OK   > 0         none     the service was opened
OPEN_ERR  > 0         JSON     ``{code, message}``; the stream is over
DATA      > 0         bytes    counts against the receiver's credit
WINDOW    > 0         4 bytes  that many more bytes may be sent on the stream
FIN       > 0         none     the sender writes no more; the other direction goes on
RST       > 0         text     a code; the stream is over in both directions
PING      0           8 bytes  answered by PONG with the same payload
PONG      0           8 bytes
GOAWAY    0           JSON     ``{reason, drainSeconds}``; open no new streams here
CHALLENGE, LOGIN, ENROL, LOGIN_OK, LOGIN_ERR, RELOGIN: on 0, JSON, see ``nimbus.handshake``
========  ==========  =======  =====================================================

Invariant: a decoder holds at most one incomplete frame, and no frame is longer than
``MAX_PAYLOAD``. Unknown types below 0x80 are dropped, so that a later version may add
frames that may be ignored; others end the tunnel.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from byoc.errors import Unreachable

HEADER: Final = struct.Struct("!II")
MAX_PAYLOAD: Final = 64 * 1024
"""Bytes of payload in one frame at most, in either direction."""
MAX_STREAM_ID: Final = 2**31 - 1
_MUST_UNDERSTAND: Final = 0x80
_U32: Final = struct.Struct("!I")


class FrameType(IntEnum):
    """Every type there is in nimbus/1."""

    OPEN = 0x01
    OPEN_OK = 0x02
    OPEN_ERR = 0x03
    DATA = 0x04
    WINDOW = 0x05
    FIN = 0x06
    RST = 0x07
    PING = 0x08
    PONG = 0x09
    GOAWAY = 0x0A
    CHALLENGE = 0x10
    LOGIN = 0x11
    ENROL = 0x12
    LOGIN_OK = 0x13
    LOGIN_ERR = 0x14
    RELOGIN = 0x15


MESSAGES: Final = frozenset(kind for kind in FrameType if kind >= FrameType.CHALLENGE)
"""Types of the handshake."""
_CONNECTION_WIDE: Final = MESSAGES | {FrameType.PING, FrameType.PONG, FrameType.GOAWAY}


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame."""

    kind: FrameType
    stream: int = 0
    payload: bytes = b""


def encode(frame: Frame) -> bytes:
    """Return the bytes of ``frame``.

    Raises:
        ValueError: the payload is too long or the stream id is out of range.
    """
    size = len(frame.payload)
    if size > MAX_PAYLOAD or not 0 <= frame.stream <= MAX_STREAM_ID:
        message = f"a {frame.kind.name} frame of {size} bytes on stream {frame.stream} cannot be sent"
        raise ValueError(message)
    return HEADER.pack(frame.stream, frame.kind << 24 | size) + frame.payload


class Decoder:
    """Turns chunks of bytes, cut anywhere, into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def held(self) -> int:
        """Bytes of the incomplete frame at the end."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that ``data`` completes.

        Raises:
            Unreachable: the peer does not speak this protocol; the tunnel must be closed.
        """
        buffer = self._buffer
        buffer += data
        frames: list[Frame] = []
        offset = 0
        while len(buffer) - offset >= HEADER.size:
            stream, word = HEADER.unpack_from(buffer, offset)
            code, size = word >> 24, word & 0xFFFFFF
            _check_header(code, stream, size)
            end = offset + HEADER.size + size
            if len(buffer) < end:
                break
            if code in _KNOWN:
                frames.append(Frame(_KNOWN[code], stream, bytes(buffer[offset + HEADER.size : end])))
            offset = end
        del buffer[:offset]
        return frames


_KNOWN: Final = {int(kind): kind for kind in FrameType}


def _check_header(code: int, stream: int, size: int) -> None:
    if size > MAX_PAYLOAD:
        raise broken(f"a frame of {size} bytes")
    if stream > MAX_STREAM_ID:
        raise broken(f"stream id {stream}")
    kind = _KNOWN.get(code)
    if kind is None:
        if code >= _MUST_UNDERSTAND:
            raise broken(f"a frame of unknown type 0x{code:02x}")
    elif (stream == 0) is not (kind in _CONNECTION_WIDE):
        raise broken(f"{kind.name} on stream {stream}")


def broken(what: str) -> Unreachable:
    """Return the error for a peer that broke the protocol by ``what``."""
    return Unreachable(f"the other end broke the tunnel protocol: {what}")


def message(kind: FrameType, members: Mapping[str, Any], stream: int = 0) -> Frame:
    """Return a frame that carries a JSON object.

    Raises:
        ValueError: the object does not fit a frame.
    """
    payload = json.dumps(members, separators=(",", ":")).encode()
    if len(payload) > MAX_PAYLOAD:
        text = f"a {kind.name} message of {len(payload)} bytes cannot be sent"
        raise ValueError(text)
    return Frame(kind, stream, payload)


def members(frame: Frame) -> dict[str, Any]:
    """Return the JSON object that ``frame`` carries.

    Raises:
        Unreachable: it carries something else.
    """
    try:
        value = json.loads(frame.payload)
    except (ValueError, RecursionError) as error:
        raise broken(f"{frame.kind.name} without JSON") from error
    if not isinstance(value, dict):
        raise broken(f"{frame.kind.name} without a JSON object")
    return value


def window(stream: int, credit: int) -> Frame:
    """Return the frame that allows ``credit`` more bytes on ``stream``."""
    return Frame(FrameType.WINDOW, stream, _U32.pack(credit))


def credit(frame: Frame) -> int:
    """Return the bytes that a WINDOW frame allows.

    Raises:
        Unreachable: the payload is not four bytes.
    """
    if len(frame.payload) != _U32.size:
        raise broken(f"WINDOW of {len(frame.payload)} bytes")
    value: int = _U32.unpack(frame.payload)[0]
    return value
