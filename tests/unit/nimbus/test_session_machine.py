"""Two sessions, a line between them, and everything their owners may do, in any order.

The model is what each reader must see: a prefix of what its writer wrote, all of it once both are done.
"""

from collections import deque
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from byoc.errors import Unreachable
from byoc.nimbus.session import (
    CREDIT,
    MAX_UNREAD,
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

SIZES = (0, 1, 40, TURN - 1, TURN, TURN + 1, CREDIT // 2, CREDIT - 1, CREDIT, CREDIT + 1, 3 * CREDIT)
MOST = 8
"""Streams that each end lets the other have open: few, so that the limit is met."""


@dataclass
class Half:
    """What one end knows of one stream."""

    wrote: bytearray = field(default_factory=bytearray)
    got: bytearray = field(default_factory=bytearray)
    unread: int = 0
    finished_writing: bool = False
    saw_end: bool = False
    answered: bool = False
    over: bool = False


class End:
    """One session with its owner's notes and the bytes that are on their way to it."""

    def __init__(self, first_id: int) -> None:
        self.session = Session(first_id=first_id, now=0, max_streams=MOST)
        self.session.streams_allowed = True
        self.line: deque[bytes] = deque()
        self.halves: dict[int, Half] = {}
        self.opened: list[int] = []
        self.told_away = False

    def see(self, event: Event) -> None:
        if isinstance(event, Opened):
            assert event.stream not in self.halves, "an id was used twice"
            self.halves[event.stream] = Half()
            self.opened.append(event.stream)
        elif isinstance(event, GoingAway):
            self.told_away = True
        elif isinstance(event, Received | Finished | Accepted | Rejected | WasReset):
            half = self.halves[event.stream]
            assert not half.over, "something happened on a stream that is over"
            self._see(half, event)

    def _see(self, half: Half, event: Received | Finished | Accepted | Rejected | WasReset) -> None:
        if isinstance(event, Received):
            assert not half.saw_end, "bytes after the end"
            half.got += event.data
            half.unread += len(event.data)
            assert half.unread <= CREDIT
        elif isinstance(event, Finished):
            half.saw_end = True
        elif isinstance(event, Accepted):
            half.answered = True
        else:
            # Neither end breaks a stream's rules, so nobody has another reason to end one.
            assert isinstance(event, Rejected) or event.code == "enough"
            half.over = True


class Tunnel(RuleBasedStateMachine):
    """Whatever is done at whichever end, and however the line cuts bytes, both ends agree."""

    streams = Bundle("streams")

    def __init__(self) -> None:
        super().__init__()
        self.ends = (End(1), End(2))
        self.now = 0.0

    @initialize(target=streams, who=st.integers(0, 1))
    def stands(self, who: int) -> object:
        number = self.ends[who].session.open("cell")
        self.ends[who].halves[number] = Half()
        self.settles()
        self.ends[1 - who].session.accept(self.ends[1 - who].opened.pop())
        return multiple((who, number), (1 - who, number))

    # --- what owners do ------------------------------------------------------------------

    @rule(target=streams, who=st.integers(0, 1))
    def opens(self, who: int) -> tuple[int, int] | object:
        end = self.ends[who]
        try:
            stream = end.session.open("cell")
        except Unreachable:
            assert end.session.going_away or end.session.peer_going_away
            return multiple()
        end.halves[stream] = Half()
        return who, stream

    @rule(target=streams, who=st.integers(0, 1), yes=st.booleans())
    def answers(self, who: int, yes: bool) -> tuple[int, int] | object:
        end = self.ends[who]
        if not end.opened:
            return multiple()
        stream = end.opened.pop(0)
        if yes:
            end.session.accept(stream)
            return who, stream
        end.session.reject(stream, "no")
        end.halves[stream].over = True
        return multiple()

    @rule(stream=streams, size=st.sampled_from(SIZES), fill=st.integers(0, 255))
    def writes(self, stream: tuple[int, int], size: int, fill: int) -> None:
        who, number = stream
        half, data = self.ends[who].halves[number], bytes([fill]) * size
        taken = self.ends[who].session.write(number, data)
        assert taken is (not half.over and not half.finished_writing)
        if taken:
            half.wrote += data

    @rule(stream=streams)
    def finishes(self, stream: tuple[int, int]) -> None:
        who, number = stream
        self.ends[who].session.finish(number)
        self.ends[who].halves[number].finished_writing = True

    @rule(stream=streams, share=st.sampled_from((0.1, 0.5, 1.0)))
    def reads(self, stream: tuple[int, int], share: float) -> None:
        who, number = stream
        half = self.ends[who].halves[number]
        size = int(half.unread * share)
        half.unread -= size
        self.ends[who].session.consumed(number, size)

    @rule(stream=consumes(streams))
    def resets(self, stream: tuple[int, int]) -> None:
        who, number = stream
        self.ends[who].session.reset(number, "enough")
        self.ends[who].halves[number].over = True

    @rule(who=st.integers(0, 1))
    def goes_away(self, who: int) -> None:
        self.ends[who].session.go_away("draining", 5)

    # --- what the line does --------------------------------------------------------------

    @rule(who=st.integers(0, 1))
    def sends(self, who: int) -> None:
        data = self.ends[who].session.output().data
        if data:
            self.ends[1 - who].line.append(data)

    @rule(who=st.integers(0, 1), cut=st.floats(0, 1))
    def carries(self, who: int, cut: float) -> None:
        end = self.ends[who]
        if not end.line:
            return
        data = end.line.popleft()
        at = int(len(data) * cut)
        for part in (data[:at], data[at:]):
            for event in end.session.receive(part, self.now):
                end.see(event)

    @rule(seconds=st.floats(0, 9))
    def waits(self, seconds: float) -> None:
        self.settles()
        self.now += seconds
        for end in self.ends:
            end.session.tick(self.now)
        self.settles()

    @rule()
    def settles(self) -> None:
        while any(end.line for end in self.ends) or self._send_all():
            for who in (0, 1):
                while self.ends[who].line:
                    self.carries(who, 1.0)

    def _send_all(self) -> bool:
        self.sends(0)
        self.sends(1)
        return any(end.line for end in self.ends)

    # --- what always holds ---------------------------------------------------------------

    @invariant()
    def readers_see_what_was_written(self) -> None:
        for who in (0, 1):
            here, there = self.ends[who], self.ends[1 - who]
            for number, half in here.halves.items():
                other = there.halves.get(number)
                assert half.got == (other.wrote[: len(half.got)] if other else b"")

    @invariant()
    def memory_is_bounded(self) -> None:
        for end in self.ends:
            assert (
                end.session._unread == sum(flow.unread for flow in end.session._flows.values()) <= MAX_UNREAD
            )
            assert end.session._peer_streams <= MOST
            assert set(end.session._turns) <= set(end.session._flows)

    def teardown(self) -> None:
        """Both owners read everything and end every stream: nothing may be left of any."""
        for _ in range(40):
            self.settles()
            for end in self.ends:
                for number, half in end.halves.items():
                    end.session.consumed(number, half.unread)
                    half.unread = 0
        for who in (0, 1):
            here, there = self.ends[who], self.ends[1 - who]
            for number, half in here.halves.items():
                other = there.halves.get(number)
                if other is not None and not half.over and not other.over:
                    assert half.got == other.wrote
        for end in self.ends:
            while end.opened:
                end.session.reject(end.opened.pop(), "late")
            for number in end.halves:
                end.session.finish(number)
        self.settles()
        assert [end.session.streams for end in self.ends] == [0, 0]


Tunnel.TestCase.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
TestTunnel = Tunnel.TestCase
