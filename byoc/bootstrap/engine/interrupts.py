"""Stopping a run: how often a person asked, and what the engine is told then.

The engine takes a first SIGINT as "finish the calls in flight, record them, start no new one"
and a second as "go at once", which leaves creations pending. So a first wish is passed on once
and the wait goes on; only a second one abandons. A deadline is the same two steps.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from types import FrameType


class Interrupts:
    """Counts the wishes to stop of one run; any thread may :meth:`ask`."""

    def __init__(self) -> None:
        self.asks = 0

    def ask(self) -> None:
        """Wish to stop: the first time finishing what is in flight, from the second on at once."""
        self.asks += 1

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGINT and SIGTERM as wishes inside the block; outside the main thread do nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def heard(_number: int, _frame: FrameType | None) -> None:
            self.ask()

        before = {number: signal.signal(number, heard) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@dataclass(frozen=True)
class Patience:
    """Seconds that one command of the engine is given.

    Args:
        deadline: until it is asked to finish; ``None`` is for ever.
        finishing: for the calls in flight after the deadline, before they are abandoned.
        dying: after it was told to go at once, before it is killed.
    """

    deadline: float | None = None
    finishing: float = 1800.0
    dying: float = 20.0


class Order(Enum):
    """What to do with the engine now."""

    WAIT = "wait"
    FINISH = "finish"
    ABANDON = "abandon"
    KILL = "kill"


def decide(asks: int, given: int, running: float, since_order: float, patience: Patience) -> Order:
    """The next order, given at most once each.

    Args:
        asks: wishes to stop so far.
        given: orders given so far: 0, 1 (finish), 2 (abandon).
        running: seconds since the command began.
        since_order: seconds since the last order.
        patience: what the command is given.
    """
    late = patience.deadline is not None and running >= patience.deadline
    if given == 0:
        return Order.FINISH if asks or late else Order.WAIT
    if given == 1:
        spent = late and since_order >= patience.finishing
        return Order.ABANDON if asks > 1 or spent else Order.WAIT
    return Order.KILL if given == 2 and since_order >= patience.dying else Order.WAIT  # noqa: PLR2004
