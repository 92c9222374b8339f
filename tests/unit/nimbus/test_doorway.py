"""Who has to go when too many strangers stand in the door; sockets that are joined to nothing else."""

import socket
from collections.abc import Iterator

import pytest

from byoc.nimbus.doorway import Strangers, name_of


@pytest.fixture
def pairs() -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    made = [socket.socketpair() for _ in range(5)]
    for _, far in made:
        far.setblocking(False)
    yield made
    for pair in made:
        for one in pair:
            one.close()


def turned_out(far: socket.socket) -> bool:
    try:
        return far.recv(1) == b""
    except BlockingIOError:
        return False


def test_the_oldest_stranger_has_to_go(pairs: list[tuple[socket.socket, socket.socket]]) -> None:
    strangers = Strangers(2)
    for number, (line, _) in enumerate(pairs):
        strangers.came(str(number), line)
    assert [turned_out(far) for _, far in pairs] == [True, True, True, False, False]
    assert len(strangers) == 2


def test_who_is_known_stays_and_takes_no_place(pairs: list[tuple[socket.socket, socket.socket]]) -> None:
    strangers = Strangers(1)
    for number, (line, _) in enumerate(pairs):
        strangers.came(str(number), line)
        strangers.known(str(number))
    assert not any(turned_out(far) for _, far in pairs)
    assert len(strangers) == 0
    strangers.known("nobody")


def test_who_has_left_takes_no_place(pairs: list[tuple[socket.socket, socket.socket]]) -> None:
    strangers = Strangers(2)
    for number, (line, _) in enumerate(pairs[:4]):
        strangers.came(str(number), line)
        if number % 2:
            line.close()
    strangers.came("4", pairs[4][0])
    assert [turned_out(far) for _, far in pairs] == [True, True, False, True, False]


@pytest.mark.parametrize(
    ("address", "name"),
    [(("127.0.0.1", 9), "127.0.0.1:9"), (("::1", 9, 0, 0), "::1:9"), (None, "unknown"), ("", "unknown")],
)
def test_an_address_is_named_as_in_logs(address: object, name: str) -> None:
    assert name_of(address) == name
