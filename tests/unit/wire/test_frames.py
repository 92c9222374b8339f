import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc.errors import Unreachable
from byoc.wire import frames
from byoc.wire.frames import HEADER, MAX_PAYLOAD, MAX_STREAM_ID, Decoder, Frame, FrameType

_STREAM_TYPES = [kind for kind in FrameType if kind < FrameType.PING]
_TUNNEL_TYPES = [kind for kind in FrameType if kind >= FrameType.PING]
_payloads = st.binary(max_size=300)
any_frame = st.one_of(
    st.builds(Frame, st.sampled_from(_STREAM_TYPES), st.integers(1, MAX_STREAM_ID), _payloads),
    st.builds(Frame, st.sampled_from(_TUNNEL_TYPES), st.just(0), _payloads),
)


def raw(code: int, stream: int, payload: bytes = b"") -> bytes:
    return HEADER.pack(stream, code << 24 | len(payload)) + payload


@given(st.lists(any_frame, max_size=8), st.lists(st.integers(1, 40), min_size=1))
def test_frames_survive_any_cutting_into_chunks(sent: list[Frame], cuts: list[int]) -> None:
    line = b"".join(map(frames.encode, sent))
    decoder, got, offset, turn = Decoder(), [], 0, 0
    while offset < len(line):
        step = cuts[turn % len(cuts)]
        got += decoder.feed(line[offset : offset + step])
        offset, turn = offset + step, turn + 1
    assert got == sent
    assert decoder.held == 0


@given(st.binary(max_size=2000))
def test_any_bytes_give_frames_or_one_error_and_never_more_memory_than_a_frame(noise: bytes) -> None:
    decoder = Decoder()
    try:
        decoder.feed(noise)
    except Unreachable as error:
        assert "broke the tunnel protocol" in error.message  # noqa: PT017 - either outcome is right
    else:
        assert decoder.held <= HEADER.size + MAX_PAYLOAD


@given(st.integers(0, 255), st.integers(0, MAX_STREAM_ID), _payloads)
def test_unknown_types_are_dropped_below_0x80_and_refused_above(
    code: int, stream: int, payload: bytes
) -> None:
    if code in set(FrameType):
        return
    ping = Frame(FrameType.PING, 0, b"12345678")
    line = raw(code, stream, payload) + frames.encode(ping)
    if code < 0x80:
        assert Decoder().feed(line) == [ping]
    else:
        with pytest.raises(Unreachable, match="unknown type"):
            Decoder().feed(line)


def test_a_frame_longer_than_the_limit_is_refused_by_its_header_alone() -> None:
    header = HEADER.pack(1, FrameType.DATA << 24 | MAX_PAYLOAD + 1)
    with pytest.raises(Unreachable, match="65537 bytes"):
        Decoder().feed(header)


def test_a_frame_of_the_longest_size_passes() -> None:
    frame = Frame(FrameType.DATA, 1, b"x" * MAX_PAYLOAD)
    assert Decoder().feed(frames.encode(frame)) == [frame]


@pytest.mark.parametrize(("kind", "stream"), [(FrameType.DATA, 0), (FrameType.PING, 3), (FrameType.LOGIN, 1)])
def test_a_frame_on_the_wrong_kind_of_stream_is_refused(kind: FrameType, stream: int) -> None:
    with pytest.raises(Unreachable, match=kind.name):
        Decoder().feed(raw(kind, stream))


def test_a_stream_id_of_32_bits_is_refused() -> None:
    with pytest.raises(Unreachable, match="stream id"):
        Decoder().feed(raw(FrameType.DATA, 2**31))


@pytest.mark.parametrize(
    "frame", [Frame(FrameType.DATA, 1, b"x" * (MAX_PAYLOAD + 1)), Frame(FrameType.DATA, 2**31)]
)
def test_what_the_other_end_would_refuse_cannot_be_sent(frame: Frame) -> None:
    with pytest.raises(ValueError, match="cannot be sent"):
        frames.encode(frame)


@given(st.dictionaries(st.text(max_size=8), st.one_of(st.integers(), st.text(max_size=20), st.booleans())))
def test_messages_carry_json_objects(members: dict[str, object]) -> None:
    assert frames.members(frames.message(FrameType.LOGIN, members)) == members


@pytest.mark.parametrize("payload", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 60_000, b'"text"'])
def test_a_message_that_is_no_json_object_is_refused(payload: bytes) -> None:
    with pytest.raises(Unreachable, match="LOGIN without"):
        frames.members(Frame(FrameType.LOGIN, 0, payload))


def test_a_message_that_fits_no_frame_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="LOGIN message"):
        frames.message(FrameType.LOGIN, {"token": "x" * MAX_PAYLOAD})


@given(st.integers(0, 2**32 - 1))
def test_window_carries_its_credit(credit: int) -> None:
    assert frames.credit(frames.window(7, credit)) == credit


def test_a_window_of_another_length_is_refused() -> None:
    with pytest.raises(Unreachable, match="WINDOW of 3 bytes"):
        frames.credit(Frame(FrameType.WINDOW, 1, b"abc"))
