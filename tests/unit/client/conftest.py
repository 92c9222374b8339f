"""A scripted network: what each request is answered, in order, and time that its silences move."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2
import pytest

from byoc.testing import ManualClock

Step = httpx2.Response | Exception


class Late(bytes):
    """A piece that is 8 seconds in coming."""


class Lines(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A body that comes in pieces; an exception in it is raised at that place."""

    def __init__(self, pieces: list[bytes | Exception], before: Callable[[bytes | Exception], None]) -> None:
        self._pieces = pieces
        self._before = before

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self._before(piece)
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece


_WORDS: Final[dict[object, bytes | Exception]] = {
    "silence": httpx2.ReadTimeout("silence"),
    "cut": httpx2.ReadError("cut"),
    "keep-alive": b" \n",
}


def _piece(given: object) -> bytes | Exception:
    """Dicts are events, one in a tuple is late; "silence" is a read that times out, "cut" a loss."""
    if isinstance(given, dict):
        return json.dumps(given).encode() + b"\n"
    if isinstance(given, tuple):
        return Late(json.dumps(given[0]).encode() + b"\n")
    return _WORDS.get(given, f"{given}\n".encode())


@dataclass
class Network:
    """Answers requests from a script and keeps what was asked."""

    clock: ManualClock
    script: list[Step] = field(default_factory=list)
    asked: list[httpx2.Request] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.started = self.clock.monotonic()

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.advance(seconds)

    async def async_sleep(self, seconds: float) -> None:
        self.sleep(seconds)

    def json(self, value: Any, status: int = 200, **headers: str) -> None:
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        self.script.append(httpx2.Response(status, json=value, headers=named))

    def stream(self, *pieces: object) -> None:
        """Add a stream of pieces, see :func:`_piece`."""
        body = [_piece(each) for each in pieces]

        def before(piece: bytes | Exception) -> None:
            if isinstance(piece, httpx2.ReadTimeout):
                self.clock.advance(self.asked[-1].extensions["timeout"]["read"])
            elif isinstance(piece, Late):
                self.clock.advance(8)
            elif piece == b" \n":
                self.clock.advance(10)

        self.script.append(httpx2.Response(200, stream=Lines(body, before)))

    def passed(self) -> float:
        return self.clock.monotonic() - self.started

    @property
    def paths(self) -> list[str]:
        return [f"{each.method} {each.url.raw_path.decode()}" for each in self.asked]


@pytest.fixture
def network(clock: ManualClock) -> Network:
    return Network(clock)
