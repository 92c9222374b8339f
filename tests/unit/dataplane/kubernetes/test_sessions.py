"""Kept sessions: used again, by one at a time, tried anew where they fail, and never for long."""

from dataclasses import dataclass, field

import pytest

from byoc.dataplane.kubernetes.door import Door
from byoc.dataplane.kubernetes.sessions import LIFE_SECONDS, Sessions
from byoc.errors import NotAuthenticated, Unreachable

DOOR = Door("127.1.0.1", "orders", "authority", "password")


@dataclass
class Session:
    number: int
    closed: bool = False

    def close(self) -> None:
        self.closed = True


@dataclass
class Engine:
    now: float = 0.0
    opened: list[Session] = field(default_factory=list)
    away: bool = False

    def connect(self, door: Door) -> Session:
        if self.away:
            raise Unreachable("nobody")
        self.opened.append(Session(len(self.opened)))
        return self.opened[-1]

    @property
    def open(self) -> int:
        return sum(not each.closed for each in self.opened)


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def sessions(engine: Engine) -> Sessions:
    return Sessions(engine.connect, lambda: engine.now)


def number(session: Session) -> int:
    assert not session.closed
    return session.number


def test_one_session_answers_many_questions_and_another_door_has_its_own(
    sessions: Sessions, engine: Engine
) -> None:
    assert [sessions.use(DOOR, number) for _ in range(5)] == [0] * 5
    other = Door("127.1.0.2", "other", "authority", "password")
    assert [sessions.use(each, number) for each in (other, DOOR, other)] == [1, 0, 1]
    assert engine.open == 2


def test_two_at_once_never_share_a_session(sessions: Sessions, engine: Engine) -> None:
    assert sessions.use(DOOR, lambda outer: (number(outer), sessions.use(DOOR, number))) == (0, 1)
    assert engine.open == 1
    assert sessions.use(DOOR, number) == 1


def test_what_fails_on_a_kept_session_is_tried_on_a_new_one(sessions: Sessions, engine: Engine) -> None:
    sessions.use(DOOR, number)

    def broken(session: Session) -> int:
        if session.number == 0:
            raise Unreachable("cut")
        return number(session)

    assert sessions.use(DOOR, broken) == 1
    assert engine.opened[0].closed
    engine.away = True

    def refused(session: Session) -> int:
        raise NotAuthenticated("no rights any more")

    with pytest.raises(Unreachable):
        sessions.use(DOOR, refused)
    engine.away = False
    with pytest.raises(NotAuthenticated):
        sessions.use(DOOR, refused)
    assert engine.open == 0


def test_no_session_outlives_its_time_also_where_nobody_asks_there_any_more(
    sessions: Sessions, engine: Engine
) -> None:
    gone = Door("127.1.0.9", "gone", "authority", "password")
    sessions.use(gone, number)
    assert sessions.use(DOOR, number) == 1
    engine.now = LIFE_SECONDS - 1
    assert sessions.use(DOOR, number) == 1
    engine.now = LIFE_SECONDS + 10
    assert sessions.use(DOOR, number) == 2
    assert engine.opened[0].closed
    assert engine.open == 1


def test_what_is_dropped_or_closed_is_not_used_again(sessions: Sessions, engine: Engine) -> None:
    sessions.use(DOOR, number)
    sessions.drop(DOOR)
    assert engine.open == 0
    assert sessions.use(DOOR, number) == 1
    sessions.close()
    assert engine.open == 0
    assert sessions.use(DOOR, number) == 2
    assert engine.open == 0
