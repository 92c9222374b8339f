import pytest

from tests.emulated.noise import survive


@pytest.mark.parametrize("seed", range(4))
def test_noise_ends_a_session_in_order_or_not_at_all_and_never_makes_it_grow(seed: int) -> None:
    assert survive(seed, 5_000) > 0
