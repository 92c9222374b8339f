"""Keys into principals."""

import pytest

from byoc.controlplane.guard import Guard
from byoc.errors import NotAuthenticated
from byoc.ids import KeyID, OrganizationID, UserID
from byoc.model.records import Principal

OWNER = Principal(UserID("u"), OrganizationID("o"), "owner@acme.example", KeyID("k"))


class _Keys:
    def __init__(self) -> None:
        self.asked: list[str] = []

    async def authenticate(self, token: str, /) -> Principal:
        self.asked.append(token)
        if token != "good":
            raise NotAuthenticated(f"no key {token}")
        return OWNER


@pytest.mark.parametrize("header", ["Bearer good", "bearer good", "BEARER   good  "])
async def test_a_valid_key_is_let_in(header: str) -> None:
    assert await Guard(_Keys()).admit(header) == OWNER


@pytest.mark.parametrize(
    "header", [None, "", "good", "Bearer", "Basic good", "Bearer bad", "Bearer é", "Bearer " + "x" * 5000]
)
async def test_every_refusal_costs_one_look_up_and_says_the_same(header: str | None) -> None:
    keys = _Keys()
    with pytest.raises(NotAuthenticated) as caught:
        await Guard(keys).admit(header)
    assert caught.value.message == "missing or invalid API key"
    assert len(keys.asked) == 1


async def test_the_stand_in_for_a_missing_key_lets_nobody_in_even_if_it_exists() -> None:
    class All(_Keys):
        async def authenticate(self, token: str, /) -> Principal:
            return OWNER

    with pytest.raises(NotAuthenticated):
        await Guard(All()).admit(None)
