"""The bytes of each release: what an older end sends must be understood, now and later."""

import json

import pytest

from byoc.nimbus import handshake
from byoc.nimbus.handshake import Role
from byoc.wire.frames import Decoder, Frame, FrameType, encode, members

CHALLENGE = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"

# Release 0.1.0, one of each type: stream, type, payload.
RELEASE_0_1_0 = [
    (0, "10", b'{"challenge":"%b","gateway":"gateway","versions":[1]}' % CHALLENGE.encode()),
    (0, "11", b'{"token":"t.o.k","specVersion":1,"role":"cell","versions":[1]}'),
    (0, "12", b'{"versions":[1]}'),
    (0, "13", b'{"session":"s-1","epoch":3,"version":1}'),
    (0, "14", b'{"code":"retired","message":"the cell is retired"}'),
    (0, "15", b'{"challenge":"%b","gateway":"gateway","versions":[1]}' % CHALLENGE.encode()),
    (1, "01", b'{"service":"cell"}'),
    (1, "02", b""),
    (1, "03", b'{"code":"cell-away","message":"the cell is not connected"}'),
    (1, "04", b"GET / HTTP/1.1\r\n\r\n"),
    (1, "05", b"\x00\x08\x00\x00"),
    (1, "06", b""),
    (1, "07", b"cancelled"),
    (0, "08", b"\x00\x00\x00\x00\x00\x00\x00\x01"),
    (0, "09", b"\x00\x00\x00\x00\x00\x00\x00\x01"),
    (0, "0a", b'{"reason":"replaced","drainSeconds":0.0}'),
]


def line(stream: int, kind: str, payload: bytes) -> bytes:
    return stream.to_bytes(4) + bytes.fromhex(kind) + len(payload).to_bytes(3) + payload


@pytest.mark.parametrize(("stream", "kind", "payload"), RELEASE_0_1_0)
def test_a_recorded_frame_is_read_and_written_to_the_byte(stream: int, kind: str, payload: bytes) -> None:
    recorded = line(stream, kind, payload)
    frame = Frame(FrameType(int(kind, 16)), stream, payload)
    assert Decoder().feed(recorded) == [frame]
    assert encode(frame) == recorded


def test_every_type_is_recorded() -> None:
    assert {int(kind, 16) for _, kind, _ in RELEASE_0_1_0} == set(FrameType)


def test_the_recorded_handshake_is_understood() -> None:
    frames = {kind: Frame(FrameType(int(kind, 16)), stream, data) for stream, kind, data in RELEASE_0_1_0}
    challenge = handshake.read_challenge(members(frames["10"]))
    assert (challenge.challenge, challenge.gateway) == (bytes(range(32)), "gateway")
    assert handshake.read_login(members(frames["11"])).role is Role.CELL
    assert handshake.read_versions(members(frames["12"])) == (1,)
    assert handshake.read_welcome(members(frames["13"])).epoch == 3
    assert handshake.read_denial(members(frames["14"])).code == "retired"


def test_what_is_written_now_is_what_was_recorded() -> None:
    challenge = handshake.Challenge(bytes(range(32)), "gateway", (1,))
    assert challenge.members() == json.loads(RELEASE_0_1_0[0][2])
    assert handshake.Welcome("s-1", 3, 1).members() == json.loads(RELEASE_0_1_0[3][2])
