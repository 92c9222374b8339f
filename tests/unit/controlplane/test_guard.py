"""Keys into principals."""

import pytest

from byoc.controlplane.guard import Guard
from byoc.controlplane.pace import Pace
from byoc.errors import NotAuthenticated, TooManyRequests
from byoc.ids import KeyID, OrganizationID, UserID
from byoc.model.records import Principal
from byoc.testing import ManualClock

HERE = "192.0.2.1"
OWNER = Principal(UserID("u"), OrganizationID("o"), "owner@acme.example", KeyID("k"))


class _Keys:
    def __init__(self) -> None:
        self.asked: list[str] = []

    async def authenticate(self, token: str, /) -> Principal:
        self.asked.append(token)
        if token != "good":
            raise NotAuthenticated(f"no key {token}")
        return OWNER


def _guard(keys: _Keys, clock: ManualClock | None = None) -> Guard:
    clock = clock or ManualClock()
    return Guard(keys, calls=Pace(2, "calls", clock), refusals=Pace(1, "refusals", clock))


@pytest.mark.parametrize("header", ["Bearer good", "bearer good", "BEARER   good  "])
async def test_a_valid_key_is_let_in(header: str) -> None:
    assert await _guard(_Keys()).admit(header, HERE) == OWNER


@pytest.mark.parametrize(
    "header", [None, "", "good", "Bearer", "Basic good", "Bearer bad", "Bearer é", "Bearer " + "x" * 5000]
)
async def test_every_refusal_costs_one_look_up_and_says_the_same(header: str | None) -> None:
    keys = _Keys()
    with pytest.raises(NotAuthenticated) as caught:
        await _guard(keys).admit(header, HERE)
    assert caught.value.message == "missing or invalid API key"
    assert len(keys.asked) == 1


async def test_the_stand_in_for_a_missing_key_lets_nobody_in_even_if_it_exists() -> None:
    class All(_Keys):
        async def authenticate(self, token: str, /) -> Principal:
            return OWNER

    with pytest.raises(NotAuthenticated):
        await _guard(All()).admit(None, HERE)


async def test_a_key_that_calls_too_fast_is_told_when_to_come_again() -> None:
    clock = ManualClock()
    guard = _guard(_Keys(), clock)
    for _ in range(10):
        await guard.admit("Bearer good", HERE)
    with pytest.raises(TooManyRequests) as caught:
        await guard.admit("Bearer good", HERE)
    assert caught.value.retry_after == 1
    await clock.elapse(1)
    assert await guard.admit("Bearer good", HERE) == OWNER


async def test_an_address_whose_keys_are_refused_again_and_again_is_told_to_wait() -> None:
    clock = ManualClock()
    guard = _guard(_Keys(), clock)
    for _ in range(5):
        with pytest.raises(NotAuthenticated):
            await guard.admit("Bearer bad", HERE)
    with pytest.raises(TooManyRequests) as caught:
        await guard.admit("Bearer bad", HERE)
    assert caught.value.retry_after == 1
    with pytest.raises(NotAuthenticated):
        await guard.admit("Bearer bad", "192.0.2.2")
    await clock.elapse(1)
    with pytest.raises(NotAuthenticated):
        await guard.admit("Bearer bad", HERE)


async def test_a_valid_key_is_let_in_from_an_address_that_guesses() -> None:
    guard = _guard(_Keys())
    for _ in range(20):
        with pytest.raises((NotAuthenticated, TooManyRequests)):
            await guard.admit("Bearer bad", HERE)
    assert await guard.admit("Bearer good", HERE) == OWNER
