"""When the engine is told what: at most once each, and never more than was wished."""

import signal
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc.bootstrap.engine.interrupts import Interrupts, Order, Patience, decide

CALM = Patience()
HURRIED = Patience(deadline=60.0, finishing=30.0, dying=5.0)


@pytest.mark.parametrize(
    ("asks", "given_before", "running", "since", "patience", "order"),
    [
        (0, 0, 10_000.0, 10_000.0, CALM, Order.WAIT),
        (1, 0, 1.0, 1.0, CALM, Order.FINISH),
        (5, 0, 1.0, 1.0, CALM, Order.FINISH),
        (1, 1, 99_999.0, 99_999.0, CALM, Order.WAIT),
        (2, 1, 2.0, 0.1, CALM, Order.ABANDON),
        (2, 2, 3.0, 19.9, CALM, Order.WAIT),
        (2, 2, 3.0, 20.0, CALM, Order.KILL),
        (9, 3, 99.0, 99.0, CALM, Order.WAIT),
        (0, 0, 59.9, 59.9, HURRIED, Order.WAIT),
        (0, 0, 60.0, 60.0, HURRIED, Order.FINISH),
        (0, 1, 89.9, 29.9, HURRIED, Order.WAIT),
        (0, 1, 90.0, 30.0, HURRIED, Order.ABANDON),
        (1, 1, 50.0, 45.0, HURRIED, Order.WAIT),
    ],
)
def test_orders_follow_wishes_and_the_deadline(
    asks: int, given_before: int, running: float, since: float, patience: Patience, order: Order
) -> None:
    assert decide(asks, given_before, running, since, patience) is order


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 50)), max_size=40))
def test_no_order_is_given_twice_and_none_before_its_turn(moments: list[tuple[int, float]]) -> None:
    asks = given_before = 0
    now = ordered = 0.0
    orders = []
    for more, seconds in moments:
        asks, now = asks + more, now + seconds
        order = decide(asks, given_before, now, now - ordered, HURRIED)
        if order is not Order.WAIT:
            given_before, ordered = given_before + 1, now
            orders.append(order)
    assert orders == [Order.FINISH, Order.ABANDON, Order.KILL][: len(orders)]


def test_signals_are_wishes_inside_the_block_only() -> None:
    interrupts = Interrupts()
    before = signal.getsignal(signal.SIGINT)
    with interrupts.listening():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert interrupts.asks == 2
    assert signal.getsignal(signal.SIGINT) is before


def test_another_thread_leaves_signals_alone_and_may_ask() -> None:
    interrupts = Interrupts()
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work() -> None:
        with interrupts.listening():
            seen.append(signal.getsignal(signal.SIGINT))
            interrupts.ask()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert (seen, interrupts.asks) == ([before], 1)
