"""Somebody else on a workspace's port, who speaks the protocol and wants the password."""

import socket
import struct
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from byoc import sql
from byoc.errors import Unreachable, UsageError

PASSWORD = "a-password-to-steal"
CAPABILITIES = 0x0018_8209
GREETING = (
    b"\x0a5.5.5-10.11.6-MariaDB\0"
    + struct.pack("<I", 1)
    + b"A" * 8
    + b"\0"
    + struct.pack("<HBHHB", CAPABILITIES & 0xFFFF, 45, 2, CAPABILITIES >> 16, 21)
    + bytes(10)
    + b"B" * 12
    + b"\0mysql_native_password\0"
)


def packet(number: int, content: bytes) -> bytes:
    return struct.pack("<I", len(content))[:3] + bytes([number]) + content


class Thief:
    """Listens where an engine should, says ``turns`` one after the other and keeps what it hears."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self._pool = ThreadPoolExecutor(1)

    def say(self, *turns: bytes) -> Future[list[bytes]]:
        return self._pool.submit(self._serve, turns)

    def _serve(self, turns: tuple[bytes, ...]) -> list[bytes]:
        caller, _ = self.listener.accept()
        heard = []
        with caller:
            for turn in turns:
                caller.sendall(turn)
                heard.append(caller.recv(4096))
        return heard

    def close(self) -> None:
        self._pool.shutdown()
        self.listener.close()


@pytest.fixture
def thief() -> Iterator[Thief]:
    opened = Thief()
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("plugin", "more"),
    [
        (b"mysql_clear_password", b""),
        (b"dialog", b"\x02Password: "),
        (b"sha256_password", b"C" * 20 + b"\0"),
        (b"caching_sha2_password", b"C" * 20 + b"\0"),
        (b"mysql_old_password", b"C" * 8 + b"\0"),
        (b"unknown", b""),
    ],
)
def test_whoever_took_the_port_is_not_given_the_password(thief: Thief, plugin: bytes, more: bytes) -> None:
    heard = thief.say(packet(0, GREETING), packet(2, b"\xfe" + plugin + b"\0" + more))
    with pytest.raises(UsageError):
        sql.connect(port=thief.port, password=PASSWORD, timeout=5)
    answers = heard.result()
    # The first is bound to the thief's own challenge; the second would have been the password.
    assert b"admin" in answers[0]
    assert PASSWORD.encode() not in answers[0]
    assert answers[1] == b""


@pytest.mark.parametrize(
    "said",
    [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", packet(0, b"\x0a"), packet(0, b"\x0aMariaDB\0"), bytes(64)],
)
def test_something_else_on_the_port_is_an_error_and_no_traceback(thief: Thief, said: bytes) -> None:
    thief.say(said)
    with pytest.raises((Unreachable, UsageError)):
        sql.connect(port=thief.port, password=PASSWORD, timeout=2)
