"""How much memory a local workspace gets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc.dataplane.local.limits import CHUNK, memory, variables
from byoc.dataplane.runtime import Limits
from byoc.model.size import LADDER, MULTIPLIERS

MIB = 2**20
limits = st.builds(
    Limits, st.sampled_from(LADDER), st.sampled_from(MULTIPLIERS), st.sampled_from(MULTIPLIERS)
)


@pytest.mark.parametrize(
    ("wanted", "total", "pool"),
    [
        (Limits("S-00"), 128, 32),
        (Limits("S-00", 1, 2), 128, 48),
        (Limits("S-00", 1, 4), 128, 64),
        (Limits("S-00", 4, 1), 512, 128),
        (Limits("S-0"), 256, 64),
        (Limits("S-1"), 512, 128),
        (Limits("S-2", 2, 4), 2048, 1024),
    ],
)
def test_memory_is_a_hundred_and_twenty_eighth_of_the_real_size(
    wanted: Limits, total: int, pool: int
) -> None:
    assert (memory(wanted).total, memory(wanted).buffer_pool) == (total * MIB, pool * MIB)


@given(limits)
def test_every_rung_gives_values_that_the_server_takes(wanted: Limits) -> None:
    values = variables(wanted)
    assert values["innodb_buffer_pool_size"] % CHUNK == 0
    assert values["innodb_buffer_pool_size"] >= 8 * MIB
    assert values["max_session_mem_used"] >= 8 * MIB
    assert 64 <= values["max_connections"] <= 1000
    assert values["innodb_buffer_pool_size"] + values["max_session_mem_used"] <= memory(wanted).total


@given(limits, limits)
def test_more_of_everything_is_never_less_memory(one: Limits, other: Limits) -> None:
    pairs = zip((one.scale_factor, one.cache_config), (other.scale_factor, other.cache_config), strict=True)
    if LADDER.index(one.size) <= LADDER.index(other.size) and all(a <= b for a, b in pairs):
        assert memory(one).buffer_pool <= memory(other).buffer_pool
        assert memory(one).total <= memory(other).total
