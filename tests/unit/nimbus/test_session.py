from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byoc.errors import Unreachable
from byoc.nimbus import session as mux
from byoc.nimbus.session import (
    CREDIT,
    DEADLINE,
    IDLE,
    TURN,
    Accepted,
    Event,
    Finished,
    GoingAway,
    Opened,
    Received,
    Rejected,
    Session,
    WasReset,
)
from byoc.wire import frames
from byoc.wire.frames import MAX_PAYLOAD, MAX_STREAM_ID, Decoder, Frame, FrameType


@dataclass
class Pair:
    """A gateway's session and its peer's, joined by hand."""

    gateway: Session = field(default_factory=lambda: Session(first_id=1, now=0))
    peer: Session = field(default_factory=lambda: Session(first_id=2, now=0))

    def __post_init__(self) -> None:
        self.gateway.streams_allowed = self.peer.streams_allowed = True

    def flow(self) -> tuple[list[Event], list[Event]]:
        """Move bytes both ways until nothing moves; return what each end saw."""
        at_gateway: list[Event] = []
        at_peer: list[Event] = []
        while True:
            down, up = self.gateway.output().data, self.peer.output().data
            if not down and not up:
                return at_gateway, at_peer
            at_peer += self.peer.receive(down, 0)
            at_gateway += self.gateway.receive(up, 0)

    def open(self, service: str = "cell") -> int:
        stream = self.gateway.open(service)
        _, at_peer = self.flow()
        assert at_peer == [Opened(stream, service)]
        self.peer.accept(stream)
        assert self.flow()[0] == [Accepted(stream)]
        return stream


def received(events: list[Event]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, Received))


def sent(session: Session) -> list[Frame]:
    return Decoder().feed(session.output().data)


def test_both_ends_open_streams_and_ids_are_never_used_twice() -> None:
    pair = Pair()
    odd = [pair.open() for _ in range(3)]
    even = [pair.peer.open("controlplane") for _ in range(3)]
    for stream in odd:
        pair.gateway.reset(stream, "cancelled")
    assert odd == [1, 3, 5]
    assert even == [2, 4, 6]
    assert pair.gateway.open("cell") == 7


def test_bytes_arrive_in_order_and_each_direction_ends_by_itself() -> None:
    pair = Pair()
    stream = pair.open()
    pair.gateway.write(stream, b"ask ")
    pair.gateway.write(stream, b"this")
    pair.gateway.finish(stream)
    _, at_peer = pair.flow()
    assert received(at_peer) == b"ask this"
    assert at_peer[-1] == Finished(stream)
    pair.peer.write(stream, b"answer")
    pair.peer.finish(stream)
    at_gateway, _ = pair.flow()
    assert at_gateway == [Received(stream, b"answer"), Finished(stream)]
    assert pair.gateway.streams == pair.peer.streams == 0


def test_a_slow_reader_stops_its_own_writer_and_no_other_stream() -> None:
    pair = Pair()
    slow, quick = pair.open(), pair.open()
    pair.gateway.write(slow, b"s" * (3 * CREDIT))
    _, at_peer = pair.flow()
    assert len(received(at_peer)) == CREDIT
    pair.gateway.write(quick, b"q" * 100)
    _, at_peer = pair.flow()
    assert at_peer == [Received(quick, b"q" * 100)]


def test_credit_returns_only_after_the_reader_took_half_of_it() -> None:
    pair = Pair()
    stream = pair.open()
    pair.gateway.write(stream, b"x" * (2 * CREDIT))
    pair.flow()
    pair.peer.consumed(stream, CREDIT // 2 - 1)
    assert sent(pair.peer) == []
    pair.peer.consumed(stream, 1)
    assert sent(pair.peer) == [frames.window(stream, CREDIT // 2)]


def test_a_peer_that_ignores_its_credit_loses_that_stream_only() -> None:
    pair = Pair()
    greedy, honest = pair.open(), pair.open()
    flood = b"".join(
        frames.encode(Frame(FrameType.DATA, greedy, b"x" * MAX_PAYLOAD)) for _ in range(CREDIT // MAX_PAYLOAD)
    )
    pair.peer.receive(flood, 0)
    last = pair.peer.receive(frames.encode(Frame(FrameType.DATA, greedy, b"x")), 0)
    assert last == [WasReset(greedy, "flow-control")]
    pair.gateway.write(honest, b"still here")
    assert received(pair.flow()[1]) == b"still here"


def test_too_much_credit_given_resets_the_stream() -> None:
    pair = Pair()
    stream = pair.open()
    assert pair.peer.receive(frames.encode(frames.window(stream, 1)), 0) == [WasReset(stream, "flow-control")]


def test_unread_bytes_over_all_streams_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mux, "MAX_UNREAD", 1000)
    pair = Pair()
    first, second = pair.open(), pair.open()
    pair.gateway.write(first, b"x" * 800)
    pair.gateway.write(second, b"x" * 800)
    _, at_peer = pair.flow()
    assert WasReset(second, "overloaded") in at_peer
    pair.peer.consumed(first, 800)
    third = pair.open()
    pair.gateway.write(third, b"x" * 800)
    assert len(received(pair.flow()[1])) == 800


def test_where_all_are_too_far_behind_the_slowest_reader_has_to_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mux, "MAX_UNREAD", 1000)
    pair = Pair()
    stalled, quick = pair.open(), pair.open()
    pair.gateway.write(stalled, b"x" * 900)
    pair.flow()
    pair.gateway.write(quick, b"y" * 200)
    _, at_peer = pair.flow()
    assert WasReset(stalled, "overloaded") in at_peer
    assert received(at_peer) == b"y" * 200


def test_streams_take_turns_so_that_bulk_does_not_starve_a_small_request() -> None:
    pair = Pair()
    bulk, small = pair.open(), pair.open()
    pair.gateway.write(bulk, b"b" * CREDIT)
    pair.gateway.write(small, b"s")
    order = [(frame.stream, len(frame.payload)) for frame in sent(pair.gateway)]
    assert order[:2] == [(bulk, TURN), (small, 1)]


def test_one_batch_of_output_is_small_however_much_waits() -> None:
    pair = Pair()
    for stream in [pair.open() for _ in range(20)]:
        pair.gateway.write(stream, b"x" * CREDIT)
    assert len(pair.gateway.output().data) <= mux.BATCH + 20 * 8


def test_control_frames_overtake_waiting_data() -> None:
    pair = Pair()
    stream = pair.open()
    pair.gateway.write(stream, b"x" * CREDIT)
    pair.gateway.output()
    pair.gateway.receive(frames.encode(Frame(FrameType.PING, 0, b"p")), 0)
    assert sent(pair.gateway)[0] == Frame(FrameType.PONG, 0, b"p")


def test_a_reset_drops_what_waits_and_ends_both_ends() -> None:
    pair = Pair()
    stream = pair.open()
    pair.gateway.write(stream, b"x" * CREDIT)
    pair.gateway.reset(stream, "cancelled")
    _, at_peer = pair.flow()
    assert at_peer == [WasReset(stream, "cancelled")]
    assert pair.gateway.streams == pair.peer.streams == 0
    assert not pair.gateway.write(stream, b"more")


def test_frames_that_cross_a_reset_are_dropped() -> None:
    pair = Pair()
    stream = pair.open()
    pair.peer.write(stream, b"on its way")
    late = pair.peer.output().data
    pair.gateway.reset(stream, "cancelled")
    assert pair.gateway.receive(late, 0) == []


def test_a_rejected_stream_names_its_reason() -> None:
    pair = Pair()
    stream = pair.gateway.open("cell")
    pair.flow()
    pair.peer.reject(stream, "cell-away", "no session")
    assert pair.flow()[0] == [Rejected(stream, "cell-away", "no session")]
    assert pair.gateway.streams == pair.peer.streams == 0


def test_streams_beyond_the_limit_are_rejected_and_the_tunnel_lives() -> None:
    pair = Pair(peer=Session(first_id=2, now=0, max_streams=2))
    first, _ = pair.open(), pair.open()
    third = pair.gateway.open("cell")
    at_gateway, at_peer = pair.flow()
    assert at_peer == []
    assert at_gateway == [Rejected(third, "too-many-streams", "at most 2 at once")]
    pair.gateway.reset(first, "cancelled")
    pair.flow()
    pair.open()


def test_data_after_the_end_resets_the_stream() -> None:
    pair = Pair()
    stream = pair.open()
    pair.gateway.finish(stream)
    pair.flow()
    late = frames.encode(Frame(FrameType.DATA, stream, b"late"))
    assert pair.peer.receive(late, 0) == [WasReset(stream, "data-after-fin")]


def test_a_second_end_resets_the_stream() -> None:
    pair = Pair()
    stream = pair.open()
    end = frames.encode(Frame(FrameType.FIN, stream))
    assert pair.peer.receive(end + end, 0) == [Finished(stream), WasReset(stream, "data-after-fin")]


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (Frame(FrameType.DATA, 99, b"x"), "never opened"),
        (Frame(FrameType.DATA, 2, b"x"), "never opened"),
        (frames.message(FrameType.OPEN, {"service": "cell"}, 2), "out of order"),
        (Frame(FrameType.OPEN, 3, b"junk"), "without JSON"),
        (Frame(FrameType.PING, 0, b"123456789"), "long PING"),
    ],
)
def test_a_peer_that_breaks_the_protocol_ends_the_tunnel(frame: Frame, why: str) -> None:
    pair = Pair()
    pair.open()
    with pytest.raises(Unreachable, match=why):
        pair.peer.receive(frames.encode(frame), 0)


def test_an_id_used_again_ends_the_tunnel() -> None:
    pair = Pair()
    stream = pair.open()
    with pytest.raises(Unreachable, match="out of order"):
        pair.peer.receive(frames.encode(frames.message(FrameType.OPEN, {"service": "cell"}, stream)), 0)


def test_no_stream_is_opened_before_login() -> None:
    pair = Pair()
    pair.peer.streams_allowed = False
    pair.gateway.open("cell")
    with pytest.raises(Unreachable, match="before login"):
        pair.flow()


def test_an_open_without_a_service_is_rejected() -> None:
    pair = Pair()
    opened = frames.encode(frames.message(FrameType.OPEN, {"host": "10.0.0.1:3306"}, 1))
    assert pair.peer.receive(opened, 0) == []
    assert sent(pair.peer)[0].kind is FrameType.OPEN_ERR


def test_a_flood_of_pings_that_is_never_read_ends_the_tunnel() -> None:
    pair = Pair()
    pings = frames.encode(Frame(FrameType.PING, 0, b"12345678")) * 20_000
    with pytest.raises(Unreachable, match="without reading"):
        pair.peer.receive(pings, 0)


def test_a_silent_peer_is_asked_and_then_given_up() -> None:
    session = Session(first_id=1, now=0)
    session.tick(IDLE - 0.1)
    assert sent(session) == []
    session.tick(IDLE)
    assert [frame.kind for frame in sent(session)] == [FrameType.PING]
    assert session.next_deadline() == IDLE + DEADLINE
    session.tick(IDLE + DEADLINE - 0.1)
    with pytest.raises(Unreachable, match="silent for 30 seconds"):
        session.tick(IDLE + DEADLINE)


def test_an_answered_ping_keeps_an_idle_tunnel_alive_on_both_sides() -> None:
    pair, now = Pair(), 0.0
    for _ in range(20):
        now += IDLE
        for session in (pair.gateway, pair.peer):
            session.tick(now)
        down, up = pair.gateway.output().data, pair.peer.output().data
        pair.peer.receive(down, now)
        pair.gateway.receive(up, now)
    assert pair.gateway.next_deadline() == now + IDLE


def test_going_away_refuses_new_streams_and_lets_old_ones_finish() -> None:
    pair = Pair()
    stream = pair.open()
    crossing = pair.peer.open("controlplane")
    pair.gateway.go_away("restarting", 5)
    at_gateway, at_peer = pair.flow()
    assert GoingAway("restarting", 5.0) in at_peer
    assert at_gateway == []
    assert Rejected(crossing, "going-away", "the tunnel is being drained") in at_peer
    for session in (pair.gateway, pair.peer):
        with pytest.raises(Unreachable, match="drained"):
            session.open("cell")
    pair.gateway.write(stream, b"last words")
    assert received(pair.flow()[1]) == b"last words"


@pytest.mark.parametrize("drain", ["1" + "0" * 400, "NaN", "Infinity", "-1", '"5"', "null"])
def test_a_peer_that_goes_away_for_no_known_time_just_goes(drain: str) -> None:
    session = Session(first_id=2, now=0)
    payload = f'{{"reason": "x", "drainSeconds": {drain}}}'.encode()
    assert session.receive(frames.encode(Frame(FrameType.GOAWAY, 0, payload)), 0) == [GoingAway("x", 0.0)]


def test_used_up_ids_end_new_streams_before_they_could_repeat() -> None:
    session = Session(first_id=1, now=0)
    session._next_id = MAX_STREAM_ID
    assert session.open("cell") == MAX_STREAM_ID
    with pytest.raises(Unreachable, match="used up"):
        session.open("cell")


def test_an_end_asked_for_while_credit_is_short_is_sent_after_the_bytes() -> None:
    pair = Pair()
    stream = pair.open()
    pair.gateway.write(stream, b"x" * (CREDIT + 10))
    pair.gateway.finish(stream)
    _, at_peer = pair.flow()
    assert Finished(stream) not in at_peer
    pair.peer.consumed(stream, CREDIT)
    _, at_peer = pair.flow()
    assert at_peer == [Received(stream, b"x" * 10), Finished(stream)]


_steps = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["write", "read", "finish", "flow"]), st.integers(0, 2**20)),
    max_size=40,
)


@settings(max_examples=60)
@given(_steps)
def test_whatever_the_order_of_work_every_byte_arrives_once(steps: list[tuple[int, str, int]]) -> None:
    pair = Pair()
    streams = [pair.open() for _ in range(4)]
    wrote, unread, got = dict.fromkeys(streams, 0), dict.fromkeys(streams, 0), dict.fromkeys(streams, 0)

    def flow() -> None:
        for event in pair.flow()[1]:
            if isinstance(event, Received):
                unread[event.stream] += len(event.data)
                assert unread[event.stream] <= CREDIT

    def read(stream: int, most: int) -> None:
        size = min(most, unread[stream])
        unread[stream] -= size
        got[stream] += size
        pair.peer.consumed(stream, size)

    def write(stream: int, size: int) -> None:
        wrote[stream] += size * pair.gateway.write(stream, bytes(size))

    do = {
        "write": write,
        "read": read,
        "finish": lambda stream, _: pair.gateway.finish(stream),
        "flow": lambda *_: flow(),
    }
    for index, what, size in steps:
        do[what](streams[index], size)
    for _ in range(200):
        flow()
        for stream in streams:
            read(stream, CREDIT)
    assert got == wrote
